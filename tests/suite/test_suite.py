"""A suite from its file: its cells, several at once, resumed after a kill, and the report."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from linear_probe.cli import main
from linear_probe.plans.suite import command, memory
from linear_probe.plans.suite.settings import cells, read
from linear_probe.records.record import read_records
from ssl_faces.common import children
from ssl_faces.encoders.encoder import save_encoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from tests.linear_probe.conftest import ONE

ROOT = Path(__file__).parents[2]
Write = Callable[..., Path]

# Stands for `linear-probe`: notes when it was at work, and leaves a record of its encoder and task.
CELL = """
import pathlib, sys, time
words = dict(zip(sys.argv[2::2], sys.argv[3::2]))
out = pathlib.Path(words["--out"])
place = out.parents[2]
with (place / "calls").open("a") as file:
    file.write(out.name + "\\n")
if words["--task"] == "pose" and (place / "hold").exists():
    (place / "held").touch()
    time.sleep(60)
if words["--task"] == "identity" and (place / "break").exists():
    sys.exit("linear-probe: error: no pairs; give some")
(place / ("at_" + out.name)).touch()
if (place / "meet").exists():  # wait until another cell is at work, too
    until = time.monotonic() + 30
    while len(list(place.glob("at_*"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
line = pathlib.Path(place / "record").read_text()
line = line.replace("ENCODER", words["--encoder"]).replace("TASK", words["--task"])
(out / "records.jsonl").write_text(line + "\\n")
"""


@pytest.fixture(autouse=True)
def usual_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in for the folder of real faces, which is looked at file by file."""
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "one.png").write_bytes(b"one")
    monkeypatch.setenv("SSL_FACES_DATA", str(folder))
    return folder


@pytest.fixture
def encoders(tmp_path: Path) -> list[str]:
    """Two tiny saved encoders, by their folders."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        encoder = FaceCycleEncoder(4, code_dim=8, code_size=32)
        found.append(str(save_encoder(encoder, tmp_path / f"tiny{seed}", {"method": "none"})))
    return found


@pytest.fixture
def write(tmp_path: Path, encoders: list[str]) -> Write:
    def write(**changed: Any) -> Path:
        content = {
            "encoders": encoders,
            "tasks": ["expression", "pose", "identity"],
            "probes": {"linear": {"arguments": {"bootstrap": 20}}},
            **changed,
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cells are processes of a second; what they called."""
    import dataclasses

    (tmp_path / "cell.py").write_text(CELL)
    record = dataclasses.replace(ONE, encoder="ENCODER", task="TASK", metric="accuracy")
    (tmp_path / "record").write_text(record.to_json())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def start(module: str, *more: Any) -> children.Child:
        assert module == "linear_probe.cli"
        return children.Child("cell", *more)

    monkeypatch.setattr(command, "start", start)
    return tmp_path / "calls"


def suite(path: Path, out: Path, *more: str) -> int:
    return main(["suite", "-c", str(path), "--out", str(out), *more])


def calls(file: Path) -> list[str]:
    return sorted(line.rpartition("-")[0] for line in file.read_text().splitlines())


def test_each_cell_once_and_a_report(
    write: Write, stand_in: Path, tmp_path: Path, encoders: list[str]
) -> None:
    out, path = tmp_path / "out", write()
    assert suite(path, out, "--jobs", "2") == 0
    assert len(calls(stand_in)) == 6
    report = (out / "report.md").read_text()
    for encoder in encoders:
        assert report.count(encoder) == 3
    assert (out / "report.html").is_file()
    # Nothing is done twice; what is new is.
    assert suite(path, out) == 0
    assert len(calls(stand_in)) == 6
    assert suite(write(tasks=["expression", "pose", "identity", "attributes"]), out) == 0
    assert len(calls(stand_in)) == 8
    # Other weights of that name are another input.
    torch.manual_seed(7)
    save_encoder(FaceCycleEncoder(4, code_dim=8, code_size=32), encoders[1], {"method": "none"})
    assert suite(path, out) == 0
    again = calls(stand_in)
    assert len(again) == 12
    assert sum("tiny1" in name for name in again) == 8


def test_baselines_are_scored_once(write: Write, tmp_path: Path, encoders: list[str]) -> None:
    found = list(cells(read(write()), tmp_path / "out"))
    kinds = [cell.words[cell.words.index("--baselines") + 1] for cell in found]
    assert kinds == ["all", "untrained"] * 3
    kinds = [
        c.words[c.words.index("--baselines") + 1]
        for c in cells(read(write(baselines=False)), tmp_path)
    ]
    assert set(kinds) == {"none"}


def test_cells_are_at_work_at_once(write: Write, stand_in: Path, tmp_path: Path) -> None:
    (tmp_path / "meet").touch()
    path = write(tasks=["expression"])
    assert suite(path, tmp_path / "out", "--jobs", "2") == 0
    assert len(list(tmp_path.glob("at_*"))) == 2


def test_one_at_a_time_where_memory_is_short(
    write: Write, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "free_memory", lambda: 1000)
    at_once = []
    real = command._Running._start

    def noted(self: command._Running, cell: Any) -> None:
        at_once.append(len(self.at_work))
        real(self, cell)

    monkeypatch.setattr(command._Running, "_start", noted)
    assert suite(write(tasks=["expression", "pose"]), tmp_path / "out", "--jobs", "4") == 0
    assert at_once == [0, 0, 0, 0]


def test_a_cell_that_fails_is_told_and_tried_again(
    write: Write, stand_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, path = tmp_path / "out", write()
    (tmp_path / "break").touch()
    assert suite(path, out) == 1
    said = capsys.readouterr().out
    assert "failed: linear, identity, " in said
    assert "no pairs; give some" in said
    assert "| " in (out / "report.md").read_text()
    (tmp_path / "break").unlink()
    assert suite(path, out) == 0
    assert sum("identity" in name for name in calls(stand_in)) == 4
    assert len(calls(stand_in)) == 8


def test_stopped_it_goes_on_without_what_is_finished(
    write: Write, stand_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, path = tmp_path / "out", write()
    (tmp_path / "hold").touch()

    def send() -> None:
        until = time.monotonic() + 60
        while not (tmp_path / "held").exists() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    assert suite(path, out, "--jobs", "1") == 128 + signal.SIGTERM
    sender.join()
    assert "the same command goes on: linear-probe suite" in capsys.readouterr().out
    before = calls(stand_in)
    assert sum("expression" in name for name in before) == 2
    (tmp_path / "hold").unlink()
    assert suite(path, out, "--jobs", "1") == 0
    # The one that was stopped is begun again, and no other.
    assert len(calls(stand_in)) == 7
    # While one is at work, no other suite may be.
    with children.only_one(out, command.WHAT, command.LOCK):
        assert suite(path, out) == 2
    assert "a suite, or a run that one has started, is still at work" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"task": ["pose"]}, "task: unknown key"),
        ({"tasks": ["poses"]}, "unknown task 'poses'"),
        ({"encoders": ["runs/none"]}, "encoder runs/none: no card.json there"),
        ({"probes": {}}, "neither probes nor heads"),
        ({"probes": {"a": {"arguments": {"bootstraps": 3}}}}, "--bootstraps"),
        ({"probes": {"a": {"arguments": {"out": "x"}}}}, "'out' follows from the suite"),
        ({"heads": {"a": {"configs": ["none.yaml"]}}}, "none.yaml: no such file"),
        ({"tasks": []}, "probes.linear: no tasks"),
    ],
)
def test_files_that_are_no_suite(
    changed: dict[str, Any],
    said: str,
    write: Write,
    stand_in: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert suite(write(**changed), tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not stand_in.exists()


def test_the_standard_suite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    path = Path("configs/suite/standard.yaml")
    found = list(cells(read(path), tmp_path))
    command._check(path, found)
    assert len(found) == 2 * 4 + 2 * 3 + 3
    assert len({cell.folder for cell in found}) == len(found)


def test_a_second_suite_gives_the_same_records(
    write: Write, tmp_path: Path, encoders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real commands, in this process; features are computed once for all cells."""

    def start(module: str, words: list[str], *more: Any) -> Any:
        code = main(words)
        process = SimpleNamespace(pid=0, poll=lambda: code, returncode=code)
        return SimpleNamespace(process=process, check=lambda: None)

    monkeypatch.setattr(command, "start", start)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    arguments = {"bootstrap": 20, "data": "rendered:60", "device": "cpu"}
    path = write(tasks=["pose"], probes={"linear": {"arguments": arguments}})

    def records(out: Path) -> list[dict[str, Any]]:
        assert suite(path, out) == 0
        found = [
            r
            for folder in sorted((out / "cells").glob("*/"))
            for r in read_records(folder / "records.jsonl")
        ]
        return [{k: v for k, v in json.loads(r.to_json()).items() if k != "seconds"} for r in found]

    first = records(tmp_path / "one")
    assert {r["encoder"] for r in first} >= {*encoders, "pixels", f"{encoders[1]}, untrained"}
    assert first == records(tmp_path / "two")
    listing = list((tmp_path / "one/features").glob("*-listing.json"))
    assert (
        len({s["fingerprint"] for p in listing for s in json.loads(p.read_text())["sources"]}) >= 4
    )
    assert (tmp_path / "one").joinpath("cells").is_dir()


def test_memory_by_machine_and_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text("Name:\tx\nVmHWM:\t     512 kB\n")
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_memory() == 4000 * 1024
    assert memory.peak_memory(7) == 512 * 1024
    assert memory.peak_memory(8) == 0
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    assert memory.free_memory() == 600000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() == 4000 * 1024
