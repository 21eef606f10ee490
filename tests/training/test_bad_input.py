"""Bad input of `ssl-faces fit`: one sentence that names it and the mend, exit code 2, no debris."""

import resource
import signal

import pytest
import torch

from ssl_faces.cli import main
from tests.support.fits import completed, refused, settings


def test_folders_that_hold_no_faces(faces, tmp_path, capsys):
    out, empty, broken = tmp_path / "run", tmp_path / "empty", tmp_path / "broken"
    empty.mkdir()
    broken.mkdir()
    (broken / "a.png").write_bytes(b"no picture")
    arguments = settings("motion", faces, out)
    for folder, message in (
        (tmp_path / "none", "does not exist; check the path"),
        (empty, "holds no pictures"),
        (broken, "none of its 1 pictures can be decoded"),
    ):
        text = refused(capsys, *arguments, "--data.root", str(folder))
        assert message in text
        assert folder.name in text
    assert not list(out.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--model.init_args.colour", "red"), "colour"),
        (("--data.batch_size", "64"), "lower data.batch_size"),
        (("--data.size", "48"), "set --data.size 32"),
        (("--model.init_args.map_size", "16"), "model.map_size: 16 is below model.input_size, 32"),
        (("--model", "ssl_faces.methods.none.Nothing"), "Nothing"),
        # Opens a browser when it is imported.
        (("--model", "antigravity.geohash"), "Importing 'antigravity.geohash' is not allowed"),
        (("--model.init_args.rate_factors", "{'head': 1.0}"), "'head' has no parameters to train"),
    ],
)
def test_invalid_settings(more, message, faces, tmp_path, capsys):
    out = tmp_path / "run"
    assert message in refused(capsys, *settings("motion", faces, out, *more))
    assert not (out / "encoder").exists()
    assert not (out / "checkpoints").exists()


def test_an_address_with_a_password(faces, tmp_path, capsys):
    """It would stand in config.yaml and run.json, and go to W&B."""
    out = tmp_path / "run"
    packs = ("--data.packs", "ftp://me:s3cret@host/PACK")
    message = refused(capsys, *settings("motion", faces, out, *packs))
    assert "data.packs: ftp://me:***@host/PACK: the address has a password" in message
    assert "s3cret" not in message
    assert not out.exists()


@pytest.mark.parametrize("kind", ["missing", "bytes", "truncated", "another method"])
def test_unusable_checkpoints(kind, faces, motion_run, tmp_path, capsys):
    good = motion_run / "checkpoints/last.ckpt"
    checkpoint = tmp_path / "wrong.ckpt"
    if kind == "bytes":
        checkpoint.write_bytes(b"\x00" * 100)
    elif kind == "truncated":
        checkpoint.write_bytes(good.read_bytes()[:5000])
    elif kind == "another method":
        torch.save({"state_dict": {}, "method": "simclr"}, checkpoint)
    message = "is of simclr, not of facecycle_motion" if kind == "another method" else "checkpoint"
    stage2 = ("--model.init_args.motion_checkpoint", str(checkpoint))
    text = refused(capsys, *settings("identity", faces, tmp_path / "two", *stage2))
    assert message in text
    assert str(checkpoint) in text
    resume = ("--ckpt_path", str(checkpoint))
    text = refused(capsys, *settings("motion", faces, tmp_path / "one", *resume))
    assert message in text
    assert str(checkpoint) in text


def with_small_files(arguments):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    return main(arguments)


def test_a_full_disk(faces, tmp_path):
    """A limit on the size of files stands in for it: the checkpoint doesn't fit."""
    out = tmp_path / "run"
    words = settings("motion", faces, out, "--trainer.max_steps", "2", "--checkpoint_every", "1")
    done = completed(tmp_path / "printed", *words, command=with_small_files)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("ssl-faces: error:")]
    assert "the disk is full" in line
    left = [p.name for p in out.rglob("*") if p.is_file() and p.stat().st_size >= 1_000_000]
    assert left == []
