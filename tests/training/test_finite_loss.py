"""A loss that is not finite stops the run, and the last good checkpoint stays as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssl_faces.callbacks.finite_loss import FiniteLoss
from tests.training.conftest import ROOT, environment, fit, run, settings


def twins(faces: Path, out: Path, *more: str) -> list[str]:
    """A run of `Twins`, with a checkpoint every two steps."""
    usual = settings("motion", faces, out)
    usual = ["fit", *usual[3 : usual.index("--model.init_args.input_size")], "--out", str(out)]
    return [*usual, "--model", "tests.training.methods.Twins", "--checkpoint_every", "2", *more]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = loaded["state_dict"]
    return state


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(*arguments) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("ssl-faces: error:")]
    assert len(lines) == 1
    return lines[0]


def test_it_stops_at_the_step_and_goes_on_from_the_last_checkpoint(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again, whole, short = tmp_path / "again", tmp_path / "whole", tmp_path / "short"
    said = refused(capsys, *twins(faces, again, "--model.init_args.fails_at", "8"))
    kept = again / "checkpoints/last.ckpt"
    assert said.startswith("ssl-faces: error: step 8: the loss of twins is not finite; ")
    assert str(kept) in said
    assert "--ckpt_path last" in said
    assert not (again / "encoder").exists()
    # The checkpoint is that of a run that was good, and going on from it is as if all had been.
    fit(*twins(faces, short, "--trainer.max_steps", "6"))
    found, expected = weights(again), weights(short)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    fit(*twins(faces, again, "--ckpt_path", "last"))
    fit(*twins(faces, whole))
    found, expected = weights(again), weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_before_any_checkpoint(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, *twins(faces, tmp_path, "--model.init_args.fails_at", "1"))
    assert "step 1: the loss of twins is not finite; no checkpoint had been saved" in said


def test_a_learning_rate_too_high(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loss stays finite until the weights are not; whatever is saved before is finite."""
    said = refused(capsys, *twins(faces, tmp_path, "--model.init_args.learning_rate", "1e38"))
    assert "of twins " in said
    assert "not finite" in said
    if (tmp_path / "checkpoints/last.ckpt").exists():
        assert all(value.isfinite().all() for value in weights(tmp_path).values())


@pytest.mark.parametrize("fails_at", [7, 8])
def test_weights_after_a_bad_loss_are_never_saved_where_losses_are_not_looked_at_each_step(
    fails_at: int,
    faces: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU: the optimiser has stepped by the time that the check comes."""
    start = FiniteLoss.on_train_start

    def not_at_once(self: FiniteLoss, *arguments: object) -> None:
        start(self, *arguments)  # type: ignore[arg-type]
        self._at_once = False

    monkeypatch.setattr(FiniteLoss, "on_train_start", not_at_once)
    said = refused(capsys, *twins(faces, tmp_path, "--model.init_args.fails_at", str(fails_at)))
    assert f"step {fails_at}: the loss of twins" in said
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 6
    assert all(value.isfinite().all() for value in saved["state_dict"].values())


def test_one_of_two_processes_stops_both(faces: Path, tmp_path: Path) -> None:
    """Only the second has a bad loss; the gradients that they share make both's weights NaN."""
    words = twins(faces, tmp_path, "--model.init_args.fails_at", "5", "--model.init_args.rank", "1")
    words[words.index("--trainer.devices") + 1] = "2"
    done = subprocess.run(
        [sys.executable, "-m", "ssl_faces.cli", *words],
        env=environment() | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "error: step 5: the loss of twins is not finite" in done.stderr
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    assert all(value.isfinite().all() for value in saved["state_dict"].values())


def test_the_first_bad_step_is_remembered() -> None:
    callback = FiniteLoss(Path("none"))
    callback._first_bad = torch.full((), torch.iinfo(torch.int64).max)
    for step, loss in ((1, 0.5), (2, torch.inf), (3, 1.0), (4, torch.nan)):
        callback.note(torch.tensor(loss), step)
        assert int(callback._first_bad) == (torch.iinfo(torch.int64).max if step == 1 else 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_host_waits_for_nothing() -> None:
    callback = FiniteLoss(Path("none"))
    callback._first_bad = torch.full((), torch.iinfo(torch.int64).max, device="cuda")
    loss = torch.tensor(torch.nan, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        callback.note(loss, 3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(callback._first_bad) == 3
