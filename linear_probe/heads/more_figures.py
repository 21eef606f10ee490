"""Further figures of a head: its measures of test images, and the readout of another label."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from linear_probe.features.frozen import Features, Pictures
from linear_probe.heads.fit import in_batches
from linear_probe.heads.head import Head
from linear_probe.stats.intervals import row_weights
from linear_probe.tasks.exogenous import Exogenous
from linear_probe.tasks.labelled import LabelTask
from linear_probe.tasks.task import DRAWS_SEED, Figure, sample_of

PROBE = "against the true pictures"
READOUT = "exogenous readout"


def measure_figures(
    head: Head, images: Tensor, keys: Sequence[str], replicates: int, bfloat16: bool = False
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


def has_readout(task: LabelTask) -> bool:
    """Whether its pictures have the label `exogenous`, beside what the task is about."""
    return Exogenous.serves(task.faces) and not isinstance(task, Exogenous) and task.folds is None


def exogenous_readout(task: LabelTask, records: np.ndarray, representation: Tensor) -> Figure:
    """Accuracy of a linear probe of the label `exogenous`, fitted on the training pictures, on the
    test pictures: the lower the better.

    Args:
        task: one that `has_readout`.
        records: int64 [N], of the task's face set.
        representation: float32 [N, D], what a head makes of them.
    """
    probe = Exogenous([task.faces], task.seed, task.replicates, task.device, task.max_train)
    pictures = Pictures(task.faces, task.indices)
    figures = probe.score(Features(representation, records), pictures)
    accuracy = next(figure for figure in figures if figure.metric == "accuracy")
    note = f"by logistic regression on the representation; {accuracy.note}"
    return dataclasses.replace(
        accuracy, metric=READOUT, higher_is_better=False, note=note, predictions=None
    )
