"""Identification: is the right person found among N by cosine similarity, and is an unknown one?

Each person has one image in the gallery. A search with another image of a person is a hit at rank
k if that person is among the k most similar; a search with an image of somebody who is not in the
gallery is a false positive if any similarity reaches the threshold (ISO/IEC 19795-1). Rates are
expectations over all galleries of N people that can be drawn: the number of drawn people who are
more similar than the right one is hypergeometric, so that nothing is simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import hypergeom
from torch import Tensor
from torch.nn.functional import normalize

MOST_PROBES = 5
"""Images of a person, at most, that are searched for."""


class Gallery(NamedTuple):
    """Rows of the images of G people: int [G], one image of each; int [P], other images; int [P],
    the person of each of those, of G."""

    first: np.ndarray
    probes: np.ndarray
    person: np.ndarray


def gallery_of(people: Sequence[str | int]) -> Gallery:
    """The first image of each person, and up to `MOST_PROBES` others, evenly spread."""
    rows: dict[str | int, list[int]] = {}
    for row, name in enumerate(people):
        rows.setdefault(name, []).append(row)
    probes: list[int] = []
    person: list[int] = []
    for number, (_, *others) in enumerate(rows.values()):
        picked = np.linspace(0, len(others) - 1, min(MOST_PROBES, len(others))).round().astype(int)
        probes += [others[i] for i in picked]
        person += [number] * len(picked)
    first = np.array([of_person[0] for of_person in rows.values()])
    return Gallery(first, np.array(probes, int), np.array(person, int))


class Searches(NamedTuple):
    """Similarities of P searches among G people: float64 [P], to the gallery image of the same
    person, and float64 [P, G - 1], to those of all others, ascending."""

    own: np.ndarray
    others: np.ndarray

    @classmethod
    def of(cls, codes: Tensor, gallery: Gallery, mean: Tensor) -> Searches:
        """Of codes [N, D] less a mean [D]."""
        values = normalize(codes.double() - mean, dim=1)
        first, probes = (values[torch.from_numpy(rows)] for rows in (gallery.first, gallery.probes))
        similarities = (probes @ first.T).numpy()
        rows = np.arange(len(similarities))
        own = similarities[rows, gallery.person]
        similarities[rows, gallery.person] = np.inf
        similarities.sort(axis=1)
        return cls(own, similarities[:, :-1])

    def _as_similar(self, than: np.ndarray | float) -> np.ndarray:
        """int [P]: how many other people are at least so similar."""
        return (self.others >= np.reshape(than, (-1, 1))).sum(1)

    def ranked(self, rank: int, size: int) -> np.ndarray:
        """float [P]: the chance that the right person is among the first `rank` in a gallery of
        that person and `size` - 1 others; equal similarities count as mistakes."""
        better = self._as_similar(self.own)
        most = self.others.shape[1]
        return sum(
            (hypergeom.pmf(count, most, better, size - 1) for count in range(rank)),
            start=np.zeros(len(better)),
        )

    def hits(self, threshold: float, size: int) -> np.ndarray:
        """float [P]: the chance that the right person is first, and reaches the threshold."""
        return self.ranked(1, size) * (self.own >= threshold)

    def false_positives(self, threshold: float, size: int) -> np.ndarray:
        """float [P]: the chance that anybody in a gallery of `size` others reaches the
        threshold."""
        similar = self._as_similar(threshold)
        none: np.ndarray = hypergeom.pmf(0, self.others.shape[1], similar, size)
        return 1 - none

    def threshold(self, rate: float, size: int) -> float:
        """The lowest threshold with at most this rate of false positives in galleries of `size`."""
        low, high = -1.0, 1.0 + 1e-6
        for _ in range(40):
            middle = (low + high) / 2
            if self.false_positives(middle, size).mean() > rate:
                low = middle
            else:
                high = middle
        return high


def rand_index(groups: np.ndarray, people: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The adjusted Rand index (Hubert & Arabie 1985) of groups [N] and people [N] for each draw of
    weights [B, N]: 1 if they are the same, 0 on average for random groups."""
    squares = (weights.astype(np.float64) ** 2).sum(1)

    def pairs(cells: np.ndarray) -> np.ndarray:
        """Weighted number of pairs within one cell."""
        order = np.argsort(cells, kind="stable")
        starts = np.flatnonzero(np.diff(cells[order], prepend=cells[order[0]] - 1))
        sums = np.add.reduceat(weights[:, order].astype(np.float64), starts, axis=1)
        counted: np.ndarray = ((sums**2).sum(1) - squares) / 2
        return counted

    both = pairs(np.unique(np.stack([groups, people]), axis=1, return_inverse=True)[1].ravel())
    first, second = pairs(groups), pairs(people)
    expected = first * second / pairs(np.zeros(len(groups), int))
    most = (first + second) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        index: np.ndarray = (both - expected) / (most - expected)
    return np.where(most == expected, 1.0, index)
