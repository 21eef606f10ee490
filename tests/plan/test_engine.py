"""The engine that all plans share: order, resume, failures, several at once, signals, locks."""

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import pytest

from ssl_faces.common import run_record
from ssl_faces.common.errors import InputError
from ssl_faces.common.run_record import is_held, read_run, state_of
from ssl_faces.plan import engine as engines
from ssl_faces.plan import processes
from ssl_faces.plan.command import run_plan
from ssl_faces.plan.runs import find_runs
from ssl_faces.plan.steps import Step
from tests.support.processes import begin
from tests.support.steps import COMMAND, WAIT, calls, run, send, step
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(engines, "_TICK", 0.02)


@pytest.fixture(autouse=True)
def _signals():
    """Signals have handlers, even if the tests run under `nohup`."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_steps_run_once_after_those_that_they_need(tmp_path, capsys):
    def steps(seed=0):
        decides = {"seed": seed}
        return [
            step(tmp_path, "last", after=["first", "second"]),
            step(tmp_path, "second", after=["first"]),
            step(tmp_path, "first", decides=decides, note=tmp_path / "note.json"),
        ]

    assert run(tmp_path, steps(), jobs=2) == (0, {})
    assert calls(tmp_path) == ["first", "second", "last"]
    (found,) = find_runs([tmp_path])
    assert (found.kind, found.state, found.progress) == ("job", "finished", "3 of 3")
    assert "(step 3 of 3; about 1 min left)" in capsys.readouterr().out
    assert run(tmp_path, steps()) == (0, {})
    assert "3 of 3 steps are done already" in capsys.readouterr().out
    # Made by other settings, it is not the same step.
    assert run(tmp_path, steps(seed=1)) == (0, {})
    (tmp_path / "note.json").write_text("{")
    assert run(tmp_path, steps(seed=1)) == (0, {})
    assert calls(tmp_path)[3:] == ["first", "first"]
    assert len({one.key for one in [*steps(), *steps(1)]}) == 4


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.exit('begun\\nssl-faces: error: no faces; give some\\nbye')", "no faces; give some"),
        ("raise KeyError('x')", "KeyError: 'x' (exit code 1; see {out}/bad.log)"),
        ("os.kill(os.getpid(), 9)", "it printed nothing (killed by signal 9; see {out}/bad.log)"),
        ("sys.exit(0)", "it ended without its result; see {out}/bad.log"),
        (None, "{out}/none: can't be run (No such file or directory)"),
    ],
)
def test_a_failed_step_stops_only_those_that_need_it(code, message, tmp_path, capsys):
    bad = step(tmp_path, "bad", code or "")
    if code is None:
        bad.argv = [str(tmp_path / "none")]
    needs = step(tmp_path, "needs", after=["bad"])
    over = []

    def work(engine):
        engine.begin()
        engine.run([bad, needs, step(tmp_path, "other")], then=over.append)
        return len(engine.failures)

    assert run_plan(COMMAND, tmp_path, work) == 1
    assert f"failed: bad: {message.format(out=tmp_path)}" in capsys.readouterr().out
    assert [name for name in calls(tmp_path) if name != "bad"] == ["other"]
    assert over[0] == {"bad"}
    assert over[-1] >= {"bad", "other"}
    about = read_run(tmp_path)
    states = {name: one["state"] for name, one in about["steps"].items()}
    assert states == {"bad": "failed", "needs": "waiting", "other": "done"}
    assert state_of(tmp_path) == "failed"


MEET = """
(out / f'at {os.getpid()}').touch()
until = time.monotonic() + 30
while len(list(out.glob('at *'))) < 2 and time.monotonic() < until:
    time.sleep(0.01)
