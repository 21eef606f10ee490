"""W&B: logged data, and that it never blocks or ends a run or leaks a secret."""

import json
import os
import subprocess
import sys

import pytest

from ssl_faces.callbacks import wandb_logger
from ssl_faces.callbacks.wandb_logger import CarefulWandbLogger, WandbSettings, has_account
from tests.support.fits import completed, fit, twins
from tests.support.processes import eventually
from tests.support.twins import kill_wandb
from tests.support.wandb_server import Server, logged, records_of

SECRET = "5e47e1" * 6 + "beef"  # 40 letters, as W&B's keys have
QUICK = ("--trainer.max_steps", "4", "--trainer.log_every_n_steps", "1", "--probe_every", "2")


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """Without an account of the user, and without a service and settings of an earlier test."""
    wandb_logger._end_service()
    for name in ("NETRC", *(name for name in os.environ if name.startswith("WANDB_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def runs_of(out):
    """W&B's record of the run of each session, in their order."""
    from wandb.proto import wandb_internal_pb2

    runs = []
    for path in sorted(out.glob("wandb/offline-run-*/*.wandb")):
        for data in records_of(path):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "run":
                runs.append(record.run)
                break
    return runs


@pytest.mark.parametrize(
    ("settings", "begun", "place"),
    [
        ({}, "", ("", "ssl-faces")),
        ({}, "env", ("team", "from_env")),
        ({"project": "flag"}, "env", ("team", "flag")),
        ({"project": "flag", "entity": "me"}, "env", ("me", "flag")),
        # A resumed run stays where it began, unless it is told to move.
        ({}, "file", ("first", "begun")),
        ({"project": "flag"}, "file", ("first", "flag")),
        ({}, "file without entity", ("", "begun")),
    ],
)
def test_where_a_run_is_logged(settings, begun, place, tmp_path, monkeypatch):
    for name, value in (("PROJECT", "from_env"), ("ENTITY", "team")):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
        if begun:
            monkeypatch.setenv(f"WANDB_{name}", value)
    if begun.startswith("file"):
        entity = "" if "without" in begun else "first"
        (tmp_path / "wandb_project").write_text(f"{entity}/begun")
    assert WandbSettings(**settings).place(tmp_path) == place


def test_a_resumed_run_is_one_run_of_wandb(clean, faces, tmp_path, monkeypatch):
    """With its project, group and tags, though the environment has changed; `wandb sync` uploads
    both sessions to it, one after the other."""
    import wandb

    monkeypatch.setenv("WANDB_PROJECT", "faces")
    monkeypatch.setenv("WANDB_RUN_GROUP", "by_variable")
    out = tmp_path / "out"
    begin = twins(faces, out, *QUICK, "--wandb.tags", "[first, cpu]")
    fit(*begin, "--trainer.max_steps", "2")
    monkeypatch.setenv("WANDB_PROJECT", "others")
    fit(*begin, "--ckpt_path", "last", "--wandb.group", "by_flag")
    wandb.teardown()  # waits until the service has written all
    runs = runs_of(out)
    assert [run.project for run in runs] == ["faces", "faces"]
    assert [run.run_group for run in runs] == ["by_variable", "by_flag"]
    assert [list(run.tags) for run in runs] == [["first", "cpu"]] * 2
    identity = (out / "wandb_id").read_text()
    assert {run.run_id for run in runs} == {identity}

    server = Server()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("WANDB_")},
        "WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}",
        "WANDB_API_KEY": SECRET,
    }
    folders = sorted(map(str, (out / "wandb").glob("offline-run-*")))
    words = [sys.executable, "-m", "wandb", "sync", "--yes", *folders]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    server.cut_off()
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [json.loads(body) for path, body in server.requests if "graphql" in path]
    # Each session asks how far the run is on the server, and continues it.
    resumed = [a["variables"] for a in asked if "RunResumeStatus" in a["query"]]
    assert [(v["project"], v["name"]) for v in resumed] == [("faces", identity)] * 2


def hold(folder, secret):
    return [p for p in folder.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]


def test_all_that_a_run_logs_without_an_account(clean, faces, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    out = tmp_path / "out"
    fit(*twins(faces, out, *QUICK))
    # W&B warns about removed settings.
    printed = capfd.readouterr()
    assert "no effect" not in printed.out + printed.err + caplog.text
    import wandb

    assert wandb.run is None
    wandb.teardown()  # waits until the service has written all
    result = logged(out)
    for key in ("loss", "learning_rate", "gradient_norm", "throughput/pairs_per_second", "panels"):
        assert key in result or any(k.startswith(f"{key}/") for k in result), (key, sorted(result))
    assert any(key.startswith("online/rank/") for key in result)
    card = json.loads((out / "encoder/card.json").read_text())
    assert json.loads(result["artifact/model"])["method"] == card["method"] == "twins"
    # The same in a file that needs no W&B.
    rows = (out / "csv/version_0/metrics.csv").read_text()
    assert "gradient_norm" in rows.splitlines()[0]
    # No secret of the environment is written.
    assert hold(out, SECRET) == []
    assert [p for p in (out / "wandb").iterdir() if p.name.startswith("offline-run-")]


def test_no_account_and_no_server(clean, faces, tmp_path, monkeypatch, capsys):
    """With WANDB_MODE=online a run prints a line and is logged offline."""
    monkeypatch.setenv("WANDB_MODE", "online")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine elsewhere.org login user password x\n")
    assert not has_account()
    fit(*twins(faces, tmp_path / "no_account", *QUICK))
    (home / ".netrc").write_text("machine api.wandb.ai login user password x\n")
    assert has_account()
    assert "W&B: no account is set up here" in capsys.readouterr().out
    assert list((tmp_path / "no_account/wandb").glob("offline-run-*"))
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("ssl_faces.callbacks.wandb_logger.SECONDS", 2)
    out = tmp_path / "no_server"
    fit(*twins(faces, out, *QUICK))
    message = capsys.readouterr().out
    assert "W&B: not online (" in message
    assert "the run is logged offline" in message
    assert (out / "encoder/card.json").exists()
    assert hold(out, SECRET) == []
    assert SECRET not in message


def test_its_service_is_killed_during_a_run(faces, tmp_path):
    out = tmp_path / "out"
    kill = ("--model.init_args.breaks_wandb_at", "2")
    done = completed(tmp_path / "printed", *twins(faces, out, *QUICK, *kill), WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("W&B: nothing more is logged there (") == 1
    assert "Traceback" not in done.stderr
    assert json.loads((out / "encoder/card.json").read_text())["steps"] == 4
    steps = [x.split(",") for x in (out / "csv/version_0/metrics.csv").read_text().splitlines()]
    at = steps[0].index("loss")
    assert sum(bool(row[at]) for row in steps[1:]) == 4


@pytest.fixture
def online(clean, monkeypatch, tmp_path):
    """A server, and an online logger with short timeouts."""
    server = Server()
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    for name, value in (("_RETRIES", 1), ("_PAUSE", 1), ("_TIMEOUT", 5), ("SECONDS", 300)):
        # W&B starts slowly on a busy machine.
        monkeypatch.setattr(wandb_logger, name, value)
    (tmp_path / "run").mkdir()
    yield server, CarefulWandbLogger(tmp_path / "run", "ssl-faces", "r1")
    wandb_logger.finish_wandb(0)
    wandb_logger._end_service()
    server.cut_off()


@pytest.mark.slow  # W&B waits for half a minute
@pytest.mark.parametrize("silent", [False, True])
def test_the_network_is_lost_during_a_run(silent, online, tmp_path):
    """Nothing raises, and every call returns."""
    server, logger = online
    logger.log_metrics({"loss": 2.0}, 0)
    assert not logger._offline
    assert not logger.off
    eventually(lambda: any("/file_stream" in path for path, _ in server.requests))
    if silent:
        server.silent = True
    else:
        server.cut_off()
    logger.log_metrics({"loss": 1.0}, 1)
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "card.json").write_text("{}")
    logger.log_encoder(folder, {"method": "none"})
    wandb_logger.finish_wandb(0)
    logger.log_metrics({"loss": 0.5}, 2)
    # The log is kept for `wandb sync`, without the key.
    (kept,) = (tmp_path / "run/wandb").glob("run-*/*.wandb")
    assert b"loss" in kept.read_bytes()
    assert hold(tmp_path / "run", SECRET) == []


def test_a_service_that_breaks_at_the_start_is_replaced(online, tmp_path, monkeypatch, capsys):
    """The run is logged offline, by another service."""
    import wandb

    _, logger = online
    real = wandb.init

    def broken(**settings):
        if settings["mode"] != "online":
            return real(**settings)
        run = real(**{**settings, "mode": "offline", "id": "other"})
        kill_wandb()
        run.log({"x": 1})
        raise ConnectionError("connection lost")

    monkeypatch.setattr(wandb, "init", broken)
    logger.log_metrics({"loss": 2.0}, 0)
    wandb_logger.finish_wandb(0)
    message = capsys.readouterr().out.lower()
    assert "not online (connection lost): the run is logged offline" in message
    assert not logger.off
    wandb.teardown()  # waits until the service has written all
    (kept,) = (tmp_path / "run/wandb").glob("offline-run-*-r1/*.wandb")
    assert b"loss" in kept.read_bytes()


def test_a_service_that_was_killed_does_not_end_the_run(monkeypatch):
    """W&B exits with the code of its service when it joins it."""
    import wandb

    def joined(code):
        raise SystemExit(-9)

    monkeypatch.setattr(wandb, "teardown", joined)
    monkeypatch.setattr(wandb, "run", "the one that was lost")
    wandb_logger._end_service()
    assert wandb.run is None
