"""Figures over several training seeds: intervals and tests that know of test rows and of seeds.

Two things make the mean over S seeds uncertain, and they are independent. Which test rows there
are: the bootstrap's replicates of the mean tell (all seeds are scored on the same draws). Which
seeds there were: the mean of S values strays by s / sqrt(S) as Student's t with S - 1 degrees of
freedom does. Replicates of both together are sums of one and the other. The difference of two
such means has the spread of Welch's test.
Sources: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 16; Welch,
"The generalization of Student's problem", Biometrika 1947; Holm, "A simple sequentially rejective
multiple test procedure", 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from linear_probe.stats.intervals import interval


@dataclass(frozen=True)
class OverSeeds:
    """One metric of one encoder, trained by S seeds.

    Attributes:
        values: float [S], of each seed.
        replicates: float [S, B], the bootstrap's of each, of the same draws of the same test rows.
    """

    values: np.ndarray
    replicates: np.ndarray

    @property
    def value(self) -> float:
        return float(self.values.mean())

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (of a sample); None of a single one."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, over test rows and seeds; of a single seed over test rows alone."""
        variance, freedom = _variance_of_mean(self.values)
        return interval(_with_seeds(self.replicates.mean(axis=0), variance, freedom))


@dataclass(frozen=True)
class Gap:
    """One figure less another.

    Attributes:
        value: in their unit.
        low, high: 95 % interval, as of `OverSeeds`.
        p: two-sided p-value that there is none: twice the share of the replicates on the other
            side of 0, at least 1 / replicates.
    """

    value: float
    low: float
    high: float
    p: float


def gap(one: OverSeeds, other: OverSeeds) -> Gap:
    """`one` less `other`, whose replicates are of the same draws."""
    variances, freedoms = zip(*map(_variance_of_mean, (one.values, other.values)), strict=True)
    variance = sum(variances)
    parts = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True) if v > 0)
    freedom = variance**2 / parts if parts else 1.0
    between = one.replicates.mean(axis=0) - other.replicates.mean(axis=0)
    replicates = _with_seeds(between, variance, freedom)
    known = replicates[np.isfinite(replicates)]
    share = min(np.mean(known <= 0), np.mean(known >= 0))
    p = min(1.0, max(2 * float(share), 1 / len(known)))
    return Gap(one.value - other.value, *interval(replicates), p)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in their order."""
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(np.argsort(values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected


def _variance_of_mean(values: np.ndarray) -> tuple[float, float]:
    """Of the mean of the seeds' values, and its degrees of freedom."""
    seeds = len(values)
    return (float(values.var(ddof=1)) / seeds, seeds - 1.0) if seeds > 1 else (0.0, 1.0)


def _with_seeds(replicates: np.ndarray, variance: float, freedom: float) -> np.ndarray:
    """Replicates [B], each strayed by one of B equally likely values of Student's t."""
    if variance == 0:
        return replicates
    count = len(replicates)
    likely = student.ppf((np.arange(count) + 0.5) / count, freedom)
    # In any order that has nothing to do with the replicates'.
    return replicates + np.sqrt(variance) * np.random.default_rng(0).permutation(likely)
