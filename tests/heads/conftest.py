"""What tests of heads share."""

from __future__ import annotations

import numpy as np
import pytest

from linear_probe.heads.goals import Categories
from linear_probe.heads.thin import THIN, ExogenousNetwork
from tests.support.threads import one_thread

one_thread = pytest.fixture(autouse=True)(one_thread)

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
