"""Is one encoder better than another? Paired bootstrap of the difference, on the same test rows.

Both figures' replicates come from the same draws of the same test rows, so that the replicates of
the difference are the differences of the replicates, whatever the metric. What is hard for both
(a difficult image, a difficult person) cancels out, which two intervals side by side can't show.
Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linear_probe.records.collect import find_records, replicates_of, rows_named
from linear_probe.records.record import Record
from linear_probe.stats.intervals import few_people_in
from linear_probe.stats.over_seeds import Estimate, Gap, gap
from ssl_faces import InputError

USUAL_PROBES = ("logistic regression", "ridge regression", "kNN", "cosine similarity", "none")
"""Probes that follow from the task and the metric."""


@dataclass(frozen=True)
class Difference(Gap):
    """One figure less another, of the same metric, seed and test rows.

    Attributes:
        one, other: the figures compared, as tables name them.
    """

    one: Record
    other: Record

    def __str__(self) -> str:
        metric = f"{self.one.task}, {self.one.metric}"
        metric += f", {self.one.probe}" if self.one.probe not in USUAL_PROBES else ""
        metric += f", seed {self.one.seed}" if self.one.seed else ""
        unit = {"%": " points", "": ""}.get(self.one.unit, f" {self.one.unit}")
        end = f"p = {self.p:.3f}"
        end += "".join(f" ({note})" for note in few_people_in((self.one.note, self.other.note)))
        rows = [self.one.row_name, self.other.row_name]
        if not self.significant:
            return (
                f"{metric}: {rows[0]} and {rows[1]} are not significantly different: "
                f"{self.value:+.2f}{unit} [{self.low:+.2f}, {self.high:+.2f}], {end}"
            )
        if (self.value > 0) != self.one.higher_is_better:
            rows.reverse()
        low, high = sorted((abs(self.low), abs(self.high)))
        return (
            f"{metric}: {rows[0]} better than {rows[1]} by {abs(self.value):.2f}{unit} "
            f"[{low:.2f}, {high:.2f}], {end}"
        )


def compare(folder: str | Path, one: str, other: str) -> list[Difference]:
    """Every figure of `one` less that of `other`, in the order of the records.

    Args:
        folder: what `linear-probe run` wrote.
        one, other: rows as ENCODER or ENCODER=SPACE, by the name in tables or as scored. If no
            space is named and both have the same spaces, each space is compared with itself, else
            every space of one with all of the other.

    Raises:
        InputError: no such row, nothing in common, or the test rows are not the same.
    """
    found = find_records([folder])
    replicates = replicates_of(found)
    ones, others = ([each.record for each in rows_named(found, name)] for name in (one, other))
    spaces = {r.row_name for f in found for r in (f.record, f.stored) if r.feature_space}
    shared = {r.feature_space for r in ones} & {r.feature_space for r in others}
    same_space = bool(shared) and one not in spaces and other not in spaces
    differences = []
    for a in ones:
        for b in others:
            # Predicting the mean is no probe, and every probe should beat it.
            same_probe = a.probe == b.probe or "none" in (a.probe, b.probe)
            same_spaces = a.feature_space == b.feature_space or not same_space
            if _figure(a) != _figure(b) or not same_probe or not same_spaces:
                continue
            for record in (a, b):
                if record.key not in replicates:
                    raise InputError(
                        f"{folder}: no bootstrap replicates of {record.row_name}, "
                        f"{record.metric}; run `linear-probe run --out {folder}` again"
                    )
            if a.sample != b.sample:
                raise InputError(
                    f"{folder}: {a.row_name} and {b.row_name} were not scored on the same test "
                    f"rows of {a.data_set}; run both again into one folder"
                )
            differences.append(difference(a, b, replicates[a.key], replicates[b.key]))
    if not differences:
        raise InputError(f"{folder}: '{one}' and '{other}' have no figure in common")
    return differences


def difference(one: Record, other: Record, of_one: np.ndarray, of_other: np.ndarray) -> Difference:
    """`one` less `other`, by their replicates [B] from the same draws."""
    replicates = {one.key: of_one, other.key: of_other}
    first, second = (Estimate.of([record], replicates) for record in (one, other))
    return Difference(**vars(gap(first, second)), one=one, other=other)


def _figure(record: Record) -> tuple[object, ...]:
    """What two records must agree in to be compared."""
    r = record
    return (r.task, r.data_set, r.split, r.metric, r.seed)
