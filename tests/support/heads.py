"""Settings of small heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linear_probe.heads.goals import Categories
from linear_probe.heads.thin import THIN, ExogenousNetwork

ROOT = Path(__file__).parents[2]
SMALL = [
    *("head", "-c", str(ROOT / "configs/head/inception_fer.yaml"), "--data", "rendered"),
    *("--head.init_args.width", "0.0625", "--head.init_args.hidden", "[16, 8]"),
    *("--training.epochs", "3", "--bootstrap", "20", "--accelerator", "cpu", "--max_train", "300"),
    *("--precision", "32-true"),
]
SQUARE = np.array([[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0], [1, 1, 0]])
"""Five landmarks: the corners of a square and its middle."""
SMALL_THIN = {"picture_size": 16, "width": 0.0625, "augment": False}


def thin_on_digits(**settings: object) -> THIN:
    """THIN with networks of its own that took over an exogenous one."""
    import torch

    torch.manual_seed(0)
    head = THIN(Categories(10), **{**SMALL_THIN, "depth": 2, "hidden": 4, **settings})  # type: ignore[arg-type]
    head.take_over(ExogenousNetwork(Categories(6), **SMALL_THIN))  # type: ignore[arg-type]
    return head
