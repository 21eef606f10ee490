"""Small deterministic probes without hyper-parameter selection, for use during training.

Not comparable with `linear-probe`: fewer images, a fixed ridge strength, no test part.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = 50
TEMPERATURE = 0.1
"""Votes are exp(cosine / temperature): Wu et al., CVPR 2018."""

RIDGE = 1.0
"""L2 penalty for each image of the bank (scikit-learn's `alpha` is this times their number)."""

SETTINGS = f"kNN: {NEIGHBOURS} neighbours, temperature {TEMPERATURE}; linear: ridge, L2 {RIDGE:g}"


def standardised(bank: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Both [N, D], standardised by the bank's mean and deviation; constant features become 0."""
    mean, deviation = bank.mean(0), bank.std(0, correction=0)
    # Smaller deviations are rounding.
    varies = deviation > 1e-6 * mean.abs().clamp(min=1e-6)
    scale = torch.where(varies, 1 / deviation.clamp(min=1e-30), 0)
    return (bank - mean) * scale, (queries - mean) * scale


def class_accuracies(
    bank: Tensor, labels: Tensor, queries: Tensor, truth: Tensor
) -> dict[str, float]:
    """Accuracy of `knn` and `linear` (ridge on one-hot classes) on the queries, in percent.

    Args:
        bank, queries: float [N, D] and [M, D].
        labels, truth: int64 [N] and [M], classes from 0.
    """
    from lightly.utils.benchmarking import knn_predict
    from sklearn.linear_model import RidgeClassifier

    bank, queries = standardised(bank, queries)
    voted = knn_predict(
        feature=F.normalize(queries),
        feature_bank=F.normalize(bank).T.contiguous(),
        feature_labels=labels,
        num_classes=int(labels.max()) + 1,
        knn_k=min(NEIGHBOURS, len(bank)),  # it fails with fewer
        knn_t=TEMPERATURE,
    )[:, 0]
    predictions = {"knn": voted}
    if len(labels.unique()) > 1:
        ridge = RidgeClassifier(alpha=RIDGE * len(bank)).fit(bank.numpy(), labels.numpy())
        predictions["linear"] = torch.from_numpy(ridge.predict(queries.numpy()))
    return {k: 100 * float((p == truth).double().mean()) for k, p in predictions.items()}


def absolute_errors(bank: Tensor, targets: Tensor, queries: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute errors float64 [T] of ridge regression from the bank's targets.

    Args:
        bank, queries: float [N, D] and [M, D].
        targets, truth: float [N, T] and [M, T].
    """
    from sklearn.linear_model import Ridge

    bank, queries = standardised(bank, queries)
    ridge = Ridge(alpha=RIDGE * len(bank)).fit(bank.double().numpy(), targets.double().numpy())
    # Some versions drop the column of a single target.
    predicted = torch.from_numpy(ridge.predict(queries.double().numpy())).reshape(truth.shape)
    return (predicted - truth).abs().mean(0)
