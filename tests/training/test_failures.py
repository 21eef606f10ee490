"""Runs that fail: bad input, no memory, a loss that is not finite; one sentence, no debris."""

import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linear_probe.cli import main as probe
from ssl_faces.callbacks.finite_loss import FiniteLoss
from ssl_faces.cli import main
from ssl_faces.common.errors import InputError, bad_input, out_of_memory
from ssl_faces.encoders.encoder import save_encoder
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from tests.support.fits import (
    assert_close,
    completed,
    fit,
    refused,
    settings,
    step_of,
    twins,
    weights,
)


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


def on_the_cpu():
    torch.empty(1 << 48)  # a petabyte: the allocator's own error
    raise AssertionError


def in_numpy():
    np.empty(1 << 50)
    raise AssertionError


def on_a_gpu():
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB"
    )


def in_cublas():
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def in_another_process():
    raise torch.multiprocessing.ProcessRaisedException(
        "-- Process 1 terminated with the following error:\nTraceback …\n"
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.",
        1,
        1,
    )


@pytest.mark.parametrize(
    ("run_out", "message"),
    [
        (on_the_cpu, "out of memory on the CPU (1125899906842624 bytes wanted)"),
        (in_numpy, "out of memory on the CPU"),
        (on_a_gpu, "out of memory on the GPU (2.00 GiB wanted)"),
        (in_cublas, "out of memory on the GPU"),
        (in_another_process, "out of memory on the GPU (20.00 MiB wanted)"),
    ],
)
def test_what_ran_out_of_memory(run_out, message):
    with pytest.raises(Exception, match=r"(?i)alloc") as caught:
        run_out()
    assert out_of_memory(caught.value) == message
    caused = ValueError("while training")
    caused.__cause__ = caught.value
    assert out_of_memory(caused) == message


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), InputError("out of memory"), ValueError("CUDA")]
)
def test_what_did_not(error):
    assert out_of_memory(error) is None


@pytest.mark.parametrize("run_out", [on_the_cpu, on_a_gpu])
def test_a_run_out_of_memory(run_out, faces, tmp_path, monkeypatch, capsys):
    plain = FaceCycleMotion.training_step

    def step(self, batch, index):
        if index == 2:
            run_out()
        return plain(self, batch, index)

    monkeypatch.setattr(FaceCycleMotion, "training_step", step)
    # Whichever process of a node it is that has no memory left.
    monkeypatch.setenv("LOCAL_RANK", "1")
    out = tmp_path / "run"
    assert main(settings("motion", faces, out, "--checkpoint_every", "2")) == 2
    message = [x for x in capsys.readouterr().err.splitlines() if "ssl-faces: error:" in x]
    assert len(message) == 1
    assert "lower --data.batch_size" in message[0]
    assert step_of(out) == 2
    assert not (out / "encoder").exists()
    hidden = [path for path in out.rglob(".*") if path.is_file()]
    assert hidden == []


def test_bad_input_of_another_process():
    name = f"{InputError.__module__}.InputError"
    text = f"-- Process 0 …\nTraceback …\n{name}: data.size: 48; set it to 32"
    error = torch.multiprocessing.ProcessRaisedException(text, 0, 1)
    assert bad_input(error) == "data.size: 48; set it to 32"
    assert bad_input(RuntimeError(text)) is None


def test_probes_out_of_memory(tmp_path, monkeypatch, capsys):
    for part in ("train", "test"):
        for i in range(8):
            path = tmp_path / part / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            shade = np.full((32, 32), 20 * i + (part == "test"), dtype=np.uint8)
            Image.fromarray(shade).save(path)
    save_encoder(FaceCycleEncoder(4, code_dim=8, code_size=32), tmp_path / "encoder", {})
    monkeypatch.setattr(FaceCycleEncoder, "features", lambda *_: on_the_cpu())
    words = ["run", "--encoder", str(tmp_path / "encoder"), "--out", str(tmp_path / "probe")]
    own = ["--train", str(tmp_path / "train"), "--test", str(tmp_path / "test")]
    assert probe([*words, *own, "--no-baselines", "--device", "cpu"]) == 2
    assert "out of memory on the CPU" in (message := capsys.readouterr().err)
    assert "lower --batch-size" in message.splitlines()[-1]
    assert not list((tmp_path / "probe").rglob("*.safetensors"))


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
