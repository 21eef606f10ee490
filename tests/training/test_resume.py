"""A run that was killed and resumed has the weights of one that never stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.training.conftest import fit, settings, start

BATCHES = 12  # an epoch


def checkpoint(run: Path) -> dict[str, object]:
    loaded: dict[str, object] = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    return loaded


def kill_after_first_checkpoint(arguments: list[str], run: Path) -> int:
    """Start a run, `kill -9` it once it has saved a checkpoint; the checkpoint's step."""
    process = start(*arguments)
    saved = run / "checkpoints/last.ckpt"
    deadline = time.monotonic() + 300
    while not saved.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"
    step = checkpoint(run)["global_step"]
    assert isinstance(step, int)
    return step


def assert_same_weights(one: Path, other: Path) -> None:
    pairs: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = [
        (checkpoint(one)["state_dict"], checkpoint(other)["state_dict"]),  # type: ignore[list-item]
        (
            load_file(one / "encoder/encoder.safetensors"),
            load_file(other / "encoder/encoder.safetensors"),
        ),
    ]
    for first, second in pairs:
        assert first.keys() == second.keys()
        for name, value in first.items():
            torch.testing.assert_close(value, second[name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("every", "workers", "then"),
    [(5, 0, 0), (BATCHES, 0, 0), (5, 2, 1)],
    ids=["mid-epoch", "end of an epoch", "mid-epoch with other loader processes"],
)
def test_stage_1_killed_and_resumed(
    every: int, workers: int, then: int, faces: Path, motion_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    longer = settings("motion", faces, run, "--checkpoint_every", str(every))
    before = [*longer, "--data.num_workers", str(workers)]
    assert kill_after_first_checkpoint(before, run) % every == 0
    fit(*longer, "--data.num_workers", str(then), "--ckpt_path", "last")
    assert_same_weights(motion_run, run)


def test_stage_2_killed_and_resumed(faces: Path, motion_run: Path, tmp_path: Path) -> None:
    stage1 = ("--model.init_args.motion_checkpoint", str(motion_run / "checkpoints/last.ckpt"))
    whole, run = tmp_path / "whole", tmp_path / "run"
    fit(*settings("identity", faces, whole, *stage1))
    cut = settings("identity", faces, run, *stage1, "--checkpoint_every", "5")
    kill_after_first_checkpoint(cut, run)
    fit(*cut, "--ckpt_path", "last")
    assert_same_weights(whole, run)


@pytest.mark.parametrize("steps", [8, BATCHES], ids=["mid-epoch", "end of an epoch"])
def test_a_finished_run_that_is_given_more_steps(steps: int, faces: Path, tmp_path: Path) -> None:
    def run(out: Path, until: int, *more: str) -> None:
        arguments = settings("motion", faces, out, *more)
        arguments[arguments.index("--trainer.max_steps") + 1] = str(until)
        # Rates by epoch: a cosine's depend on how many steps are planned.
        arguments += ["--model.init_args.peak_learning_rate", "null"]
        fit(*arguments, "--model.init_args.learning_rates", "{0: 1.0e-3, 1: 1.0e-4}")

    run(tmp_path / "whole", BATCHES + 3)
    run(tmp_path / "run", steps)
    run(tmp_path / "run", BATCHES + 3, "--ckpt_path", "last")
    assert checkpoint(tmp_path / "run")["global_step"] == BATCHES + 3
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


def test_the_same_seed_gives_the_same_run_and_another_another(
    faces: Path, motion_run: Path, tmp_path: Path
) -> None:
    fit(*settings("motion", faces, tmp_path / "again"))
    assert_same_weights(motion_run, tmp_path / "again")
    fit(*settings("motion", faces, tmp_path / "other", "--data.seed", "1"))
    first = load_file(motion_run / "encoder/encoder.safetensors")
    other = load_file(tmp_path / "other/encoder/encoder.safetensors")
    assert any(not torch.allclose(v, other[k], atol=1e-5) for k, v in first.items())
