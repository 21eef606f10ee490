"""Child processes run no code of the current folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_faces.common.safe_path import protect, python, unprotect
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.steps import Step

ROOT = Path(__file__).parents[2]
# Modules that any process imports, also before it has read its own program.
SHADOWS = ("argparse", "random", "signal", "struct", "torch")


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Written by the modules of the current folder, when they are imported."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("open('ran', 'a').write(__name__); raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "ran"


def test_commands_run_no_code_of_the_current_folder(ran):
    out = ran.parent / "out"
    with (ran.parent / "lock").open("w") as lock:
        engine = Engine(ran.parent, lock.fileno())
        ours = Step("ours", ["linear-probe", "--help"], ran.parent / "log", out, always=True)
        # What a user runs has its own folder on the path, as without us.
        program = ran.parent / "program"
        program.mkdir()
        (program / "beside.py").write_text("")
        (program / "train.py").write_text("import beside; print('trained')")
        argv = [sys.executable, str(program / "train.py")]
        engine.run([ours, Step("own", argv, ran.parent / "own", out, always=True)])
    assert "usage: linear-probe" in (ran.parent / "log").read_text()
    assert "trained" in (ran.parent / "own").read_text()
    assert not ran.exists()


PARENT = """
import multiprocessing, os, subprocess, sys
from ssl_faces import cli
cli.main()
subprocess.run([sys.executable, "-m", "colorsys"], check=True)
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


def test_nor_do_the_processes_that_a_command_starts(ran):
    """Workers of `multiprocessing` and processes of processes."""
    program = ran.parent / "bin" / "command.py"
    program.parent.mkdir()
    program.write_text(PARENT)
    subprocess.run([sys.executable, str(program), "--help"], check=True)
    assert not ran.exists()


def test_a_checkout_that_is_not_installed_stays_importable(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", *(one for one in sys.path if one != str(ROOT))])
    monkeypatch.chdir(ROOT)
    environment = {"PYTHONPATH": "/mine"}
    protect(environment)
    assert environment["PYTHONSAFEPATH"] == "1"
    assert environment["PYTHONPATH"].split(os.pathsep) == ["/mine", str(ROOT)]
    unprotect(environment)
    assert "PYTHONSAFEPATH" not in environment


def test_every_process_is_started_in_safe_path_mode():
    assert python("-m", "x")[1:] == ["-P", "-m", "x"]
    # `processes.py` runs the user's own program by it; `seat.py` runs where this package may be
    # missing, with -P.
    known = {
        *("ssl_faces/common/safe_path.py", "ssl_faces/plan/processes.py"),
        "ssl_faces/plan/cluster/seat.py",
    }
    result = {
        str(path.relative_to(ROOT))
        for package in ("ssl_faces", "linear_probe")
        for path in (ROOT / package).rglob("*.py")
        if "sys.executable" in path.read_text(encoding="utf-8")
    }
    assert result == known
