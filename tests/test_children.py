"""Commands as processes of their own: what they said last, their end, their lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import linear_probe.cli
import ssl_faces.cli
from ssl_faces.common.children import (
    Failed,
    Stopped,
    deaf_to_interrupts,
    exit_code,
    only_one,
    run,
    stoppable,
)
from ssl_faces.common.errors import InputError

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


@pytest.fixture
def heard() -> Iterator[None]:
    """Signals are heard, also where the tests run under `nohup`."""
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("program", "main", "words", "module", "function"),
    [
        ("ssl-faces", ssl_faces.cli.main, ["runs"], "ssl_faces.plan.runs", "run"),
        ("ssl-faces", ssl_faces.cli.main, ["fit"], "ssl_faces.training.fit", "run"),
        (
            "linear-probe",
            linear_probe.cli.main,
            ["report", "x"],
            "linear_probe.records.collect",
            "read_folders",
        ),
        (
            "linear-probe",
            linear_probe.cli.main,
            ["video"],
            "linear_probe.experiments.job_files",
            "run_job",
        ),
    ],
)
def test_a_stopped_command_says_so_in_one_line(
    program: str,
    main: Callable[[list[str]], int],
    words: list[str],
    module: str,
    function: str,
    number: signal.Signals,
    heard: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(*_: object) -> None:
        signal.raise_signal(number)
        raise AssertionError("it went on")

    monkeypatch.setattr(f"{module}.{function}", work)
    handler = signal.getsignal(number)
    assert main(words) == 128 + number
    assert capsys.readouterr() == ("", f"{program}: stopped by {number.name}\n")
    assert signal.getsignal(number) is handler


def test_other_ways_to_be_stopped(heard: None, capsys: pytest.CaptureFixture[str]) -> None:
    def as_lightning_ends() -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    def in_a_thread() -> int:
        thread = threading.Thread(target=lambda: codes.append(exit_code("x", lambda: 7)))
        thread.start()
        thread.join()
        return 0

    codes: list[int] = []
    assert exit_code("x", as_lightning_ends) == 130
    assert exit_code("x", in_a_thread) == 0
    assert codes == [7]
    with pytest.raises(SystemExit):
        exit_code("x", lambda: sys.exit(3))
    assert capsys.readouterr().err == "x: stopped by SIGINT\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_forked_worker_ends_silently(
    number: signal.Signals, heard: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with stoppable():
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        worker.start()
        assert worker.pid is not None
        time.sleep(0.2)
        os.kill(worker.pid, number)
        worker.join(30)
    assert worker.exitcode == -number
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_its_parent_ends_is_deaf_to_ctrl_c(heard: None) -> None:
    heard_by_parent: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard_by_parent.append(number))
    with deaf_to_interrupts():
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        os.kill(os.getpid(), signal.SIGINT)
        worker.send_signal(signal.SIGINT)
    assert heard_by_parent == [signal.SIGINT]
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(1)
    worker.terminate()
    assert worker.wait(30) == -signal.SIGTERM


def test_the_lock_is_held_until_the_last_command_ends(talk: Path, tmp_path: Path) -> None:
    """Also where the process that started it was killed."""
    out = tmp_path / "out"
    parent = (
        "import sys; from pathlib import Path; from ssl_faces.common.children import *\n"
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


def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    """One that waits for work, and one that works."""
    (tmp_path / "work.py").write_text("import time\ndef start(): pass\ndef work(): time.sleep(600)")
    parent = (
        "import os, signal, work; from ssl_faces.common.children import worker_pool\n"
        "if __name__ == '__main__':\n"
        "    pool = worker_pool(2, work.start)\n"
        "    pool.submit(work.work)\n"
        "    pool.submit(os.getpid).result()\n"
        "    print(*pool._processes, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    (tmp_path / "parent.py").write_text(parent)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py")],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            # The workers hold the pipe's other end: it is read until the last of them has ended.
            out, _ = process.communicate(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(out.split()) == 2
