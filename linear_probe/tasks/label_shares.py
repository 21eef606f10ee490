"""Label efficiency: a task's figures with a share of its training labels.

The pictures without a label are left out altogether; L2 is chosen on a part of the share.
"""

from __future__ import annotations

import numpy as np
import torch

from linear_probe.features.frozen import Features
from linear_probe.tasks.task import Task


def share_of_labels(task: Task, features: Features, percent: float) -> Features | None:
    """Features with `percent` (above 0, at most 100) of the training rows and all others; None for
    tasks without labels.

    Of each stratum (`Task.strata`) that share is drawn by the task's seed, at least one row. Of two
    shares the smaller is part of the larger.
    """
    strata = task.strata()
    if strata is None:
        return None
    learnt = np.isin(features.records, task.indices)
    stratum = np.where(learnt, strata[features.records], -1)
    kept = stratum < 0
    for number in np.unique(stratum[~kept]):
        rows = np.flatnonzero(stratum == number)
        # A stream of its own: a class's draw does not hang on how many others there are.
        order = np.random.default_rng((task.seed, int(number))).permutation(rows)
        kept[order[: max(1, round(percent / 100 * len(rows)))]] = True
    return Features(features.values[torch.from_numpy(kept)], features.records[kept])
