"""NaN and infinity are refused: in weights that are loaded, and in features that are computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError


def non_finite_rows(values: Tensor) -> np.ndarray:
    """Rows of float [N, D] that hold NaN or infinity, int64 [K]; in chunks, to spare memory."""
    parts = [~part.isfinite().all(dim=1) for part in values.split(8192)]
    return torch.cat(parts).nonzero()[:, 0].cpu().numpy()


def check_weights(what: object, state: Mapping[str, Any], mend: str) -> None:
    """Refuse weights that hold NaN or infinity.

    Args:
        what: where they come from, such as a file.
        state: tensors by name; values that are no tensors are passed over.
        mend: what to do about it.

    Raises:
        InputError: names `what`, the first such tensor and how many there are.
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
