"""The parts of a report's page: tables, plots and mistakes under headings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from linear_probe.reports.plots import Key
from linear_probe.reports.text_tables import Table


class Plot(NamedTuple):
    """A picture with its caption and legend."""

    title: str
    svg: str
    small: str = ""
    keys: Sequence[Key] = ()


class ShownMistake(NamedTuple):
    """A mistake of a gallery; its images are data URIs, or None if not found."""

    text: str
    keys: list[str]
    pictures: list[str | None]


@dataclass
class Part:
    """A part of a section: what it has of plots, tables, a gallery and notes, in this order.

    Attributes:
        heading: above it; parts without one belong to the part before.
        summary: if given, the part is folded, with this text to click; `open` unfolds it.
        kind: of the tables: `sortable`, `confusion` or `plain`.
        keys: the legend of all its plots.
    """

    heading: str = ""
    summary: str = ""
    open: bool = False
    plots: Sequence[Plot] = ()
    keys: Sequence[Key] = ()
    tables: Sequence[Table] = ()
    kind: Literal["sortable", "confusion", "plain"] = "sortable"
    gallery_title: str = ""
    gallery: list[ShownMistake] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Section:
    """One task on one data set and split; empty parts are not shown."""

    task: str
    title: str
    split: str
    parts: list[Part] = field(default_factory=list)
