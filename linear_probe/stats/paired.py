"""Is one encoder better than another? Paired bootstrap of the difference, on the same test rows.

Both figures' replicates come from the same draws of the same test rows, so that the replicates of
the difference are the differences of the replicates, whatever the metric: what is hard for both
(a difficult picture, a difficult person) cancels out, which two intervals side by side can't show.
Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.stats.intervals import interval
from ssl_faces import InputError

_USUAL = ("logistic regression", "ridge regression", "kNN", "cosine similarity", "none")
"""Probes that the task and the metric tell."""


@dataclass(frozen=True)
class Difference:
    """One figure less another, of the same metric and test rows.

    Attributes:
        one, other: the figures compared.
        value: `one` less `other`, in their unit.
        low, high: the 95 % bootstrap interval of it.
        p: two-sided p-value that there is none: twice the share of the replicates on the other
            side of 0, at least 1 / replicates.
    """

    one: Record
    other: Record
    value: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        better = (self.value > 0) == self.one.higher_is_better
        first, second = (self.one, self.other) if better else (self.other, self.one)
        ends = sorted((abs(self.low), abs(self.high)))
        unit = "points" if self.one.unit == "%" else self.one.unit
        metric = f"{self.one.task}, {self.one.metric}"
        if self.one.probe not in _USUAL:
            metric += f", {self.one.probe}"
        if self.one.seed:
            metric += f", seed {self.one.seed}"
        if self.low <= 0 <= self.high:
            return (
                f"{metric}: {row_name(self.one)} and {row_name(self.other)} can't be told apart: "
                f"{self.value:+.2f} {unit} [{self.low:+.2f}, {self.high:+.2f}], p = {self.p:.3f}"
            )
        return (
            f"{metric}: {row_name(first)} better than {row_name(second)} by "
            f"{abs(self.value):.2f} {unit} [{ends[0]:.2f}, {ends[1]:.2f}], p = {self.p:.3f}"
        )


def row_name(record: Record) -> str:
    """How a row of the table is called here and on the command line: ENCODER=SPACE."""
    return f"{record.encoder}={record.feature_space}" if record.feature_space else record.encoder


def compare(folder: str | Path, one: str, other: str) -> list[Difference]:
    """Every figure of `one` less that of `other`, in the order of the records.

    Args:
        folder: what `linear-probe run` wrote.
        one, other: rows as ENCODER or ENCODER=SPACE. Where no space is named and both have the
            same spaces, like is compared with like, else every space of one with all of the other.

    Raises:
        InputError: no such row, nothing in common, or the test rows are not the same.
    """
    folder = Path(folder)
    records = read_records(folder / RECORDS_FILE)
    replicates = read_replicates(folder / REPLICATES_FILE)
    ones, others = _rows(records, one, folder), _rows(records, other, folder)
    named = {row_name(r) for r in records if r.feature_space}
    shared = {r.feature_space for r in ones} & {r.feature_space for r in others}
    alike = bool(shared) and one not in named and other not in named
    found = []
    for a in ones:
        for b in others:
            # Predicting the mean is no probe, and every probe should beat it.
            same_probe = a.probe == b.probe or "none" in (a.probe, b.probe)
            if (
                _figure(a) != _figure(b)
                or not same_probe
                or (alike and a.feature_space != b.feature_space)
            ):
                continue
            for record in (a, b):
                if record.name not in replicates:
                    raise InputError(
                        f"{folder}: no bootstrap replicates of {row_name(record)}, "
                        f"{record.metric}; run `linear-probe run --out {folder}` again"
                    )
            if a.sample != b.sample:
                raise InputError(
                    f"{folder}: {row_name(a)} and {row_name(b)} were not scored on the same test "
                    f"rows of {a.data_set}; run both again into one folder"
                )
            found.append(difference(a, b, replicates[a.name], replicates[b.name]))
    if not found:
        raise InputError(f"{folder}: '{one}' and '{other}' have no figure in common")
    return found


def difference(one: Record, other: Record, of_one: np.ndarray, of_other: np.ndarray) -> Difference:
    """`one` less `other`, by their replicates [B] of the same draws."""
    replicates = of_one - of_other
    low, high = interval(replicates)
    known = replicates[np.isfinite(replicates)]
    share = min(np.mean(known <= 0), np.mean(known >= 0))
    p = min(1.0, max(2 * float(share), 1 / len(known)))
    return Difference(one, other, one.value - other.value, low, high, p)


def _figure(record: Record) -> tuple[object, ...]:
    """What two records must agree in to be compared."""
    r = record
    return (r.task, r.data_set, r.split, r.metric, r.seed)


def _rows(records: Sequence[Record], name: str, folder: Path) -> list[Record]:
    # Points of curves would drown the figures of the task as it is.
    found = [r for r in records if name in (r.encoder, row_name(r)) and not r.condition]
    if not found:
        there = ", ".join(dict.fromkeys(row_name(r) for r in records))
        raise InputError(f"{folder}: holds no row '{name}'; there are {there}")
    return found
