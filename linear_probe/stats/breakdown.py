"""What is behind a figure: which classes are confused, and the figure of each class and group.

All of it comes from the predictions that `linear-probe run` keeps; nothing is measured again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from linear_probe.records.predictions import Predictions

FEWEST = 30
"""Groups with fewer rows are shown, but not ranked: their figures are too uncertain."""


class PartFigure(NamedTuple):
    """A figure of a part of the test rows.

    Attributes:
        part: name of the class or the group.
        value: accuracy in percent (for a class its recall), or the mean absolute error.
        low, high: 95 % interval over the part's rows: Wilson's for a percentage (Wilson, JASA
            22(158), 1927), normal for an error.
        n: rows of the part.
    """

    part: str
    value: float
    low: float
    high: float
    n: int

    @property
    def ranked(self) -> bool:
        return self.n >= FEWEST


def recalls(predictions: Predictions) -> list[PartFigure]:
    """The recall of each class that the test part has, in the order of the classes."""
    return [
        _part(f"recall {name}", predictions, predictions.targets == number)
        for number, name in enumerate(predictions.classes)
        if (predictions.targets == number).any()
    ]


def by_group(predictions: Predictions, grouping: str) -> list[PartFigure]:
    """The figure of each group of a grouping, the best first, those with few rows last."""
    names = np.array(predictions.groups[grouping])
    parts = [_part(str(name), predictions, names == name) for name in np.unique(names)]
    sign = 1 if predictions.kind == "regression" else -1
    return sorted(parts, key=lambda figure: (not figure.ranked, sign * figure.value))


def by_value(predictions: Predictions, width: float) -> list[tuple[float, PartFigure]]:
    """The error of values by bins of the true value, such as angles, each with its centre.

    Args:
        width: of a bin; one is centred on 0.
    """
    bins = np.round(predictions.targets / width).astype(int)
    return [
        (width * number, _part(f"{width * number:g}", predictions, bins == number))
        for number in np.unique(bins).tolist()
    ]


def ranked_gap(parts: Iterable[PartFigure]) -> float | None:
    """Best less worst of the parts that are ranked; None if there are fewer than 2."""
    values = [part.value for part in parts if part.ranked]
    return max(values) - min(values) if len(values) > 1 else None


def confusion(predictions: Predictions) -> np.ndarray:
    """int [K, K]: rows of each class (down) that were predicted as each class (across)."""
    matrix: np.ndarray = confusion_matrix(
        predictions.targets, predictions.predicted, labels=range(len(predictions.classes))
    )
    return matrix


def _part(name: str, predictions: Predictions, rows: np.ndarray) -> PartFigure:
    targets, predicted = predictions.targets[rows], predictions.predicted[rows]
    n = len(targets)
    if predictions.kind == "regression":
        errors = np.abs(predicted - targets)
        mean, half = float(errors.mean()), 0.0
        if n > 1:
            half = 1.96 * float(errors.std(ddof=1)) / n**0.5
        return PartFigure(name, mean, max(mean - half, 0.0), mean + half, n)
    hits = int((predicted == targets).sum())
    ends = binomtest(hits, n).proportion_ci(method="wilson")
    return PartFigure(name, 100 * hits / n, 100 * ends.low, 100 * ends.high, n)
