"""Factors of rendered faces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_faces.rendered import Nuisances, sample_factors


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
