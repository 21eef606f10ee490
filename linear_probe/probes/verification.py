"""Verification of pairs by cosine similarity, nothing learnt but a mean and a threshold.

The protocol is LFW's (Huang et al., TR 07-49, 2007, view 2): each fold of pairs is decided with
what the other folds teach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Verification(NamedTuple):
    """What was decided for N pairs.

    Attributes:
        correct: bool [N], whether the pair was decided rightly.
        thresholds: float [folds], similarity from which a pair of that fold counted as same.
    """

    correct: np.ndarray
    thresholds: np.ndarray


def pair_similarities(
    features: Tensor, first: np.ndarray, second: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Cosine similarity of each pair after removing the mean of the other folds' pictures.

    Args:
        features: float [P, D], one row a picture.
        first: int [N], row of each pair's first picture.
        second: int [N], of its second.
        folds: int [N], the pair's fold.

    Returns:
        float64 [N], -1 to 1.
    """
    similarities = np.empty(len(folds))
    for fold in np.unique(folds):
        here = folds == fold
        others = np.unique(np.concatenate([first[~here], second[~here]]))
        mean = features[torch.from_numpy(others)].double().mean(dim=0)
        one = features[torch.from_numpy(first[here])].double() - mean
        other = features[torch.from_numpy(second[here])].double() - mean
        similarities[here] = F.cosine_similarity(one, other).cpu().numpy()
    return similarities


def verify(similarities: np.ndarray, same: np.ndarray, folds: np.ndarray) -> Verification:
    """Decide each pair by the threshold that is the most accurate on the pairs of other folds.

    Args:
        similarities: float [N].
        same: bool [N].
        folds: int [N], at least two different.
    """
    correct = np.empty(len(same), dtype=bool)
    thresholds = []
    for fold in np.unique(folds):
        here = folds == fold
        threshold = best_threshold(similarities[~here], same[~here])
        correct[here] = (similarities[here] >= threshold) == same[here]
        thresholds.append(threshold)
    return Verification(correct, np.array(thresholds))


def best_threshold(similarities: np.ndarray, same: np.ndarray) -> float:
    """The threshold (same where similarity >= it) with the highest accuracy on these pairs.

    Tried are the middles between neighbouring similarities, and one below and above all; of equals
    the lowest is taken.
    """
    levels, level = np.unique(similarities, return_inverse=True)
    same_at = np.bincount(level, weights=same, minlength=len(levels))
    different_at = np.bincount(level, weights=~same, minlength=len(levels))
    # correct[k]: the k lowest levels called different, the rest same.
    correct = np.concatenate([[0], np.cumsum(different_at - same_at)])
    edges = np.concatenate([[levels[0] - 1], (levels[:-1] + levels[1:]) / 2, [levels[-1] + 1]])
    return float(edges[correct.argmax()])


class Rates(NamedTuple):
    """ROC figures of each bootstrap replicate, float64 [B]; nan where a draw lacks one kind.

    Attributes:
        area: under the ROC curve: the chance that a same pair is more similar than a different
            one, equal counting half.
        equal_error: the error where as many same pairs are refused as different ones accepted,
            between thresholds by straight lines.
        accepted: by false-accept rate: the most same pairs accepted at a threshold that accepts no
            higher share of the different ones.
    """

    area: np.ndarray
    equal_error: np.ndarray
    accepted: dict[float, np.ndarray]


def weighted_rates(
    similarities: np.ndarray,
    same: np.ndarray,
    weights: np.ndarray,
    false_accept: Sequence[float] = (),
) -> Rates:
    """ROC figures of weighted pairs, for all bootstrap replicates at once.

    (scikit-learn's `roc_curve` sorts anew for each replicate: a hundred times slower.)

    Args:
        similarities: float [N].
        same: bool [N].
        weights: [B, N], how often each pair was drawn.
        false_accept: rates, 0 to 1, at which the share of same pairs accepted is wanted.
    """
    levels, level = np.unique(-similarities, return_inverse=True)  # the most similar first
    at_level = np.zeros((2, len(levels), len(weights)))
    for kind in (0, 1):
        rows = same == bool(kind)
        np.add.at(at_level[kind], level[rows], weights[:, rows].T)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Rates [L + 1, B] at thresholds that accept the 0, 1, … L highest levels.
        far, tar = (
            np.concatenate([np.zeros_like(x[:1]), np.cumsum(x, axis=0)]) / x.sum(axis=0)
            for x in at_level
        )
        area = (np.diff(far, axis=0) * (tar[1:] + tar[:-1]) / 2).sum(axis=0)
        gap = far - (1 - tar)  # rises from -1 to 1
        after = (gap >= 0).argmax(axis=0)
        columns = np.arange(len(weights))
        before = np.maximum(after - 1, 0)
        rise = gap[after, columns] - gap[before, columns]
        share = np.where(rise > 0, -gap[before, columns] / rise, 0)
        error = far[before, columns] + share * (far[after, columns] - far[before, columns])
        accepted = {f: np.where(far <= f, tar, 0).max(axis=0) for f in false_accept}
    lacking = ~np.isfinite(area)
    for values in (error, *accepted.values()):
        values[lacking] = np.nan
    return Rates(area, error, accepted)
