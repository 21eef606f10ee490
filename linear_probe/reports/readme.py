"""Fills the marked tables and images of the project's pages from the archived records.

A page marks a table by `<!-- table: NAME -->` before it and `<!-- end of table -->` after it;
`checkpoints/tables.yaml` defines its rows and columns. Every row is made from archived records, but
for those that the file names under `unkept`, which the page marks by a dagger and explains below.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from linear_probe.records.published import PUBLISHED
from linear_probe.records.record import Record, read_records
from linear_probe.reports.archive import KeptComparison
from linear_probe.reports.page_tables import EXAMPLE, Column, Pages, Row, TableOf
from linear_probe.reports.text_tables import markdown_rows
from ssl_faces import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.yaml_settings import read_as

DAGGER = " †"
_END = "<!-- end of table -->"
_REGION = re.compile(r"<!-- table: ([^ ]+) -->\n(.*?)" + re.escape(_END), re.DOTALL)
_FIGURE = re.compile(r"(-?\d+\.\d+)\*?(?: ± \d+\.\d+)? \[(-?\d+\.\d+), (-?\d+\.\d+)\]")
_SAME_PIXELS = 2.0
"""Mean difference, of 255, up to which two renderings are equal: machines round differently."""


def fill(config: Path, check: bool = False) -> list[Path]:
    """Update all marked tables and images; the files that were stale.

    Args:
        config: in a folder of the project.
        check: write nothing.

    Raises:
        InputError: a file can't be read, a table is marked but not in the config or the other way
            round, records are missing, or a page has a figure that no record has.
    """
    settings = read_as(Pages, config, EXAMPLE)
    root = config.resolve().parent.parent
    stale, marked = [], set()
    for page in settings.pages:
        path = root / page
        text = _text(path, config)

        def filled(region: re.Match[str], path: Path = path) -> str:
            name = region[1]
            marked.add(name)
            if name in settings.comparisons:
                lines = markdown_rows(*KeptComparison(root / settings.comparisons[name]).table())
            elif name in settings.tables:
                source = f"{config}: tables.{name}"
                lines = _Filler(settings.tables[name], root, source).lines(region[2])
            else:
                raise InputError(f"{path}: table '{name}' is not in {config}; add it there")
            body = "\n".join(lines)
            return f"<!-- table: {name} -->\n\n{body}\n\n{_END}"

        new = _REGION.sub(filled, text)
        _check_rest(path, _REGION.sub("", text), [], config)
        if new != text:
            stale.append(path)
            if not check:
                replace_file(path, new.encode())
    unmarked = sorted({*settings.tables, *settings.comparisons} - marked)
    if unmarked:
        raise InputError(
            f"{config}: table '{unmarked[0]}' is marked in none of {', '.join(settings.pages)}; "
            f"put <!-- table: {unmarked[0]} --> and {_END} where it belongs"
        )
    for page, files in settings.reports.items():
        records = [record for file in files for record in _records(root / file)]
        _check_rest(root / page, _text(root / page, config), records, config)
    return stale + [p for name in settings.rendered if _stale_image(p := root / name, check)]


def _text(path: Path, config: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read ({error}); mend its name in {config}") from error


def _check_rest(path: Path, text: str, records: Sequence[Record], config: Path) -> None:
    """Raises InputError if a table of the text has a figure that is none of these records'."""
    known = {f"{r.value:.2f} {r.low:.2f} {r.high:.2f}" for r in records}
    for line in text.split("\n"):
        if not line.lstrip().startswith("|"):
            continue
        for figure in _FIGURE.finditer(line):
            if " ".join(figure.groups()) not in known:
                raise InputError(
                    f"{path}: a table has the figure {figure[0]}, which no archived record has; "
                    f"mark the table and add it to {config}, or write the page again"
                )


