"""Means over training seeds, with one rule for their 95 % intervals, differences and p-values.

Every interval of a score and of a difference is made here, and nowhere else by another rule
(`breakdown` has those of single classes and groups). Two independent things make the mean over S
seeds uncertain:

- which test rows there are: the bootstrap's replicates of the mean (all seeds are scored on the
  same draws);
- which seeds there were: the mean of S values varies by s / sqrt(S) as Student's t with S - 1
  degrees of freedom.

The uncertainty is the distribution of their sum. The difference of two means pairs the seeds that
both sides name (s is of the differences by seed); else it has the spread of Welch's test. With one
seed the second part is unknown: the interval is over test rows alone, and it says nothing about
another training of the same method. Several seeds without replicates have no interval.
Sources: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 16; Welch,
"The generalization of Student's problem", Biometrika 1947; Holm, "A simple sequentially rejective
multiple test procedure", 1979.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t as student

from linear_probe.records.collect import Replicates
from linear_probe.records.record import Record
from linear_probe.records.replicates import interval


@dataclass(frozen=True)
class Estimate:
    """One metric of one encoder, trained by S seeds.

    Attributes:
        values: float [S], of each seed.
        replicates: float [S, B], the bootstrap's of each seed, from the same draws of test rows;
            [S, 0] if they are not known.
        seeds: S seeds that can be paired with the same seeds of another side; empty: not paired.
        bounds: least and highest value that the metric can have.
        records: what it is made from, one for each seed, in the order of the seeds.
    """

    values: np.ndarray
    replicates: np.ndarray
    seeds: tuple[int, ...] = ()
    bounds: tuple[float, float] = (-np.inf, np.inf)
    records: tuple[Record, ...] = ()

    @classmethod
    def of(cls, records: Iterable[Record], replicates: Replicates | None = None) -> Estimate:
        """The estimate from the record of each seed; of one seed's records the last counts."""
        by_seed = {record.seed: record for record in records}
        ordered = tuple(by_seed[seed] for seed in sorted(by_seed))
        draws = [(replicates or {}).get(record.key) for record in ordered]
        known = [draw for draw in draws if draw is not None]
        complete = len(known) == len(draws) and len({len(draw) for draw in known}) == 1
        return cls(
            np.array([record.value for record in ordered]),
            np.stack(known) if complete else np.empty((len(ordered), 0)),
            tuple(record.seed for record in ordered),
            bounds_of(ordered[0]),
            ordered,
        )

    @property
    def value(self) -> float:
        return float(self.values.mean())

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (of a sample); None with one seed."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else None

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval over test rows and seeds, within the bounds; with one seed over test rows
        alone, as in its record; NaN if several seeds have no replicates."""
        if len(self.records) == 1:
            return self.records[0].low, self.records[0].high
        if not self.replicates.shape[1]:
            return np.nan, np.nan
        spread = Spread(self.replicates.mean(axis=0), *_variance_of_mean(self.values))
        low, high = spread.interval
        return max(low, self.bounds[0]), min(high, self.bounds[1])

    @property
    def has_interval(self) -> bool:
        return bool(np.isfinite(self.interval[0]))

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
        if len(samples) > 1 or "" in samples:
            return False
        if self.replicates.shape[1] != other.replicates.shape[1] or not self.replicates.size:
            return False
        draws = self.replicates.mean(axis=0) - other.replicates.mean(axis=0)
        return bool(np.isfinite(draws).any())

    def __str__(self) -> str:
        mark = "*" if self.at_grid_edge else ""
        spread = "" if self.spread is None else f" ± {self.spread:.2f}"
        low, high = self.interval
        ends = f" [{low:.2f}, {high:.2f}]" if self.has_interval else ""
        return f"{self.value:.2f}{mark}{spread}{ends}"


@dataclass(frozen=True)
class Gap:
    """One figure less another.

    Attributes:
        value: in their unit.
        low, high: 95 % interval, by the rule of this module.
        p: two-sided p-value that there is no difference.
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


