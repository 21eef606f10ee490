"""Training runs of a few seconds, and what they leave in their folders."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ssl_faces.cli import main
from ssl_faces.common.checkpoints import read_checkpoint
from ssl_faces.encoders.encoder import FaceEncoder, load_encoder
from ssl_faces.networks.backbone import EncoderSettings
from ssl_faces.rendered import RenderedFaces
from tests.support.processes import begin
from tests.support.refusals import error_of

ROOT = Path(__file__).parents[2]
SIZE = 32
SMALL = EncoderSettings("resnet18", SIZE, 0.125)
BATCHES = 12
"""An epoch of the `faces` fixture."""


def _on_the_cpu(steps: int) -> list[str]:
    return [
        *("--trainer.accelerator", "cpu", "--trainer.devices", "1"),
        *("--trainer.precision", "32-true", "--trainer.max_steps", str(steps)),
        *("--trainer.enable_model_summary", "false", "--panels_every", "0"),
    ]


def settings(stage: str, faces: Path, out: Path, *more: str) -> list[str]:
    """Arguments of a FaceCycle run in float32: 32 px, two pairs a step, 20 steps."""
    size = [] if "identity" in stage else ["--model.init_args.input_size", "32"]
    return [
        *("fit", "-c", str(ROOT / f"configs/method/facecycle_{stage}_small.yaml")),
        *("--data.root", str(faces), "--data.batch_size", "2", "--data.size", "32"),
        *("--data.cache", str(faces.parent / "packed"), *_on_the_cpu(20)),
        *(*size, "--out", str(out), *more),
    ]


def twins(faces: Path, out: Path, *more: str) -> list[str]:
    """Arguments of a run of `Twins` with a checkpoint every two steps."""
    usual = settings("motion", faces, out)
    usual = usual[3 : usual.index("--model.init_args.input_size")]
    model = ("--model", "tests.support.twins.Twins", "--checkpoint_every", "2")
    return ["fit", *usual, "--out", str(out), *model, *more]


def method_run(
    method: str, encoder: str, cache: Path, out: Path, *more: str, people: int = 8
) -> list[str]:
    """Arguments of two steps of eight pairs of rendered faces, by the method's config."""
    faces = cache / f"faces_of_{people}.yaml"
    faces.write_text(
        "data:\n  sets:\n    - class_path: ssl_faces.rendered.RenderedFaces\n"
        f"      init_args: {{count: 40, people: {people}, size: {SIZE}}}\n"
    )
    narrow = encoder in ("facecycle", "resnet18")
    return [
        *("fit", "-c", str(ROOT / f"configs/method/{method}.yaml"), "-c", str(faces)),
        *("--data.size", str(SIZE), "--data.batch_size", "8", "--data.cache", str(cache)),
        *("--model.init_args.encoder.name", encoder),
        *("--model.init_args.encoder.input_size", str(SIZE), *_on_the_cpu(2)),
        *(("--model.init_args.encoder.width", "0.0625") if narrow else ()),
        *("--trainer.log_every_n_steps", "1", "--trainer.enable_progress_bar", "false"),
        *("--out", str(out), *more),
    ]


def trained(name: str, folder: Path, *more: str) -> tuple[FaceEncoder, Path]:
    """The encoder of a run of `configs/method/NAME.yaml`, and its last panel."""
    assert run(*method_run(name, "resnet18", folder, folder / "run", *more)) == 0
    # Everything in a checkpoint is plain: it is read without running code.
    saved = read_checkpoint(folder / "run/checkpoints/last.ckpt")
    assert saved["method"] == name
    assert saved["hyper_parameters"]["encoder"]["input_size"] == SIZE
    return load_encoder(folder / "run"), max((folder / "run/panels").glob("*.png"))


def environment() -> dict[str, str]:
    # This process's W&B service would take a killed run for a running one.
    inherited = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"}
    return {**inherited, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(*arguments: str) -> int:
    """The exit code of `ssl-faces`, run in this process."""
    # As many threads as `start` uses: sums in another order differ in their last digits.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return main(list(arguments))
    finally:
        torch.set_num_threads(threads)


def fit(*arguments: str) -> None:
    """Run `ssl-faces` in this process; it must succeed."""
    assert run(*arguments) == 0


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one-line error of `ssl-faces` with bad input."""
    return error_of(run, capsys, *arguments)


def _as_main(
    command: Callable[[list[str]], int],
    arguments: Sequence[str],
    variables: dict[str, str],
    printed: Path,
) -> None:
    os.setsid()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(variables)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(printed / name, os.O_WRONLY), number)
    torch.set_num_threads(1)
    # Data loaders are its own children, as those of a command.
    multiprocessing.set_start_method("fork", force=True)
    # By these Lightning starts the other processes of a run.
    sys.modules["__main__"].__spec__ = find_spec(command.__module__)
    sys.argv = [command.__module__, *arguments]
    try:
        raise SystemExit(command(list(arguments)))
    finally:
        atexit._run_exitfuncs()


def start(
    printed: Path, *arguments: str, command: Callable[[list[str]], int] = main, **variables: str
) -> BaseProcess:
    """Start `ssl-faces` or another command in a process and a session of its own, with more
    environment variables. It prints to the files `out` and `err` of the folder `printed`."""
    printed.mkdir(exist_ok=True)
    for name in ("out", "err"):
        (printed / name).touch()
    return begin(_as_main, command, arguments, environment() | variables, printed)


def completed(printed: Path, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as `start` does, to its end."""
    process = start(printed, *arguments, **more)
    process.join(1200)
    assert process.exitcode is not None, "it has not ended"
    out, err = ((printed / name).read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess(arguments, process.exitcode, out, err)


def checkpoint(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(out / "checkpoints/last.ckpt", weights_only=True)
    return loaded


def step_of(out: Path) -> int:
    return int(checkpoint(out)["global_step"])


def weights(out: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = checkpoint(out)["state_dict"]
    return state


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor], atol: float = 1e-6) -> None:
    """The same names, and the same values within `atol`."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=atol, msg=name)


def assert_same_weights(one: Path, other: Path, atol: float = 1e-6) -> None:
    """The last checkpoints and the encoders of two runs have the same weights."""
    assert_close(weights(one), weights(other), atol)
    encoder = "encoder/encoder.safetensors"
    assert_close(load_file(one / encoder), load_file(other / encoder), atol)


def rendered_faces(count: int, size: int = SIZE) -> Tensor:
    """Faces [count, 3, size, size] in [0, 1] of as many people."""
    faces = RenderedFaces(8 * count, count, "all", size=size)
    return faces.render_batch(range(0, 8 * count, 8)).float() / 255


def mirrored_pairs(count: int = 8, size: int = SIZE) -> Tensor:
    """Faces and their mirror images [count, 2, 3, size, size] in [0, 1]."""
    faces = rendered_faces(count, size)
    return torch.stack((faces, faces.flip(-1)), 1)


def random_pairs(count: int, seed: int = 0) -> Tensor:
    """Random pairs [count, 2, 3, 32, 32] in [0, 1]."""
    return torch.rand(count, 2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def check_panels(panels: dict[str, Tensor], images: int) -> None:
    """As many non-empty images in [0, 1] or flows of each kind."""
    for name, values in panels.items():
        assert values.shape[0] == images, name
        assert values.isfinite().all(), name
        if "flow" in name:
            assert values.shape[1] == 2, name
        else:
            assert values.shape[1:] == (3, SIZE, SIZE), name
            assert 0 <= values.min() <= values.max() <= 1, name
            assert values.std() > 0.001, name
