"""Checkpoints are written whole or not at all, and changed bytes are detected."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from linear_probe.heads import fit
from ssl_faces.callbacks.last_checkpoint import LastCheckpoint
from ssl_faces.common.checkpoints import load_checkpoint, read_checkpoint, save_checkpoint
from ssl_faces.common.errors import InputError
from tests.support.pickles import Touch
from tests.support.refusals import message_of

CONTENT = {"state_dict": {"weight": torch.arange(300.0)}, "global_step": 3}


def test_what_is_saved_is_loaded_by_torch_too(tmp_path):
    path = tmp_path / "new" / "last.ckpt"
    save_checkpoint(path, CONTENT)
    assert list(path.parent.iterdir()) == [path]
    torch.save(CONTENT, tmp_path / "old.ckpt")  # without a digest
    loaded = [load_checkpoint(path), torch.load(path, weights_only=True)]
    for content in (*loaded, load_checkpoint(tmp_path / "old.ckpt")):
        assert torch.equal(content["state_dict"]["weight"], torch.arange(300.0))
        assert content["global_step"] == 3


def test_no_code_is_run(tmp_path):
    save_checkpoint(tmp_path / "c", {"state_dict": Touch(tmp_path / "ran")})
    assert "can't be used" in message_of(read_checkpoint, tmp_path / "c")
    assert not (tmp_path / "ran").exists()


def test_any_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, CONTENT)
    whole = path.read_bytes()
    for at in (*range(0, len(whole), 97), len(whole) - 150, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(ValueError, match="its bytes have changed since it was saved"):
            load_checkpoint(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RuntimeError):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("read", "start"),
    [
        (read_checkpoint, "checkpoint PATH: can't be used (its bytes have changed"),
        (fit.read_checkpoint, "PATH: can't be read (its bytes have changed"),
    ],
    ids=["of a run", "of a head"],
)
def test_a_damaged_checkpoint_is_refused_in_a_sentence(read, start, tmp_path):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, CONTENT)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert message_of(read, path).startswith(start.replace("PATH", str(path)))


# Lightning's ------------------------------------------------------------------------------------


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The temporary folder is on another file system than the run."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    rename = os.replace

    def across(source, target, **more):
        sides = {Path(x).resolve().parent == tmp_path / "temporary" for x in (source, target)}
        if len(sides) > 1:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target, **more)

    monkeypatch.setattr(os, "rename", across)
    monkeypatch.setattr(os, "replace", across)


def train(run, steps, *more, resume=False):
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[LastCheckpoint(run / "last.ckpt", 1), *more],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = DataLoader(torch.ones(6, 1), batch_size=1)
    trainer.fit(Line(), batches, ckpt_path=str(run / "last.ckpt") if resume else None)


@pytest.mark.parametrize("name", ["last.ckpt", "own.ckpt"])
def test_a_disk_that_is_full_half_way_leaves_the_checkpoint_before(
    name, elsewhere, tmp_path, monkeypatch
):
    """Also one that Lightning's own callback saves."""
    run = tmp_path / "run"
    own = ModelCheckpoint(run, "own", every_n_train_steps=1, enable_version_counter=False)
    train(run, 2, own)
    before = (run / name).read_bytes()
    sync = os.fsync

    def full(handle):
        if f"/.{name}." in os.readlink(f"/proc/self/fd/{handle}"):
            os.truncate(handle, os.fstat(handle).st_size // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=f"{name}: the disk is full"):
        train(run, 4, own, resume=True)
    monkeypatch.setattr(os, "fsync", sync)
    assert (run / name).read_bytes() == before
    assert sorted(x.name for x in run.iterdir()) == ["last.ckpt", "own.ckpt"]
    assert list((tmp_path / "temporary").iterdir()) == []
    train(run, 4, resume=True)
    assert load_checkpoint(run / "last.ckpt")["global_step"] == 4


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".last.ckpt.abcdefgh").write_bytes(b"half")
    (tmp_path / ".other").write_bytes(b"")
    train(tmp_path, 1)
    assert sorted(x.name for x in tmp_path.iterdir()) == [".other", "last.ckpt"]
