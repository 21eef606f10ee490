"""What can be read of an exogenous variable from a head's representation."""

from __future__ import annotations

import dataclasses

import numpy as np
from torch import Tensor

from linear_probe.features.frozen import Features, Pictures
from linear_probe.tasks.exogenous import Exogenous
from linear_probe.tasks.labelled import LabelTask
from linear_probe.tasks.task import Figure

READOUT = "exogenous readout"


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
    accuracy = next(one for one in figures if one.metric == "accuracy")
    note = f"by logistic regression on the representation; {accuracy.note}"
    return dataclasses.replace(
        accuracy, metric=READOUT, higher_is_better=False, note=note, predictions=None
    )
