"""Verification of pairs by cosine similarity, nothing learnt but a mean and a threshold.

The protocol is LFW's (Huang et al., TR 07-49, 2007, view 2): each fold of pairs is decided with
what the other folds teach.
"""

from __future__ import annotations

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


def weighted_areas(similarities: np.ndarray, same: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each bootstrap replicate.

    The chance that a same pair is more similar than a different one, equal counting half.
    (scikit-learn's `roc_auc_score` sorts anew for each replicate: a hundred times slower.)

    Args:
        similarities: float [N].
        same: bool [N].
        weights: [B, N], how often each pair was drawn.

    Returns:
        float64 [B]; nan where a draw lacks one kind.
    """
    levels, level = np.unique(similarities, return_inverse=True)
    at_level = np.zeros((2, len(levels), len(weights)))
    for kind in (0, 1):
        rows = same == bool(kind)
        np.add.at(at_level[kind], level[rows], weights[:, rows].T)
    different, alike = at_level
    below = np.cumsum(different, axis=0) - different / 2
    with np.errstate(invalid="ignore"):
        areas: np.ndarray = (alike * below).sum(axis=0) / (
            alike.sum(axis=0) * different.sum(axis=0)
        )
    return areas
