"""Fills the marked tables and images of the project's pages from the archived records.

A page marks a table by `<!-- table: NAME -->` before it and `<!-- end of table -->` after it;
`checkpoints/tables.yaml` defines its rows and columns. Every row is made from archived records, but
for those that the file gives as texts, since their records were not archived.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from linear_probe.records.published import PUBLISHED
from linear_probe.records.record import Record, read_records
from linear_probe.reports.archive import kept_lines
from linear_probe.reports.comparison import Line
from linear_probe.reports.comparison_table import cell_of, pivot
from linear_probe.reports.page_tables import EXAMPLE, Column, Pages, Row, TableOf
from linear_probe.reports.text_tables import markdown_rows
from ssl_faces import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.yaml_settings import read_as

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
                lines = markdown_rows(*pivot(kept_lines(root / settings.comparisons[name])))
            elif name in settings.tables:
                lines = _lines(settings.tables[name], root, f"{config}: tables.{name}")
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


def _lines(table: TableOf, root: Path, source: str) -> list[str]:
    """The lines of a table; `source` names it in messages."""
    lines = kept_lines(root / table.comparison) if table.comparison else []
    by_key: dict[tuple[str | int, ...], Record] = {}
    for file in table.records:
        for record in _records(root / file):
            by_key.setdefault(record.key, record)
    body = []
    for row in table.rows:
        cells = [row.label]
        for number, column in enumerate(table.columns):
            if row.cells is not None:
                texts = [row.cells[number]]
            elif row.published is not None:
                texts = _published(row, column)
            elif row.method is not None:
                texts = _compared(row, column, lines)
            else:
                texts = _recorded(row, column, by_key.values(), table.edges)
            where = f"{source}: {row.label}, {column.heading}"
            empty = column.heading in row.empty
            if empty and texts:
                raise InputError(f"{where}: has a record; not empty")
            if not empty and len(texts) != 1:
                raise InputError(
                    f"{where}: {len(texts)} records; a cell needs one: mend its row or column, or "
                    "name task, data_set and probe"
                )
            cells.append(texts[0] if texts else "")
        body.append(cells)
    made = markdown_rows([table.first, *(column.heading for column in table.columns)], body)
    return [*made, "", table.note] if table.note else made


def _published(row: Row, column: Column) -> list[str]:
    if column.heading in row.empty:  # published figures stand beside one probe only
        return []
    return [
        f"{theirs.values[column.metric]:.2f}"
        for theirs in PUBLISHED.get(column.data_set or "", [])
        if theirs.name == row.published and column.metric in theirs.values
    ]


def _compared(row: Row, column: Column, lines: Sequence[Line]) -> list[str]:
    return [
        str(cell_of(line, with_edge=False))
        for line in lines
        if (line["method"], line["metric"]) == (row.method, column.metric)
        and column.task in (None, line["task"])
        and column.probe in (None, line["probe"])
    ]


def _recorded(row: Row, column: Column, records: Iterable[Record], edges: bool) -> list[str]:
    return [
        f"{r.value:.2f}{'*' if edges and r.at_grid_edge else ''} [{r.low:.2f}, {r.high:.2f}]"
        for r in records
        if (r.encoder, r.metric) == (row.encoder, column.metric)
        and row.feature_space in (None, r.feature_space)
        and column.task in (None, r.task)
        and column.data_set in (None, r.data_set)
        # Predicting the mean has a separate probe.
        and (column.probe in (None, r.probe) or not r.feature_space)
        and not r.condition
    ]


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
