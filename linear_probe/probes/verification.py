"""Verification of pairs by cosine similarity or Euclidean distance of frozen features.

Only a mean, a threshold and, optionally, the whitening are fitted.

The protocol is LFW's (Huang et al., TR 07-49, 2007, view 2): each fold of pairs is decided with
what the other folds teach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.metrics import roc_curve
from torch import Tensor

DIMS = (8, 16, 32, 64, 128, 256)
"""Numbers of principal directions tried by `whitened_similarities`."""


class Verification(NamedTuple):
    """What was decided for N pairs: bool [N], whether rightly, and float [folds], the similarity
    from which a pair of that fold counted as same."""

    correct: np.ndarray
    thresholds: np.ndarray


def pair_similarities(
    features: Tensor,
    first: np.ndarray,
    second: np.ndarray,
    folds: np.ndarray,
    scored: Tensor | None = None,
) -> np.ndarray:
    """Cosine similarity of each pair after removing the mean of the other folds' images: float64
    [N], -1 to 1; 0 where nothing is left of an image less the mean.

    Args:
        features: float [P, D], one row an image.
        first, second: int [N], rows of each pair's images.
        folds: int [N], the pair's fold.
        scored: float [P, D], features of the pairs' images where they are other than those that the
            mean is of.
    """
    scored = features if scored is None else scored
    similarities = np.empty(len(folds))
    for fold in np.unique(folds):
        here = folds == fold
        others = np.unique(np.concatenate([first[~here], second[~here]]))
        mean = features[torch.from_numpy(others)].double().mean(dim=0)
        one, other = (
            _centred(scored[torch.from_numpy(side[here])].double(), mean)
            for side in (first, second)
        )
        similarities[here] = F.cosine_similarity(one, other).cpu().numpy()
    return similarities


def _centred(rows: Tensor, mean: Tensor) -> Tensor:
    """Rows [N, D] less the mean [D]; zero where rounding alone is left."""
    centred = rows - mean
    nothing = centred.norm(dim=1) <= 1e-6 * mean.norm()
    return centred.masked_fill_(nothing[:, None], 0.0)


def pair_distances(features: Tensor, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pair's features, float64 [N]; arguments as `pair_similarities`."""
    one, other = (features[torch.from_numpy(side)].double() for side in (first, second))
    return (one - other).norm(dim=1).cpu().numpy()


def plain_similarities(features: Tensor, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine similarity of each pair's features as they are, float64 [N]."""
    one, other = (features[torch.from_numpy(side)].double() for side in (first, second))
    return F.cosine_similarity(one, other).cpu().numpy()


class Whitened(NamedTuple):
    """Similarities of N pairs after whitening, float64 [N], -1 to 1; int [folds], how many
    principal directions each fold's choice kept; and whether a fold chose the most directions
    tried, though there are more."""

    similarities: np.ndarray
    dims: np.ndarray
    at_grid_edge: bool


def whitened_similarities(
    features: Tensor,
    first: np.ndarray,
    second: np.ndarray,
    same: np.ndarray,
    folds: np.ndarray,
    grid: Sequence[int] = DIMS,
) -> Whitened:
    """Cosine similarity of each pair after PCA whitening, which the other folds teach.

    Mean, principal directions and their variances are those of the other folds' images. How many
    directions are kept (the largest variances first) is what gives the highest area under the ROC
    curve on the other folds' pairs, of equals the fewest.

    Args:
        features, first, second, folds: as in `pair_similarities`.
        same: bool [N].
        grid: numbers of directions tried.
    """
    x = features.float().cpu().numpy()
    similarities = np.zeros(len(folds))
    chosen: list[int] = []
    edge = False
    for fold in np.unique(folds):
        here = folds == fold
        others = np.unique(np.concatenate([first[~here], second[~here]]))
        most = min(len(others) - 1, x.shape[1])
        count = min(max(grid), most)
        # Of no use beyond some hundred pictures or features: the whole decomposition is exact.
        solver = "full" if min(len(others), x.shape[1]) <= 500 else "randomized"
        pca = PCA(max(count, 1), whiten=True, svd_solver=solver, random_state=0)
        with np.errstate(invalid="ignore"):  # shares of no variance at all, which are not used
            pca.fit(x[others])
        rounding = (1e-6 * np.linalg.norm(pca.mean_)) ** 2
        variances = pca.explained_variance_
        # What is left of a constant after rounding would be blown up to variance 1.
        count = int((variances > max(rounding, 1e-10 * variances[0])).sum())
        if not count:
            chosen.append(0)
            continue
        one, other = (pca.transform(x[side])[:, :count] for side in (first, second))
        # Of the first d directions, for all d at once.
        dots = np.cumsum(one * other, axis=1, dtype=np.float64)
        lengths = np.sqrt(
            np.cumsum(one**2, axis=1, dtype=np.float64)
            * np.cumsum(other**2, axis=1, dtype=np.float64)
        )
        cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
        tried = sorted({min(d, count) for d in grid})
        once = np.ones((1, int((~here).sum())))
        areas = {
            d: weighted_rates(cosines[~here, d - 1], same[~here], once).area.item() for d in tried
        }
        best = max(tried, key=lambda d, areas=areas: (areas[d], -d))  # type: ignore[misc]
        edge |= best == max(grid) and best < most
        similarities[here] = cosines[here, best - 1]
        chosen.append(best)
    return Whitened(similarities, np.array(chosen), edge)


def verify(
    similarities: np.ndarray,
    same: np.ndarray,
    folds: np.ndarray,
    scored: np.ndarray | None = None,
) -> Verification:
    """Decide each pair by the threshold that is the most accurate on the pairs of other folds.

    Args:
        similarities, same, folds: [N] each.
        scored: float [N], similarities to decide by, where they are other than those that the
            thresholds are chosen on.
    """
    scored = similarities if scored is None else scored
    correct = np.empty(len(same), dtype=bool)
    thresholds = []
    for fold in np.unique(folds):
        here = folds == fold
        threshold = best_threshold(similarities[~here], same[~here])
        correct[here] = (scored[here] >= threshold) == same[here]
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


def roc(similarities: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ROC curve of N pairs: false-accept and true-accept rates, 0 to 1, from (0, 0) to (1, 1),
    of similarities float [N] or [N, 1]."""
    far, tar, _ = roc_curve(same, similarities.reshape(len(same)))
    return far, tar


class Rates(NamedTuple):
    """ROC figures of each bootstrap replicate, float64 [B]; nan where a draw lacks one kind.

    Attributes:
        area: under the ROC curve: the chance that a same pair is more similar than a different one,
            equal counting half.
        equal_error: where as many same pairs are refused as different ones accepted, between
            thresholds by straight lines.
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
    """ROC figures of weighted pairs, for all bootstrap replicates at once. (scikit-learn's
    `roc_curve` sorts anew for each replicate: a hundred times slower.)

    Args:
        similarities, same: [N].
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
