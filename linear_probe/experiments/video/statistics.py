"""One vector for a sequence of frames: the statistics of the frames' features.

Source: Savchenko, "Facial expression and attributes recognition based on multi-task learning of
lightweight neural networks", SISY 2021: mean, standard deviation, minimum and maximum, concatenated
and L2-normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces import InputError

Statistic = Literal["mean", "std", "min", "max"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)

_OF_FRAMES: dict[Statistic, Callable[[Tensor], Tensor]] = {
    "mean": partial(torch.mean, dim=0),
    # Of all frames that there are, as numpy's: a single frame has 0.
    "std": partial(torch.std, dim=0, correction=0),
    "min": partial(torch.amin, dim=0),
    "max": partial(torch.amax, dim=0),
}


def sequence_statistics(
    features: Tensor, sequences: Sequence[np.ndarray], statistics: Sequence[Statistic] = STATISTICS
) -> Tensor:
    """The statistics of each sequence, one after another, as a vector of length 1: float [N, D *
    len(statistics)].

    The whole vector is L2-normalised, not each statistic, as in the author's code: what one
    statistic is beside another stays. Where all is 0 it stays 0.

    Args:
        features: float [frames, D].
        sequences: N times int [F], the rows of a sequence's frames, in any order.

    Raises:
        InputError: no or an unknown statistic, or a sequence without a frame.
    """
    wanted = known_statistics(statistics)
    vectors = []
    for number, rows in enumerate(sequences):
        if not len(rows):
            raise InputError(f"sequence {number} (from 0): a video with no face; leave it out")
        frames = features[torch.from_numpy(rows)]
        vectors.append(torch.cat([_OF_FRAMES[name](frames) for name in wanted]))
    if not vectors:
        return features.new_zeros(0, features.shape[1] * len(wanted))
    return F.normalize(torch.stack(vectors), dim=1)


def known_statistics(names: Sequence[str]) -> tuple[Statistic, ...]:
    """The names, checked; InputError if there is none, an unknown one, or one twice."""
    there = ", ".join(STATISTICS)
    if not names:
        raise InputError(f"statistics: none named; give some of {there}")
    for place, name in enumerate(names):
        if name not in STATISTICS:
            raise InputError(f"statistics: '{name}' is unknown; there are {there}")
        if name in names[:place]:
            raise InputError(f"statistics: '{name}' is named twice; take one out")
    return cast(tuple[Statistic, ...], tuple(names))
