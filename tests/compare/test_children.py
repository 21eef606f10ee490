"""Commands of a comparison as processes of their own: their errors, their end, their lock."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ssl_faces.cli import main
from ssl_faces.compare import children
from ssl_faces.compare.children import Failed, Stopped, only_one, run, stoppable
from ssl_faces.errors import InputError
from tests.compare.conftest import Write, common_arguments, compare, stage1, two_stages

CHILD = """
import pathlib, signal, sys, time
what, place = sys.argv[1:]
print("begun", flush=True)
if what == "fail":
    print("ssl-faces: error: no faces; give some", file=sys.stderr)
    print("exit", file=sys.stderr)
    sys.exit(2)
if what == "break":
    raise KeyError("x")
if what == "wait":
    def stop(number, frame):
        pathlib.Path(place).write_text("saved")
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    pathlib.Path(place).write_text("ready")
    time.sleep(60)
"""


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `talk` for child processes; where it leaves word."""
    (tmp_path / "talk.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "word"


def eventually(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def is_free(folder: Path) -> bool:
    try:
        with only_one(folder):
            return True
    except InputError:
        return False


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    with only_one(tmp_path / "out") as handle:
        yield handle


def test_what_a_command_said_last(talk: Path, lock: int, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    run("talk", ["well", str(talk)], log, lock)
    with pytest.raises(Failed, match=r"^no faces; give some$"):
        run("talk", ["fail", str(talk)], log, lock)
    with pytest.raises(Failed, match=r"^KeyError: 'x' \(exit code 1; see .*x\.log\)$"):
        run("talk", ["break", str(talk)], log, lock)
    assert log.read_text().count("begun") == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_first(
    number: signal.Signals, talk: Path, lock: int, tmp_path: Path
) -> None:
    def deaf_no_more(_: object, __: object) -> None:
        pass

    # Where the tests themselves run under `nohup`, `stoppable` would leave the signal ignored.
    inherited = signal.signal(number, deaf_no_more)

    def send() -> None:
        eventually(talk.exists)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    with stoppable():
        sender.start()
        with pytest.raises(Stopped) as stopped:
            run("talk", ["wait", str(talk)], tmp_path / "x.log", lock)
    sender.join()
    assert stopped.value.number == number
    assert talk.read_text() == "saved"
    assert signal.signal(number, inherited) is deaf_no_more


def test_the_lock_is_held_until_the_last_command_ends(talk: Path, tmp_path: Path) -> None:
    """Also where the process that started it was killed."""
    out = tmp_path / "out"
    parent = (
        "import sys; from pathlib import Path; from ssl_faces.compare.children import *\n"
        f"with only_one(Path({str(out)!r})) as lock:\n"
        f"    run('talk', ['wait', {str(talk)!r}], Path({str(tmp_path / 'x.log')!r}), lock)"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, "-c", parent], env={**os.environ, "PYTHONPATH": path}
    )
    eventually(talk.exists)
    process.kill()
    process.wait()
    with pytest.raises(InputError, match="still at work in it") as refused, only_one(out):
        pass
    child = int((out / "compare.lock").read_text())
    assert f"(process {child})" in str(refused.value)
    os.kill(child, signal.SIGTERM)
    eventually(partial(is_free, out))
    assert talk.read_text() == "saved"


def steps_of(run: Path) -> int:
    found = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert isinstance(found, int)
    return found


def assert_same_encoder(one: Path, other: Path) -> None:
    first, second = (load_file(path / "encoder/encoder.safetensors") for path in (one, other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=1e-6, msg=name)


def send_after_the_first_step(log: Path, number: signal.Signals) -> threading.Thread:
    def send() -> None:
        eventually(lambda: log.exists() and "first step after" in log.read_text())
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    return sender


def uninterrupted(command: str, out: Path) -> None:
    """The command that the comparison printed, run by itself from the beginning."""
    words = shlex.split(command)[1:]
    words[words.index("--out") + 1] = str(out)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(words) == 0
    finally:
        torch.set_num_threads(threads)


def test_a_stopped_comparison_goes_on(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGTERM within a run saves its checkpoint there and then, its only one; resumed, the run is
    as if unbroken."""
    real = children.run

    def only_fits(module: str, words: list[str], log: Path, lock: int) -> None:
        if module == "ssl_faces.cli":
            real(module, words, log, lock)
        elif words[0] == "comparison":
            Path(words[1], "comparison.md").write_text("the table")

    monkeypatch.setattr(children, "run", only_fits)
    out, run = tmp_path / "out", tmp_path / "out/motion/seed0/stage1"
    path = write(seeds=[0], methods={"motion": [stage1(checkpoint_every=999)]}, budget_pflop=6e-5)
    sender = send_after_the_first_step(run.with_suffix(".log"), signal.SIGTERM)
    assert compare(path, out) == 128 + signal.SIGTERM
    sender.join()
    printed = capsys.readouterr().out
    assert f"goes on: ssl-faces compare -c {path} --out {out}" in printed
    assert not (run / "encoder").exists()
    stopped = steps_of(run)
    assert compare(path, out) == 0
    assert steps_of(run) > stopped
    command = next(x for x in printed.splitlines() if x.startswith("  $ ")).removeprefix("  $ ")
    uninterrupted(command, tmp_path / "whole")
    assert steps_of(tmp_path / "whole") == steps_of(run)
    assert_same_encoder(run, tmp_path / "whole")


@pytest.mark.slow
def test_killed_in_each_stage_and_scored(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`kill -9` of all processes within each stage; the last command does all that is left."""
    from tests.linear_probe.conftest import write_fer2013, write_keypoints, write_lfw

    for make in (write_fer2013, write_keypoints, write_lfw):
        make(tmp_path / "data")
    probe = {"task": "expression,pose,identity", "data": str(tmp_path / "data"), "bootstrap": 50}
    path = write(
        methods={"facecycle": two_stages(), "broken": [stage1(**{"model.input_size": 30})]},
        budget_pflop=8e-5,
        arguments={**common_arguments(tmp_path), "checkpoint_every": 4},
        seeds=[0],
        probe={**probe, "precision": "32", "device": "cpu"},
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ssl_faces.cli", "compare", "-c", str(path), "--out", str(out)]
    for stage in (1, 2):
        saved = out / f"facecycle/seed0/stage{stage}/checkpoints/last.ckpt"
        parent = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        eventually(saved.exists, 300)
        child = int((out / "compare.lock").read_text())
        parent.kill()
        os.kill(child, signal.SIGKILL)
        parent.wait()
        # An orphan's end is seen by the lock that it held.
        eventually(partial(is_free, out))
    assert compare(path, out) == 1
    printed = capsys.readouterr().out
    assert "failed: broken: model.input_size: 30" in printed
    assert "| facecycle | " in printed
    assert "| broken |  | failed: model.input_size: 30; give" in printed
    assert (out / "comparison.csv").read_text().count("facecycle,method,") == 7