(out / f'threads {os.environ["OMP_NUM_THREADS"]}').touch()
sys.exit(time.monotonic() > until)
"""
ALONE = """
(out / 'lock').mkdir()
time.sleep(0.1)
(out / 'lock').rmdir()
"""


def test_independent_steps_run_at_once(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    meeting = [step(tmp_path, name, MEET) for name in "ab"]
    for one in meeting:
        one.is_whole = lambda: True
        one.always = True
    assert run(tmp_path, meeting, jobs=3)[0] == 0
    assert (tmp_path / "threads 2").exists()
    # But not in one folder.
    shared = [step(tmp_path, name, ALONE, out=tmp_path / "one") for name in "cde"]
    assert run(tmp_path, shared, jobs=3)[0] == 0


def test_steps_wait_for_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "free_memory", lambda: 1000)
    assert run(tmp_path, [step(tmp_path, name, ALONE) for name in "abc"], jobs=3)[0] == 0


def test_a_step_that_runs_out_of_memory_beside_others_runs_again_alone(tmp_path):
    hungry = "if not (out / 'long').exists(): sys.exit('out of memory')"
    steps = [step(tmp_path, "long", "time.sleep(0.5)"), step(tmp_path, "hungry", hungry)]
    assert run(tmp_path, steps, jobs=2) == (0, {})
    assert calls(tmp_path).count("hungry") == 2
    steps = [step(tmp_path, "alone", "sys.exit('out of memory')")]
    assert "out of memory" in str(run(tmp_path, steps, jobs=2)[1]["alone"])


def test_memory_of_machine_and_container(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text("Name:\tx\nVmHWM:\t     512 kB\n")
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    monkeypatch.setattr(processes, "_CGROUP", tmp_path)
    assert processes.free_memory() == 4000 * 1024
    assert processes.peak_memory(7) == 512 * 1024
    assert processes.peak_memory(8) == 0
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    assert processes.free_memory() == 600000
    (tmp_path / "memory.max").write_text("max\n")
    assert processes.free_memory() == 4000 * 1024


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_steps_first(number, tmp_path, capsys):
    steps = [step(tmp_path, "first"), step(tmp_path, "waits", WAIT)]
    sender = send((tmp_path / "ready").exists, number)
    assert run(tmp_path, steps)[0] == 128 + number
    sender.join()
    assert (tmp_path / "saved").exists()
    assert signal.getsignal(number) is signal.default_int_handler
    text = capsys.readouterr().out
    assert text.count("stopped; what was done is kept, and the same command resumes: ") == 1
    assert text.endswith(f"resumes: {' '.join(COMMAND)}\n")
    about = read_run(tmp_path)
    assert about["steps"]["waits"]["state"] == "stopped"
    assert (about["sessions"][-1]["state"], about["sessions"][-1]["said"]) == (
        "stopped",
        number.name,
    )
    (tmp_path / "go").touch()
    assert run(tmp_path, steps) == (0, {})
    assert calls(tmp_path) == ["first", "waits", "waits"]


def test_a_second_signal_kills(tmp_path):
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); (out / 'ready').touch(); time.sleep(60)"
    sender = send((tmp_path / "ready").exists, signal.SIGINT, signal.SIGINT)
    begun = time.monotonic()
    assert run(tmp_path, [step(tmp_path, "deaf", deaf)])[0] == 130
    sender.join()
    assert time.monotonic() - begun < 30


def run_a_step_that_waits(out):
    run(out, [step(out, "waits", WAIT)])


def test_the_lock_is_held_until_the_last_step_ends(tmp_path, monkeypatch):
    """Even if the process that started it was killed."""
    parent = begin(run_a_step_that_waits, tmp_path)
    eventually((tmp_path / "ready").exists)
    parent.kill()
    parent.join()
    assert state_of(tmp_path) == "running"
    monkeypatch.setattr(run_record, "PATIENCE", 0.0)
    with pytest.raises(InputError, match="another run is at work in it") as refused:
        run(tmp_path, [])
    child = int((tmp_path / "run.lock").read_text().split()[1])
    assert f"(process {child} on " in str(refused.value)
    os.kill(child, signal.SIGTERM)
    eventually(lambda: not is_held(tmp_path))
    assert (tmp_path / "saved").exists()
    assert state_of(tmp_path) == "stopped"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/out: can't be written"):
        run(tmp_path / "file/out", [])


class Endless:
    """A process that runs until it is asked to end; sends a signal to this process first."""

    pid = 0
    about: Mapping[str, Any] = {}

    def __init__(self, number):
        os.kill(os.getpid(), number)
        self.over = False

    def check(self):
        return self.over

    def ask_to_end(self, number):
        self.over = True

    def kill(self): ...


@pytest.mark.parametrize(
    ("number", "argv", "queued"),
    [
        (signal.SIGINT, ["linear-probe", "run"], False),
        (signal.SIGTERM, ["ssl-faces", "fit"], False),  # the run itself does that
        (signal.SIGTERM, ["linear-probe", "run"], True),
        (signal.SIGUSR1, ["linear-probe", "run"], True),  # Slurm's warning before the time limit
    ],
)
def test_slurm_queues_a_stopped_plan_again(number, argv, queued, tmp_path, monkeypatch, capsys):
    calls = tmp_path / "calls"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" JobState=RUNNING | tee -a {calls}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr(engines, "executor", lambda *_: Endless(number))
    steps = [Step("x", argv, tmp_path / "x.log", tmp_path / "x", always=True)]
    assert run(tmp_path / "out", steps)[0] == 128 + number
    assert ("; Slurm job 77 is queued again" in capsys.readouterr().out) is queued
    assert (calls.exists() and "requeue 77" in calls.read_text()) is queued
