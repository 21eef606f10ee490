"""Arguments that several benches share."""

from __future__ import annotations

import argparse
from typing import Any

from ssl_faces.common.arguments import SIDE, whole
from ssl_faces.common.errors import InputError


def add_rounds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rounds", type=whole(1), default=5, help="measured calls of each candidate (5)"
    )


def add_step(parser: argparse.ArgumentParser, pairs: int) -> None:
    """Arguments of a training step of FaceCycle's stage 1."""
    parser.add_argument("--size", choices=("paper", "small"), default="paper", help="of stage 1")
    parser.add_argument("--input-size", type=SIDE, default=64, help="side of the images (64)")
    parser.add_argument("--pairs", type=whole(1), default=pairs, help=f"per device ({pairs})")


def add_compute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=whole(1, 1024), help="CPU threads (all cores)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def use_compute(arguments: argparse.Namespace) -> str:
    """Set the number of threads; returns the device, `cpu` or `cuda`.

    Raises:
        InputError: `--device cuda` without a GPU.
    """
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU; leave it out")
    if arguments.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(arguments.device)


def stage1(size: str, input_size: int, **settings: Any) -> Any:
    """FaceCycle's stage 1 with random weights from seed 0."""
    import torch

    from ssl_faces.methods.facecycle_motion import FaceCycleMotion

    torch.manual_seed(0)
    return FaceCycleMotion(size, input_size, trunk_weights="random", **settings)  # type: ignore[arg-type]
