"""Checks for NaN and infinity in weights and features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError


def non_finite_rows(values: Tensor) -> np.ndarray:
    """Indices int64 [K] of rows of float [N, D] with NaN or infinity; computed in chunks."""
    parts = [~part.isfinite().all(dim=1) for part in values.split(8192)]
    return torch.cat(parts).nonzero()[:, 0].cpu().numpy()


def check_weights(what: object, state: Mapping[str, Any], mend: str) -> None:
    """Refuse weights that hold NaN or infinity. Raises InputError: names `what`, the first such
    tensor and their number.

    Args:
        what: source of the weights, such as a file.
        state: tensors by name; other values are ignored.
        mend: advice for the message.
    """
    bad = [
        name
        for name, value in state.items()
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and not bool(value.isfinite().all())
    ]
    if bad:
        raise InputError(
            f"{what}: {len(bad):,} of its {len(state):,} tensors hold NaN or infinity, such as "
            f"'{bad[0]}'; {mend}"
        )
