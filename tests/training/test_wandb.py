"""W&B: what is logged, and that nothing about it can hold up a run, end it, or tell a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ssl_faces.training import wandb_logger
from ssl_faces.training.wandb_logger import CarefulWandbLogger, has_account
from tests.support.waiting import eventually
from tests.training.conftest import environment, fit
from tests.training.methods import kill_wandb
from tests.training.test_finite_loss import twins
from tests.training.wandb_server import Server

SECRET = "5e47e1" * 6 + "beef"  # 40 letters, as W&B's keys have
QUICK = ("--trainer.max_steps", "4", "--trainer.log_every_n_steps", "1", "--probe_every", "2")


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No account of this machine's user, and no service of an earlier test."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_SERVICE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def records_of(path: Path) -> Iterator[bytes]:
    """What a `.wandb` file holds: seven bytes, then LevelDB's log of blocks of 32 KiB."""
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if kind == 0:
            return
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def logged(out: Path) -> dict[str, str]:
    """The keys that W&B's file of a run holds, with their last values as JSON; of artifacts what
    is told of them."""
    from wandb.proto import wandb_internal_pb2

    found: dict[str, str] = {}
    (path,) = out.glob("wandb/offline-run-*/*.wandb")
    for data in records_of(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            found[item.key or "/".join(item.nested_key)] = item.value_json
        for artifact in (record.artifact, record.request.log_artifact.artifact):
            if artifact.name:
                found[f"artifact/{artifact.type}"] = artifact.metadata
    return found


def hold(folder: Path, secret: str) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]


def test_all_that_a_run_logs_without_an_account(
    clean: None,
    faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    out = tmp_path / "out"
    fit(*twins(faces, out, *QUICK))
    # W&B warns of settings that it no longer has.
    printed = capfd.readouterr()
    assert "no effect" not in printed.out + printed.err + caplog.text
    import wandb

    assert wandb.run is None
    wandb.teardown()  # waits until the service has written all
    found = logged(out)
    for key in ("loss", "lr", "gradient_norm", "throughput/pairs_per_second", "panels"):
        assert key in found or any(k.startswith(f"{key}/") for k in found), (key, sorted(found))
    assert any(key.startswith("online/rank/") for key in found)
    card = json.loads((out / "encoder/card.json").read_text())
    assert json.loads(found["artifact/model"])["method"] == card["method"] == "twins"
    # The same in a file that needs no W&B.
    rows = (out / "csv/version_0/metrics.csv").read_text()
    assert "gradient_norm" in rows.splitlines()[0]
    # Nothing of the environment is written anywhere.
    assert hold(out, SECRET) == []
    assert [p for p in (out / "wandb").iterdir() if p.name.startswith("offline-run-")]


def test_no_account_and_no_server(
    clean: None,
    faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Asked to be online, a run says a word and goes on offline."""
    monkeypatch.setenv("WANDB_MODE", "online")
    assert not has_account()
    fit(*twins(faces, tmp_path / "no_account", *QUICK))
    assert "W&B: no account is set up here" in capsys.readouterr().out
    assert list((tmp_path / "no_account/wandb").glob("offline-run-*"))
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("ssl_faces.training.wandb_logger.SECONDS", 2)
    out = tmp_path / "no_server"
    fit(*twins(faces, out, *QUICK))
    said = capsys.readouterr().out
    assert "W&B: not online (" in said
    assert "the run is logged offline" in said
    assert (out / "encoder/card.json").exists()
    assert hold(out, SECRET) == []
    assert SECRET not in said


def test_an_account_is_found_without_asking(
    clean: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_account()
    (tmp_path / "home").mkdir()
    rows = tmp_path / "home/.netrc"
    rows.write_text("machine elsewhere.org login user password x\n")
    assert not has_account()
    rows.write_text("machine api.wandb.ai login user password x\n")
    assert has_account()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_account()
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    assert has_account()


def test_its_service_is_killed_in_mid_run(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kill = ("--model.init_args.breaks_wandb_at", "2")
    done = subprocess.run(
        [sys.executable, "-m", "ssl_faces.cli", *twins(faces, out, *QUICK, *kill)],
        env={**environment(), "WANDB_MODE": "offline", "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("W&B: nothing more is logged there (") == 1
    assert "Traceback" not in done.stderr
    assert json.loads((out / "encoder/card.json").read_text())["steps"] == 4
    steps = [x.split(",") for x in (out / "csv/version_0/metrics.csv").read_text().splitlines()]
    at = steps[0].index("loss")
    assert sum(bool(row[at]) for row in steps[1:]) == 4


@pytest.fixture
def online(
    clean: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[Server, CarefulWandbLogger]]:
    """A server, and a logger that is to be online there and soon gives up."""
    server = Server()
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(wandb_logger, "_RETRIES", 1)
    monkeypatch.setattr(wandb_logger, "_PAUSE", 1)
    (tmp_path / "run").mkdir()
    yield server, CarefulWandbLogger(tmp_path / "run", "ssl-faces", "r1")
    wandb_logger.finish_wandb(0)
    wandb_logger._end_service()
    server.cut_off()


@pytest.mark.slow  # W&B waits for half a minute
def test_the_network_is_lost_in_mid_run(
    online: tuple[Server, CarefulWandbLogger],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Online at first; then nothing raises, and each call comes back."""
    server, logger = online
    logger.log_metrics({"loss": 2.0}, 0)
    assert not logger._offline
    assert not logger.off
    eventually(lambda: any("/file_stream" in path for path, _ in server.asked))
    server.cut_off()
    logger.log_metrics({"loss": 1.0}, 1)
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "card.json").write_text("{}")
    logger.log_encoder(folder, {"method": "none"})
    wandb_logger.finish_wandb(0)
    logger.log_metrics({"loss": 0.5}, 2)
    # What was logged lies here, for `wandb sync`; of the key nothing.
    (kept,) = (tmp_path / "run/wandb").glob("run-*/*.wandb")
    assert b"loss" in kept.read_bytes()
    assert hold(tmp_path / "run", SECRET) == []


def test_a_service_that_breaks_at_the_start_is_replaced(
    online: tuple[Server, CarefulWandbLogger],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run is logged offline then, by another one."""
    import wandb

    _, logger = online
    real = wandb.init

    def broken(**settings: Any) -> Any:
        if settings["mode"] != "online":
            return real(**settings)
        run = real(**{**settings, "mode": "offline", "id": "other"})
        kill_wandb()
        run.log({"x": 1})
        raise ConnectionError("connection lost")

    monkeypatch.setattr(wandb, "init", broken)
    logger.log_metrics({"loss": 2.0}, 0)
    wandb_logger.finish_wandb(0)
    said = capsys.readouterr().out.lower()
    assert "not online (connection lost): the run is logged offline" in said
    assert not logger.off
    wandb.teardown()  # waits until the service has written all
    (kept,) = (tmp_path / "run/wandb").glob("offline-run-*-r1/*.wandb")
    assert b"loss" in kept.read_bytes()


def test_a_service_that_was_killed_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B ends the process with the code of its own process where it joins that one."""
    import wandb

    def joined(code: int) -> None:
        raise SystemExit(-9)

    monkeypatch.setattr(wandb, "teardown", joined)
    monkeypatch.setattr(wandb, "run", "the one that was lost")
    wandb_logger._end_service()
    assert wandb.run is None
