"""Further figures of a head: its measures of test images, and the readout of another label."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linear_probe.features.frozen import Features, Pictures
from linear_probe.heads.fit import in_batches
from linear_probe.heads.head import Head
from linear_probe.records.measured import Figure
from linear_probe.tasks.exogenous import Exogenous
from linear_probe.tasks.labelled import LabelTask
from linear_probe.tasks.sample import Sample

PROBE = "against the true pictures"
READOUT = "exogenous readout"


def measure_figures(
    head: Head, images: Tensor, keys: Sequence[str], replicates: int, bfloat16: bool = False
) -> list[Figure]:
    """The mean of each of the head's `measures` of test images uint8 [N, 3, R, R], with intervals
    by bootstrap over images; `bfloat16` as in `head_outputs`."""
    if type(head).measures is Head.measures:
        return []
    parts = in_batches(head, images, head.measures, bfloat16)
    sample = Sample(keys, replicates)
    more: dict[str, Any] = {"factor": 1, "note": f"{len(images):,} pictures", "probe": PROBE}
    figures = []
    for name, (_, unit, higher_is_better) in parts[0].items():
        values = torch.cat([part[name].values for part in parts]).double().cpu().numpy()
        figures.append(sample.mean(name, values, unit, higher_is_better, **more))
    return figures


def has_readout(task: LabelTask) -> bool:
    """Whether its pictures have the label `exogenous`, beside what the task is about."""
    return Exogenous.serves(task.faces) and not isinstance(task, Exogenous) and task.folds is None


def exogenous_readout(task: LabelTask, records: np.ndarray, representation: Tensor) -> Figure:
    """Accuracy of a linear probe of the label `exogenous`, fitted on the training images, on the
    test images: the lower the better.

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
