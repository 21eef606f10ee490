"""A comparison that is stopped or killed goes on as if it had not been."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ssl_faces.cli import main
from ssl_faces.common import children
from tests.compare.conftest import Write, common_arguments, compare, stage1, two_stages
from tests.test_children import eventually, is_free


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
