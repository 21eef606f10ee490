"""A loss that is not finite stops the run, and the last good checkpoint stays as it was."""

from pathlib import Path

import pytest
import torch

from ssl_faces.callbacks.finite_loss import FiniteLoss
from tests.support.fits import assert_close, completed, fit, refused, step_of, twins, weights


def test_it_stops_and_resumes_from_the_last_checkpoint(faces, tmp_path, capsys):
    again, whole, short = tmp_path / "again", tmp_path / "whole", tmp_path / "short"
    message = refused(capsys, *twins(faces, again, "--model.init_args.fails_at", "8"))
    kept = again / "checkpoints/last.ckpt"
    assert message.startswith("ssl-faces: error: step 8: the loss of twins is not finite; ")
    assert str(kept) in message
    assert "--ckpt_path last" in message
    assert not (again / "encoder").exists()
    # The checkpoint is that of a good run, and resuming from it equals a good run.
    fit(*twins(faces, short, "--trainer.max_steps", "6"))
    assert_close(weights(again), weights(short), atol=0)
    fit(*twins(faces, again, "--ckpt_path", "last"))
    fit(*twins(faces, whole))
    assert_close(weights(again), weights(whole), atol=0)


def test_before_any_checkpoint(faces, tmp_path, capsys):
    message = refused(capsys, *twins(faces, tmp_path, "--model.init_args.fails_at", "1"))
    assert "step 1: the loss of twins is not finite; no checkpoint had been saved" in message


def test_a_learning_rate_too_high(faces, tmp_path, capsys):
    """The loss stays finite until the weights are not; whatever is saved before is finite."""
    message = refused(capsys, *twins(faces, tmp_path, "--model.init_args.learning_rate", "1e38"))
    assert "of twins " in message
    assert "not finite" in message
    if (tmp_path / "checkpoints/last.ckpt").exists():
        assert all(value.isfinite().all() for value in weights(tmp_path).values())


@pytest.mark.parametrize("fails_at", [7, 8])
def test_weights_after_a_bad_loss_are_never_saved_where_losses_are_not_looked_at_each_step(
    fails_at, faces, tmp_path, capsys, monkeypatch
):
    """As on a GPU: the optimiser has stepped by the time that the check comes."""
    start = FiniteLoss.on_train_start

    def not_at_once(self, *arguments):
        start(self, *arguments)
        self._at_once = False

    monkeypatch.setattr(FiniteLoss, "on_train_start", not_at_once)
    message = refused(capsys, *twins(faces, tmp_path, "--model.init_args.fails_at", str(fails_at)))
    assert f"step {fails_at}: the loss of twins" in message
    assert step_of(tmp_path) == 6
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


def test_one_of_two_processes_stops_both(faces, tmp_path):
    """Only the second has a bad loss; the gradients that they share make both's weights NaN."""
    fails = ("--model.init_args.fails_at", "5", "--model.init_args.rank", "1")
    more = (*fails, "--trainer.devices", "2")
    done = completed(tmp_path / "printed", *twins(faces, tmp_path, *more))
    assert done.returncode == 2, done.stderr[-2000:]
    assert "error: step 5: the loss of twins is not finite" in done.stderr
    assert step_of(tmp_path) == 4
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_host_waits_for_nothing():
    callback = FiniteLoss(Path("none"))
    callback._first_bad = torch.full((), torch.iinfo(torch.int64).max, device="cuda")
    loss = torch.tensor(torch.nan, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        callback.note(loss, 3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(callback._first_bad) == 3
