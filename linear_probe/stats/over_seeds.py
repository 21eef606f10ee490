"""Means over training seeds, with one rule for their 95 % intervals, differences and p-values.

Two independent things make the mean over S seeds uncertain:

- which test rows there are: the bootstrap's replicates of the mean (all seeds are scored on the
  same draws);
- which seeds there were: the mean of S values varies by s / sqrt(S) as Student's t with S - 1
  degrees of freedom.

Replicates of both together are sums of the two. The difference of two means pairs the seeds that
both sides name (s is of the differences by seed); else it has the spread of Welch's test. With one
seed the second part is unknown and counts as 0: the interval is over test rows alone.
Sources: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 16; Welch,
"The generalization of Student's problem", Biometrika 1947; Holm, "A simple sequentially rejective
multiple test procedure", 1979.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from linear_probe.records.collect import Replicates
from linear_probe.records.record import Record
from linear_probe.stats.intervals import interval


@dataclass(frozen=True)
class OverSeeds:
    """One metric of one encoder, trained by S seeds.

    Attributes:
        values: float [S], of each seed.
        replicates: float [S, B], the bootstrap's of each seed, from the same draws of test rows.
        seeds: S seeds that can be paired with the same seeds of another side; empty: not paired.
    """

    values: np.ndarray
    replicates: np.ndarray
    seeds: tuple[int, ...] = ()

    @property
    def value(self) -> float:
        return float(self.values.mean())

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (of a sample); None with one seed."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval over test rows and seeds; with one seed over test rows alone."""
        return interval(_with_seeds(self.replicates.mean(axis=0), *_variance_of_mean(self.values)))


@dataclass(frozen=True)
class Estimate(OverSeeds):
    """What a table shows of one metric of one row: an `OverSeeds` that knows its records.

    Attributes:
        records: one for each seed, in the order of the seeds.
        resampled: whether the replicates are the bootstrap's. If not, they are normal quantiles
            that have the records' intervals: good for an interval, not for a difference.
    """

    records: tuple[Record, ...] = ()
    resampled: bool = True

    @classmethod
    def of(cls, records: Iterable[Record], replicates: Replicates | None = None) -> Estimate:
        """The estimate from the record of each seed; of one seed's records the last counts."""
        by_seed = {record.seed: record for record in records}
        ordered = tuple(by_seed[seed] for seed in sorted(by_seed))
        draws = [(replicates or {}).get(record.key) for record in ordered]
        known = [draw for draw in draws if draw is not None]
        resampled = len(known) == len(draws) and len({len(draw) for draw in known}) == 1
        return cls(
            np.array([record.value for record in ordered]),
            np.stack(known if resampled else [_quantiles(record) for record in ordered]),
            tuple(record.seed for record in ordered),
            ordered,
            resampled,
        )

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, within the range of the metric; with one seed the record's own."""
        first = self.records[0]
        if len(self.records) == 1:
            return first.low, first.high
        low, high = super().interval
        if first.unit == "%":
            return max(low, 0.0), min(high, 100.0)
        # An error is at least 0; an agreement may be negative.
        return (low if first.higher_is_better else max(low, 0.0)), high

    @property
    def at_grid_edge(self) -> bool:
        """Whether the choice of any seed is."""
        return any(record.at_grid_edge for record in self.records)

    @property
    def n(self) -> str:
        """Number of test rows; if it differs by seed, the least and the most."""
        counts = sorted({record.n for record in self.records})
        return "–".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))

    def comparable(self, other: Estimate) -> bool:
        """Whether both have replicates from the same draws of the same test rows."""
        samples = {record.sample for record in (*self.records, *other.records)}
        if not (self.resampled and other.resampled and len(samples) == 1 and "" not in samples):
            return False
        draws, others = self.replicates.mean(axis=0), other.replicates.mean(axis=0)
        return draws.shape == others.shape and bool(np.isfinite(draws - others).any())

    def __str__(self) -> str:
        mark = "*" if self.at_grid_edge else ""
        spread = "" if self.spread is None else f" ± {self.spread:.2f}"
        low, high = self.interval
        return f"{self.value:.2f}{mark}{spread} [{low:.2f}, {high:.2f}]"


@dataclass(frozen=True)
class Gap:
    """One figure less another.

    Attributes:
        value: in their unit.
        low, high: 95 % interval, by the rule of this module.
        p: two-sided p-value that there is no difference: twice the share of the replicates on the
            other side of 0, at least 1 / replicates.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def gap(one: OverSeeds, other: OverSeeds) -> Gap:
    """`one` less `other`, whose replicates are from the same draws.

    If both name the same seeds, these are paired.
    """
    if one.seeds and one.seeds == other.seeds:
        variance, freedom = _variance_of_mean(one.values - other.values)
    else:
        variances, freedoms = zip(*map(_variance_of_mean, (one.values, other.values)), strict=True)
        variance = sum(variances)
        parts = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True) if v > 0)
        freedom = variance**2 / parts if parts else 1.0
    between = one.replicates.mean(axis=0) - other.replicates.mean(axis=0)
    replicates = _with_seeds(between, variance, freedom)
    finite = replicates[np.isfinite(replicates)]
    share = min(np.mean(finite <= 0), np.mean(finite >= 0))
    p = min(1.0, max(2 * float(share), 1 / len(finite)))
    return Gap(one.value - other.value, *interval(replicates), p)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's method, in the same order."""
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(np.argsort(values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected


def _variance_of_mean(values: np.ndarray) -> tuple[float, float]:
    """Variance of the mean of the seeds' values, and its degrees of freedom."""
    seeds = len(values)
    return (float(values.var(ddof=1)) / seeds, seeds - 1.0) if seeds > 1 else (0.0, 1.0)


def _with_seeds(replicates: np.ndarray, variance: float, freedom: float) -> np.ndarray:
    """Replicates [B], each moved by one of B equally likely values of Student's t."""
    if variance == 0:
        return replicates
    likely = student.ppf(_probabilities(len(replicates)), freedom)
    # The order must not depend on the replicates.
    return replicates + np.sqrt(variance) * np.random.default_rng(0).permutation(likely)


def _quantiles(record: Record, count: int = 1000) -> np.ndarray:
    """Normal quantiles [count] around a record's value that have its 95 % interval."""
    z = norm.ppf(_probabilities(count)) / norm.ppf(0.975)
    return record.value + z * np.where(z < 0, record.value - record.low, record.high - record.value)


def _probabilities(count: int) -> np.ndarray:
    probabilities: np.ndarray = (np.arange(count) + 0.5) / count
    return probabilities
