"""How equally a classifier serves groups of people.

Source: Xu, White, Kalkan & Gunes, "Investigating Bias and Fairness in Facial Expression
Recognition", ECCV 2020 workshops, as Stoychev & Gunes (2022) use it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from linear_probe.records.measured import Figure
from linear_probe.records.predictions import Predictions
from linear_probe.stats.breakdown import FEWEST
from linear_probe.tasks.sample import Sample
from ssl_faces import InputError

UNKNOWN = "not known"
"""The group of rows that don't say theirs; never ranked."""


def ranked_groups(names: Sequence[str]) -> list[str]:
    """The groups with at least `FEWEST` rows, which are ranked, by name. `names`: of each row's
    group."""
    groups, counts = np.unique(np.array(names), return_counts=True)
    return [
        str(name) for name, n in zip(groups, counts, strict=True) if n >= FEWEST and name != UNKNOWN
    ]


def check_grouping(grouping: str, names: Sequence[str]) -> None:
    """Check that groups can be compared; InputError if all rows belong to one group, or fewer than
    two groups are large enough."""
    there = sorted(set(names))
    if len(there) < 2:
        raise InputError(
            f"groups: {grouping} is '{there[0]}' for all {len(names):,} test pictures, which "
            "leaves nothing to compare; name another"
        )
    if len(ranked_groups(names)) < 2:
        raise InputError(
            f"groups: {grouping} has fewer than two groups of {FEWEST} test pictures or more among "
            f"{', '.join(there[:8])}; give more pictures, or name another"
        )


def common_classes(targets: np.ndarray, names: Sequence[str], which: Sequence[str]) -> np.ndarray:
    """int [K]: the classes that each of these groups has rows of: recalls of the same classes are
    compared."""
    has = [np.isin(np.unique(targets), targets[rows]) for rows in _members(names, which)]
    return np.unique(targets)[np.all(has, axis=0)]


def group_recalls(
    targets: np.ndarray,
    predicted: np.ndarray,
    names: Sequence[str],
    which: Sequence[str],
    weights: np.ndarray,
) -> np.ndarray:
    """Mean over `common_classes` of the recall of each class, in each of G groups `which`: float
    [B, G].

    Args:
        targets, predicted: int [N].
        names: of each row's group, N.
        weights: [B, N], how often each row is drawn; ones for the figure itself.

    Raises:
        InputError: the groups have no class in common.
    """
    classes = common_classes(targets, names, which)
    if not len(classes):
        raise InputError(
            f"groups {', '.join(which)} have no class in common, so that no recall can be "
            "compared; give more pictures, or name another grouping"
        )
    of_class = targets == classes[:, None]
    recalls = _shares(weights, of_class[:, None] & _members(names, which), predicted == targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw may miss the whole group
        return np.nanmean(recalls, axis=1)


def _members(names: Sequence[str], which: Sequence[str]) -> np.ndarray:
    """bool [G, N]: which rows are of each group."""
    return np.array(names) == np.array(which)[:, None]


def _shares(weights: np.ndarray, rows: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of these rows, bool [..., N], those that are right, by draw, [B, ...]; NaN in a draw that has
    none of them."""
    drawn, hits = (
        np.tensordot(weights.astype(np.float64), of.astype(np.float64), (1, -1))
        for of in (rows, rows & right)
    )
    return np.divide(hits, drawn, np.full_like(hits, np.nan), where=drawn > 0)


def fairness_score(recalls: np.ndarray) -> np.ndarray:
    """F of mean class-wise recalls [..., G]: that of the worst group by that of the best, 1 where
    all are alike (also where nothing is right in any)."""
    best, worst = recalls.max(axis=-1), recalls.min(axis=-1)
    return np.divide(worst, best, np.ones_like(best), where=best != 0)


def fairness_figures(
    sample: Sample, predictions: Predictions, chosen: dict[str, Any], note: str, of: str = ""
) -> list[Figure]:
    """For each grouping the fairness score, and the best group's accuracy less the worst's.

    Only groups of `FEWEST` rows or more count. Both rest on the draws of the other figures.

    Args:
        chosen, note: fields of the figures.
        of: what is classified, where a task has several such figures.

    Raises:
        InputError: a grouping that has nothing to compare.
    """
    figures = []
    targets, predicted, weights = predictions.targets, predictions.predicted, sample.weights
    n = len(targets)
    once = np.ones((1, n), dtype=np.float32)
    for grouping, names in predictions.groups.items():
        check_grouping(grouping, names)
        which = ranked_groups(names)
        notes = "; ".join(filter(None, (note, _left_out(predictions, grouping, which))))
        fair, drawn = (
            fairness_score(group_recalls(targets, predicted, names, which, w))
            for w in (once, weights)
        )
        metric = f"{of} fairness across {grouping}".strip()
        about = (metric, float(fair[0]), "", True, n, sample.name)
        figures.append(Figure(*about, drawn, chosen, note=notes))
        members = _members(names, which)
        gap, gaps = (
            np.ptp(_shares(w, members, predicted == targets), axis=1) for w in (once, weights)
        )
        metric = f"{of} accuracy gap across {grouping}".strip()
        more: dict[str, Any] = {"hyperparameters": chosen, "note": notes}
        figures.append(sample.percentage(metric, gap[0], gaps, False, **more))
    return figures


def group_figures(
    sample: Sample, predictions: Predictions, chosen: dict[str, Any], of: str = ""
) -> dict[tuple[str, str], Figure]:
    """The accuracy of each group, small ones too, by grouping and group; arguments as of
    `fairness_figures`."""
    figures = {}
    right = predictions.predicted == predictions.targets
    once = np.ones((1, len(right)), dtype=np.float32)
    for grouping, names in predictions.groups.items():
        which = sorted(set(names))
        values, drawn = (_shares(w, _members(names, which), right) for w in (once, sample.weights))
        for i, group in enumerate(which):
            figures[grouping, group] = sample.percentage(
                *(f"{of} accuracy".strip(), values[0, i], drawn[:, i]),
                n=names.count(group),
                hyperparameters=chosen,
            )
    return figures


def _left_out(predictions: Predictions, grouping: str, which: Sequence[str]) -> str:
    names = predictions.groups[grouping]
    small = sorted({*names} - {*which})
    notes = f"{grouping}: not ranked, as too few: {', '.join(small)}" if small else ""
    classes = common_classes(predictions.targets, names, which)
    absent = np.setdiff1d(np.unique(predictions.targets), classes)
    if len(absent):
        lacking = ", ".join(predictions.classes[i] for i in absent)
        notes += f"{'; ' if notes else ''}{grouping}: without {lacking}, which some group lacks"
    return notes
