"""Out of memory gives one sentence that says what to lower; no file is half-written."""

import numpy as np
import pytest
import torch
from PIL import Image

from linear_probe.cli import main as probe
from ssl_faces.cli import main
from ssl_faces.common.errors import InputError, bad_input, out_of_memory
from ssl_faces.encoders.encoder import save_encoder
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from tests.support.fits import settings, step_of


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
