"""Figures under a condition: with fewer labels, or on degraded pictures; and of no use at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from linear_probe.experiments.jobs import rounds, spaces
from linear_probe.features.frozen import FeatureCache, Features, Pictures, Source
from linear_probe.sources.changed_images import Change, ChangedFaces
from linear_probe.tasks import Figure, Task
from linear_probe.tasks.label_shares import share_of_labels
from ssl_faces import InputError

Scored = tuple[dict[str, Any], list[Figure]]
"""A condition, as in `Record`, and the figures under it."""

LABELS = "labels"
"""The factor of `condition` where only a share of the training labels was used."""


def condition_in_words(condition: dict[str, Any]) -> str:
    return f"{condition['factor']} {condition['level']:g} {condition['unit']}".strip()


def condition_note(condition: dict[str, Any]) -> str:
    """What readers must know of figures under a condition."""
    if condition["factor"] == LABELS:
        return f"fitted with {condition['level']:g} % of the training labels, drawn by class"
    return f"test pictures degraded ({condition_in_words(condition)}), training pictures not"


def constant_note(features: Tensor) -> str:
    """What readers must know of features [N, D] that are the same for all pictures; else empty."""
    # The first few rows tell, as a rule.
    for rows in (features[:64], features):
        mean = rows.mean(dim=0)
        # What is left of a constant after rounding is no signal.
        if ((rows - mean).abs() > 1e-6 * mean.abs().clamp(min=1e-6)).any():
            return ""
    return "the features are the same for every picture: what is scored is the probe's bias alone"


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
        say: is told of shares too small to choose the L2 on a part of them.
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
    """Features of changed pictures: of test pictures degraded, of a task's other views.

    Args:
        cache: where features are kept.
        pictures: those of the tasks as they are, by id of the face set.
    """

    def __init__(self, cache: FeatureCache, pictures: dict[int, Pictures]) -> None:
        self.cache = cache
        self.pictures = pictures
        self._changed: dict[tuple[int, str, bytes], Pictures] = {}

    def fill(
        self,
        tasks: dict[int, list[Task]],
        encoders: dict[int, list[Source]],
        baselines: Collection[str],
        changes: Sequence[Change],
    ) -> None:
        """Make sure that `read` and `scores` find what they ask for."""
        for seed, of_seed in tasks.items():
            for task in of_seed:
                sources = [source for source, _ in spaces([task], encoders[seed], baselines)]
                wanted = [(view, task.indices) for view in task.views()]
                tested = task.tested()
                if tested is not None:
                    wanted += [(change, tested) for change in changes]
                for change, records in wanted:
                    for together in rounds(sources):
                        self.cache.fill(together, self._pictures(task, change, records))

    def read(self, task: Task, source: Source, space: str, view: Change) -> Features:
        """Features of a view of the task's pictures."""
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
        """The task's main figures on its test pictures under each change; none if it can't."""
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
            self._changed[key] = Pictures(faces, records)
        return self._changed[key]
