"""Rows of tables from records: one for each feature space and probe, over all seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from linear_probe.record import Record


@dataclass
class Row:
    """A row of a table.

    Attributes:
        encoder, space: as in `Record`.
        probe: as in `Record`, where several probes give the same metric of one space; else empty.
        figures: by metric, one record for each seed.
    """

    encoder: str
    space: str
    probe: str = ""
    figures: dict[str, list[Record]] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        return sorted({record.seed for found in self.figures.values() for record in found})

    @property
    def n(self) -> str:
        """How many test rows, in words: those of the first metric."""
        counts = sorted({record.n for record in next(iter(self.figures.values()))})
        return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def rows(records: Sequence[Record]) -> list[Row]:
    """Rows of records of one task, data set and split, in the records' order."""
    probes: dict[tuple[str, str, str], set[str]] = {}
    for r in records:
        probes.setdefault((r.encoder, r.feature_space, r.metric), set()).add(r.probe)
    contested = {probe for found in probes.values() if len(found) > 1 for probe in found}
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for record in records:
        space = found.setdefault((record.encoder, record.feature_space), {})
        if record.probe in contested:
            # A row that began with uncontested figures is the first contested probe's.
            if "" in space:
                space[record.probe] = space.pop("")
                space[record.probe].probe = record.probe
            name = record.probe
        else:
            name = next(iter(space), "")
        row = space.setdefault(name, Row(record.encoder, record.feature_space, name))
        row.figures.setdefault(record.metric, []).append(record)
    return [row for space in found.values() for row in space.values()]


def cell(records: Sequence[Record], interval: bool = True) -> str:
    """A figure over seeds as text: mean, standard deviation over the seeds, mean interval.

    Args:
        records: of one figure, one for each seed.
        interval: show the mean of the seeds' intervals too.
    """

    def mean(of: Callable[[Record], float]) -> float:
        return fmean(map(of, records))

    text = f"{mean(lambda r: r.value):.2f}"
    if any(record.at_grid_edge for record in records):
        text += "*"
    if len(records) > 1:
        text += f" ±{stdev(record.value for record in records):.2f}"
    if interval:
        text += f" [{mean(lambda r: r.low):.2f}, {mean(lambda r: r.high):.2f}]"
    return text


def seeds_in_words(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
