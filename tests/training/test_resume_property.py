"""A run that is repeatedly killed or stopped equals an uninterrupted one."""

import functools
import signal
import tempfile
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from ssl_faces.callbacks.last_checkpoint import LastCheckpoint
from ssl_faces.callbacks.stop_signals import StopSignals
from ssl_faces.callbacks.wandb_logger import CSVRows
from ssl_faces.common.checkpoints import load_checkpoint
from ssl_faces.pairs.module import FaceData
from ssl_faces.rendered import RenderedFaces
from ssl_faces.training.fit import quiet
from ssl_faces.training.logged import read_logged
from tests.support.resumes import KILLS, assert_same, kill_at, until_finished

PAIRS = 2  # a batch
MOST = 5  # batches an epoch


class Tiny(pl.LightningModule):
    """Learns from the means of images, with random noise.

    Args:
        interval: of the learning-rate schedule.
        stop_at: the step in which it gets SIGTERM.
    """

    def __init__(self, interval, stop_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.interval, self.stop_at = interval, stop_at

    def training_step(self, batch, batch_idx):
        if self.global_step + 1 == self.stop_at:
            signal.raise_signal(signal.SIGTERM)
        a, b = (self.layer(batch["pairs"][:, i].mean((-2, -1))) for i in (0, 1))
        loss = (a - b + 0.1 * torch.randn_like(a)).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), 0.1)
        # This makes Lightning open the loader before it restores the progress.
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 - 0.5 * n / steps)
        return [optimizer], [{"scheduler": schedule, "interval": self.interval}]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    quiet()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def cache():
    return Path(tempfile.mkdtemp())


def data():
    faces = RenderedFaces(PAIRS * MOST, PAIRS * MOST, "all", size=16)
    return FaceData(
        sets=[faces], batch_size=PAIRS, size=16, positives="picture", leave_out_tests=False,
        cache=cache(),
    )  # fmt: skip


def train(
    out,
    end,
    every=99,
    batches=MOST,
    accumulate=1,
    interval="step",
    kill=None,
    stop=None,
    resume_from="last.ckpt",
    more=(),
):
    """Train until `end`, from the last checkpoint in `out` if any, as `fit` does."""
    signals = StopSignals()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=end[1] if end[0] == "max_steps" else -1,
        max_epochs=end[1] if end[0] == "max_epochs" else -1,
        limit_train_batches=batches,
        accumulate_grad_batches=accumulate,
        callbacks=[signals, LastCheckpoint(out / "last.ckpt", every, signals), *more],
        logger=CSVRows(out, name="csv"),
        default_root_dir=out,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Tiny(interval, stop)
    module.on_train_batch_end = kill_at(kill).__get__(module)
    path = out / resume_from
    trainer.fit(
        module, datamodule=data(), ckpt_path=str(path) if path.exists() else None, weights_only=True
    )


def step_of(out):
    path = out / "last.ckpt"
    return int(load_checkpoint(path)["global_step"]) if path.exists() else 0


@functools.cache
def uninterrupted(*settings):
    end, batches, accumulate, interval = settings
    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder), end, batches=batches, accumulate=accumulate, interval=interval)
        return load_checkpoint(Path(folder) / "last.ckpt"), read_logged(Path(folder))


ENDS = st.one_of(
    st.tuples(st.just("max_steps"), st.integers(1, 16)),
    st.tuples(st.just("max_epochs"), st.integers(1, 5)),
)


@settings(max_examples=12, derandomize=True)
@given(
    batches=st.integers(1, MOST),
    end=ENDS,
    every=st.integers(1, 10),
    accumulate=st.sampled_from([1, 1, 2, 3]),
    interval=st.sampled_from(["step", "epoch"]),
    kills=KILLS,
    signalled=st.booleans(),
)
# Checkpoints at the ends of epochs, where the second resume once failed.
@example(3, ("max_epochs", 5), 3, 1, "step", [4, 4], False)
@example(3, ("max_steps", 14), 6, 1, "epoch", [6, 6], False)
@example(1, ("max_epochs", 5), 1, 1, "step", [1, 1, 1], True)
@example(2, ("max_steps", 8), 2, 1, "step", [2, 2], True)
def test_killed_or_stopped_runs_equal_an_uninterrupted_one(
    batches, end, every, accumulate, interval, kills, signalled
):
    expected, logged = uninterrupted(end, batches, accumulate, interval)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)

        def run(at):
            how = {"stop" if signalled else "kill": at}
            train(out, end, every, batches, accumulate, interval, **how)

        until_finished(kills, lambda: step_of(out), run)
        assert_same(load_checkpoint(out / "last.ckpt"), expected)
        assert read_logged(out) == logged


@pytest.mark.parametrize("end", [("max_steps", 12), ("max_epochs", 4)])
def test_lightnings_own_checkpoint_of_an_epochs_end(end, tmp_path):
    expected, logged = uninterrupted(end, 3, 1, "step")

    def run(kill):
        own = ModelCheckpoint(tmp_path, "epoch", save_on_train_epoch_end=True)
        train(tmp_path, end, batches=3, kill=kill, resume_from="epoch.ckpt", more=(own,))

    until_finished([5, 8], lambda: 0, run)
    result = load_checkpoint(tmp_path / "last.ckpt")
    assert_same({**result, "callbacks": 0}, {**expected, "callbacks": 0})
    assert read_logged(tmp_path) == logged
