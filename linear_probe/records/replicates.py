"""Bootstrap replicates of every figure, stored beside the records; figures are compared by them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ssl_faces import InputError
from ssl_faces.common.files import regular, replace_file

REPLICATES_FILE = "replicates.safetensors"


def read_replicates(path: Path) -> dict[str, np.ndarray]:
    """Replicates [B] by `Record.name`; none if there is no file.

    Raises:
        InputError: the file can't be read.
    """
    if not path.exists():
        return {}
    try:
        return dict(load_file(regular(path)))
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: can't be read ({error}); delete it and run `linear-probe run` again"
        ) from error


def write_replicates(path: Path, replicates: Mapping[str, np.ndarray]) -> None:
    """Write replicates [B] by `Record.name`; `path` is never half-written."""
    tensors = {name: np.ascontiguousarray(v, dtype=np.float64) for name, v in replicates.items()}
    replace_file(path, save(tensors))


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of a figure's replicates [B]; NaN is left out (a draw may
    miss every row of a class)."""
    low, high = np.nanpercentile(replicates, (2.5, 97.5))
    return float(low), float(high)
