"""Figures of a head's own measures of each test image, such as how well it is restored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from linear_probe.heads.fit import in_batches
from linear_probe.heads.head import Head
from linear_probe.stats.intervals import row_weights
from linear_probe.tasks.task import DRAWS_SEED, Figure, sample_of

PROBE = "against the true pictures"


def measure_figures(
    head: Head,
    images: Tensor,
    keys: Sequence[str],
    replicates: int,
    bfloat16: bool = False,
) -> list[Figure]:
    """The mean of each of the head's `measures`, with intervals by bootstrap over pictures.

    Args:
        images: uint8 [N, 3, R, R], of the test.
        keys: of the pictures, N.
        replicates: of the bootstrap, whose draws are those of seed 0.
        bfloat16: see `head_outputs`.
    """

    if type(head).measures is Head.measures:
        return []
    parts = in_batches(head, images, head.measures, bfloat16)
    weights = row_weights(len(images), replicates, DRAWS_SEED)
    sample = sample_of(keys, replicates, DRAWS_SEED)
    figures = []
    for name, (_, unit, higher_is_better) in parts[0].items():
        values = torch.cat([part[name].values for part in parts]).double().cpu().numpy()
        drawn = weights.astype(np.float64) @ values / len(values)
        figures.append(
            Figure(
                *(name, float(values.mean()), unit, higher_is_better, len(values), sample),
                drawn,
                note=f"{len(values):,} pictures",
                probe=PROBE,
            )
        )
    return figures