def gap(one: Estimate, other: Estimate) -> Gap:
    """`one` less `other`, whose replicates are from the same draws.

    If both name the same seeds, these are paired.
    """
    spread = spread_of_gap(one, other)
    return Gap(one.value - other.value, *spread.interval, spread.p(0.0))


@dataclass(frozen=True)
class Spread:
    """The distribution of a sum: replicates of test rows, and Student's t of seeds.

    Attributes:
        rows: float [B], replicates; NaN is left out.
        variance: of the mean over seeds; 0 if it is not known.
        freedom: degrees of freedom of the variance.
    """

    rows: np.ndarray
    variance: float
    freedom: float

    @cached_property
    def _finite(self) -> np.ndarray:
        return self.rows[np.isfinite(self.rows)]

    def below(self, limit: float) -> float:
        """The probability of values up to `limit`."""
        if self.variance == 0:
            return float(np.mean(self._finite <= limit))
        scaled = (limit - self._finite) / self.variance**0.5
        return float(student.cdf(scaled, self.freedom).mean())

    def above(self, limit: float) -> float:
        return Spread(-self.rows, self.variance, self.freedom).below(-limit)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the distribution, with equal tails."""
        if self.variance == 0:
            return interval(self.rows)
        tails = [self.variance**0.5 * student.ppf(p, self.freedom) for p in (0.025, 0.975)]
        low, high = (
            # The quantile lies between those of the lowest and of the highest replicate.
            brentq(
                lambda x, p=p: self.below(x) - p,
                self._finite.min() + tail - 1e-9,
                self._finite.max() + tail + 1e-9,
                xtol=1e-9,
            )
            for p, tail in zip((0.025, 0.975), tails, strict=True)
        )
        return float(low), float(high)

    def p(self, null: float) -> float:
        """Two-sided p-value of the value `null`; of test rows alone at least 1 / replicates."""
        least = 1 / len(self._finite) if self.variance == 0 else 0.0
        return min(1.0, max(2 * min(self.below(null), self.above(null)), least))


def spread_of_gap(one: Estimate, other: Estimate) -> Spread:
    """How uncertain `one` less `other` is; arguments as of `gap`."""
    if one.seeds and one.seeds == other.seeds:
        variance, freedom = _variance_of_mean(one.values - other.values)
    else:
        variances, freedoms = zip(*map(_variance_of_mean, (one.values, other.values)), strict=True)
        variance = sum(variances)
        parts = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True) if v > 0)
        freedom = variance**2 / parts if parts else 1.0
    between = one.replicates.mean(axis=0) - other.replicates.mean(axis=0)
    return Spread(between, variance, freedom)


def against_best(
    estimates: Mapping[str, Estimate], same_seeds: bool = False
) -> tuple[str, dict[str, tuple[Gap, float]]]:
    """The best of some estimates of one metric, and how the others differ from it.

    Args:
        estimates: by name, at least one.
        same_seeds: compare only those of the same seeds as the best.

    Returns:
        Its name; by the names of those scored on the same draws the gap to it, and its p-value
        after Holm's correction.
    """
    up = next(iter(estimates.values())).records[0].higher_is_better
    best = (max if up else min)(estimates, key=lambda name: estimates[name].value)
    gaps = {
        name: gap(estimate, estimates[best])
        for name, estimate in estimates.items()
        if name != best
        and estimate.comparable(estimates[best])
        and not (same_seeds and estimate.seeds != estimates[best].seeds)
    }
    corrected = holm([one.p for one in gaps.values()])
    return best, {name: (gaps[name], p) for name, p in zip(gaps, corrected, strict=True)}


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


def bounds_of(record: Record) -> tuple[float, float]:
    """The least and the highest value of a record's metric."""
    if record.unit == "%":
        return 0.0, 100.0
    if not record.unit and record.higher_is_better:
        return -1.0, 1.0  # agreement, or a share
    # An error is at least 0; a level in dB may be negative.
    return (-np.inf if record.higher_is_better else 0.0), np.inf
