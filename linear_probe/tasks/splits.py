"""Splits for choosing hyper-parameters: rows of the training part only, whole groups together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ssl_faces import InputError

T = TypeVar("T", bound=Hashable)


def components(nodes: Iterable[T], edges: Iterable[tuple[T, T]]) -> dict[T, int]:
    """The number of each node's connected component; nodes may be repeated."""
    number = {node: i for i, node in enumerate(dict.fromkeys(nodes))}
    ends = np.array([[number[a], number[b]] for a, b in edges], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), ends.T), shape=(len(number), len(number)))
    component = connected_components(graph, directed=False)[1]
    return dict(zip(number, component.tolist(), strict=True))


def stratified_group_split(
    labels: np.ndarray, groups: np.ndarray, share: float, seed: int
) -> np.ndarray:
    """Which rows validate: about `share` of each class, and no group on both sides.

    Groups are met in random order; one goes to validation when this brings the class counts there
    closer (in squares) to `share` of the whole; where none does, the one that strays the least
    goes. (scikit-learn's StratifiedGroupKFold takes seconds for the 28,000 groups of FER-2013.)

    Args:
        labels: int [N], from 0.
        groups: [N], anything that np.unique takes; rows of one group stay together.

    Returns:
        bool [N], True where the row validates.

    Raises:
        InputError: too few groups to leave some on both sides.
    """
    _, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((group.max() + 1, labels.max() + 1))
    np.add.at(counts, (group, labels), 1)
    lacking = share * counts.sum(axis=0)
    chosen = np.zeros(len(counts), dtype=bool)
    order = np.random.default_rng(seed).permutation(len(counts))
    for i in order:
        rest = lacking - counts[i]
        if rest @ rest < lacking @ lacking:
            lacking = rest
            chosen[i] = True
    if not chosen.any() and len(counts) > 1:
        # Few and large groups: the one that strays the least, since one there must be.
        chosen[order[((lacking - counts[order]) ** 2).sum(axis=1).argmin()]] = True
    validation = chosen[group]
    if not validation.any() or validation.all():
        raise InputError(
            f"the training part has {len(labels)} pictures in {len(counts)} groups, too few to "
            "choose the probe's L2 on a part of them; give more training pictures"
        )
    return validation
