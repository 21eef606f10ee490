"""Sweeps of a run that takes no time: a script that logs and keeps checkpoints as `fit` does."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from ssl_faces.cli import main
from ssl_faces.plan import engine
from ssl_faces.plan.sweep import study, trials
from tests.support.commands import refusal
from tests.support.workers import workers as workers

ROOT = Path(__file__).parents[2]

# Logs 100 - (x - 3)^2 + step, in `--steps` steps; resumes from its checkpoint, saves one on
# SIGTERM, and appends to `begun.jsonl` when it starts, with its first step.
CHILD = """
import json, os, pathlib, signal, sys, time
given = {}
words = sys.argv[1:]
while words:
    name, _, value = words.pop(0).removeprefix("--").partition("=")
    given[name] = value or words.pop(0)
out, steps, x = pathlib.Path(given["out"]), int(given.get("steps", 3)), float(given.get("x", 0))
assert given["ckpt_path"] == "last"
last = out / "checkpoints" / "last.ckpt"
begin = int(last.read_text()) if last.exists() else 0
with open(out.parent.parent / "begun.jsonl", "a") as file:
    about = {"folder": out.name, "given": given, "from": begin}
    about |= {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "WANDB_RUN_GROUP")}
    file.write(json.dumps(about) + "\\n")
if given.get("fail") == "1":
    sys.exit("ssl-faces: error: model.x: it is wrong; mend it")
if given.get("fail") == "full":
    sys.exit(f"ssl-faces: error: {out}: the disk is full (or the file size limit reached)")
stopped = []
signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
numbered = out / "csv"
numbered.mkdir(parents=True, exist_ok=True)
file = numbered / f"version_{len(list(numbered.iterdir()))}" / "metrics.csv"
file.parent.mkdir()
last.parent.mkdir(exist_ok=True)
name = given.get("logs", "online/expression_linear/expression")
rows = [f"epoch,loss,{name},step"]
for step in range(begin, steps):
    if given.get("wait") and step > 0:
        gate = pathlib.Path(given["wait"])
        patience = time.monotonic() + 60
        while not gate.exists() and not stopped and time.monotonic() < patience:
            time.sleep(0.01)
        if stopped:
            sys.exit(143)
    if given.get("kill") == str(step) and begin == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    rows.append(f"0,{1 / (step + 1)},{100 - (x - 3) ** 2 + step},{step}")
    file.write_text("\\n".join(rows) + "\\n")
    last.write_text(str(step + 1))
    time.sleep(float(given.get("sleep", 0)))
    if stopped:
        sys.exit(143)
"""

METRIC = "online/expression_linear/expression"


@pytest.fixture
def write(tmp_path):
    """Writes a sweep file of the script; keys replace its own, `more` words its command's."""
    (tmp_path / "child.py").write_text(CHILD)

    def write(more=(), name="sweep.yaml", **changed):
        content = {
            "command": [sys.executable, "-I", "-S", str(tmp_path / "child.py"), *more, "${args}"],
            "method": "grid",
            "metric": {"name": METRIC, "goal": "maximize"},
            "parameters": {"x": {"values": [1, 2, 3, 4]}},
            **changed,
        }
        path = tmp_path / name
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
        return path

    return write


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(trials, "LOOK", 0.05)
    monkeypatch.setattr(study, "HEARTBEAT", 1)
    monkeypatch.setattr(study, "GRACE", 3)
    monkeypatch.setattr(engine, "_TICK", 0.02)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def sweep(path, out, *more):
    return main(["sweep", str(path), "--out", str(out), *more])


def refused(capsys, path, out, *more):
    """The sentence that refuses a sweep."""
    return refusal(capsys, "sweep", path, "--out", out, *more)


def begun(out):
    """Each start of the script, in their order."""
    path = out / "begun.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
