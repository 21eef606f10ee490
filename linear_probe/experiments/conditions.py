"""Figures under a condition: with fewer labels, or on degraded images; and constant features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linear_probe.experiments.jobs import Plan
from linear_probe.features.frozen import FeatureCache, Features, Pictures, Source
from linear_probe.records.measured import LABELS
from linear_probe.sources.changed_images import Change, ChangedFaces
from linear_probe.tasks import Figure
from linear_probe.tasks.task import Task
from ssl_faces import InputError


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
        # Its own stream: a class's draw does not depend on how many others there are.
        order = np.random.default_rng((task.seed, int(number))).permutation(rows)
        kept[order[: max(1, round(percent / 100 * len(rows)))]] = True
    return Features(features.values[torch.from_numpy(kept)], features.records[kept])


Scored = tuple[dict[str, Any], list[Figure]]
"""A condition, as in `Record`, and the figures under it."""


def constant_note(features: Tensor) -> str:
    """The note of features [N, D] that are the same for all images; else empty."""
    # Usually the first rows differ.
    for rows in (features[:64], features):
        mean = rows.mean(dim=0)
        # Rounding differences of a constant are no signal.
        if ((rows - mean).abs() > 1e-6 * mean.abs().clamp(min=1e-6)).any():
            return ""
    return "features are constant, so the score is the probe's bias"


def scores_by_share(
    task: Task,
    features: Features,
    pictures: Pictures,
    shares: Sequence[float],
    whole: list[Figure],
    say: Callable[[str], None],
) -> Iterator[Scored]:
    """Figures with each share (percent) of the training labels.

    Args:
        whole: the figures with all of them.
        say: reports shares that are too small to choose the L2 on a part of them.
    """
    for percent in sorted(set(shares)):
        condition = {"factor": LABELS, "level": float(percent), "unit": "%"}
        fewer = share_of_labels(task, features, percent)
        if fewer is None:
            return
        if percent == 100:
            yield condition, whole
            continue
        try:
            yield condition, task.score(fewer, pictures)
        except InputError as error:
            say(f"{task.name}: {percent:g} % of the labels are left out: {error}")


class ChangedFeatures:
    """Features of changed images: degraded test images, and other views of a task.

    Args:
        cache: of the features.
        pictures: the tasks' unchanged images, by id of the face set.
    """

    def __init__(self, cache: FeatureCache, pictures: dict[int, Pictures]) -> None:
        self.cache = cache
        self.pictures = pictures
        self._changed: dict[tuple[int, str, bytes], Pictures] = {}

    def fill(self, plan: Plan, changes: Sequence[Change]) -> None:
        """Compute the features that `read` and `scores` need."""
        for task in plan.all_tasks():
            sources = plan.sources([task])
            wanted = [(view, task.indices) for view in task.views()]
            tested = task.tested()
            if tested is not None:
                wanted += [(change, tested) for change in changes]
            for change, records in wanted:
                self.cache.fill(sources, self._pictures(task, change, records))

    def read(self, task: Task, source: Source, space: str, view: Change) -> Features:
        """Features of a view of the task's images."""
        return self.cache.read(source, self._pictures(task, view, task.indices), space)

    def scores(
        self,
        task: Task,
        source: Source,
        space: str,
        features: Features,
        pictures: Pictures,
        changes: Sequence[Change],
    ) -> Iterator[Scored]:
        """The task's main figures on its test images under each change; none if it has none."""
        tested = task.tested()
        if tested is None or not changes:
            return
        degraded = (
            self.cache.read(source, self._pictures(task, change, tested), space)
            for change in changes
        )
        for change, figures in zip(
            changes, task.score_degraded(features, pictures, degraded), strict=True
        ):
            yield (
                {"factor": change.factor, "level": float(change.level), "unit": change.unit},
                figures,
            )

    def _pictures(self, task: Task, change: Change, records: np.ndarray) -> Pictures:
        known = self.pictures[id(task.faces)]
        key = (id(task.faces), change.name(task.seed), records.tobytes())
        if key not in self._changed:
            hashes = dict(zip(known.indices.tolist(), known.hashes, strict=True))
            faces = ChangedFaces(task.faces, change, task.seed, hashes)
            self._changed[key] = Pictures(faces, records, changed=True)
        return self._changed[key]
