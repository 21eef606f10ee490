"""Factors of rendered faces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_faces.rendered import Nuisances, sample_factors
from tests.support import threads

CALM = {"shift_x": 0.0, "shift_y": 0.0, "noise": 0.0, "gaze": 0.0}
FRONTAL = {**CALM, "yaw": 0.0, "pitch": 0.0, "roll": 0.0}

one_thread = pytest.fixture(autouse=True, scope="module")(threads.one_thread)


def drawn(
    count: int,
    each: int = 1,
    nuisances: Nuisances = "mild",
    expression: np.ndarray | None = None,
    **fixed: float,
) -> dict[str, Tensor]:
    """Factors of `count` people with `each` expressions, some of them fixed."""
    person, picture = np.divmod(np.arange(count * each), each)
    shown = picture % 7 if expression is None else expression
    factors = sample_factors(3, person, picture, shown, nuisances).factors
    return factors | plain(count * each, **fixed)


def plain(count: int = 1, **values: float) -> dict[str, Tensor]:
    """The same values for `count` faces."""
    return {name: torch.full((count,), value) for name, value in values.items()}