@dataclass(frozen=True)
class _Filler:
    """Makes the lines of one table.

    Attributes:
        source: where the table is defined, for messages.
    """

    table: TableOf
    root: Path
    source: str

    def lines(self, region: str) -> list[str]:
        """The table, and below it why rows have no records.

        Args:
            region: what the page has now.
        """
        table = self.table
        before = {label.removesuffix(DAGGER): cells for label, *cells in _rows_of(region)}
        labels = {row.label for row in table.rows}
        unknown = next((label for label in before if label not in labels), None)
        if unknown is not None:
            raise InputError(
                f"{self.source}: the page has a row '{unknown}' that is made from no records; add "
                "it to rows, or take it out of the page"
            )
        body = []
        for row in table.rows:
            if row.label in table.unkept:
                body.append([row.label + DAGGER, *self._unkept(row, before)])
            else:
                body.append([row.label, *(self._cell(row, column) for column in table.columns)])
        lines = markdown_rows([table.first, *(column.heading for column in table.columns)], body)
        for why in dict.fromkeys(table.unkept.values()):
            lines += ["", f"†: {why}"]
        return lines

    def _unkept(self, row: Row, before: dict[str, list[str]]) -> list[str]:
        """The cells that the page has of a row without records."""
        cells = before.get(row.label, [])
        if len(cells) != len(self.table.columns):
            raise InputError(
                f"{self.source}: {row.label}: unkept, and the page has no row of "
                f"{len(self.table.columns)} figures by that name; write it there"
            )
        if any(self._fitting(row, column) for column in self.table.columns):
            raise InputError(f"{self.source}: {row.label}: has records now; take it out of unkept")
        return cells

    def _cell(self, row: Row, column: Column) -> str:
        texts = self._texts(row, column)
        if column.heading in row.empty and texts:
            raise InputError(
                f"{self.source}: {row.label}, {column.heading}: has a record; not empty"
            )
        if column.heading not in row.empty and len(texts) != 1:
            raise InputError(
                f"{self.source}: {row.label}, {column.heading}: {len(texts)} records; a cell needs "
                "one: mend its row or column, or name task, data_set and probe"
            )
        return texts[0] if texts else ""

    def _texts(self, row: Row, column: Column) -> list[str]:
        if row.published is not None:
            if column.heading in row.empty:  # published figures stand beside one probe only
                return []
            return [
                f"{theirs.values[column.metric]:.2f}"
                for theirs in PUBLISHED.get(column.data_set or "", [])
                if theirs.name == row.published and column.metric in theirs.values
            ]
        if self._comparison is not None and row.method is not None:
            text = self._comparison.cell(row.method, column.metric, column.task, column.probe)
            return [] if text is None else [text]
        return [
            f"{r.value:.2f}{'*' if self.table.edges and r.at_grid_edge else ''} "
            f"[{r.low:.2f}, {r.high:.2f}]"
            for r in self._fitting(row, column)
        ]

    def _fitting(self, row: Row, column: Column) -> list[Record]:
        return [
            r
            for r in self._records
            if (r.encoder, r.metric) == (row.encoder, column.metric)
            and row.feature_space in (None, r.feature_space)
            and column.task in (None, r.task)
            and column.data_set in (None, r.data_set)
            # Predicting the mean has a separate probe.
            and (column.probe in (None, r.probe) or not r.feature_space)
            and not r.condition
        ]

    @cached_property
    def _records(self) -> list[Record]:
        """Those of all files; of equal keys the first, such as where it was scored twice."""
        by_key: dict[tuple[str | int, ...], Record] = {}
        for file in self.table.records:
            for record in _records(self.root / file):
                by_key.setdefault(record.key, record)
        return list(by_key.values())

    @cached_property
    def _comparison(self) -> KeptComparison | None:
        table = self.table
        return KeptComparison(self.root / table.comparison) if table.comparison else None


def _rows_of(region: str) -> list[list[str]]:
    """The cells of the rows that the page has now, below heading and rule."""
    lines = [line.strip() for line in region.split("\n") if line.strip().startswith("|")]
    # One bar at each end of the line: a cell may be empty.
    rows = [line.removeprefix("|").removesuffix("|").split("|") for line in lines[2:]]
    return [[cell.strip() for cell in cells] for cells in rows]


def _records(path: Path) -> list[Record]:
    if path.suffix != ".json":
        return read_records(path)
    try:
        kept: list[dict[str, Any]] = json.loads(path.read_text())["records"]
        return [Record.from_json(json.dumps(fields)) for fields in kept]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: no card with records ({error}); `linear-probe card` puts them there"
        ) from error


def _stale_image(path: Path, check: bool) -> bool:
    """Whether a sheet of rendered faces differs from what the code draws; it is then replaced."""
    from ssl_faces.rendered.cli import run as render

    with TemporaryDirectory() as folder:
        sheet = Path(folder) / "sheet.png"
        render(["--sheet", str(sheet)])
        kept, drawn = _pixels(path), _pixels(sheet)
        if kept.shape == drawn.shape and np.abs(kept - drawn).mean() <= _SAME_PIXELS:
            return False
        if not check:
            replace_file(path, sheet.read_bytes())
    return True


def _pixels(path: Path) -> np.ndarray:
    """[H, W, 3] from 0 to 255; empty if it is no image."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB")).astype(float)
    except OSError:
        return np.zeros(0)
