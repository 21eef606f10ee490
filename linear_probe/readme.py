"""Fills the marked tables and pictures of the project's pages from the records that are kept.

A page marks a table by `<!-- table: NAME -->` before it and `<!-- end of table -->` behind it; what
it is made of stands in `checkpoints/tables.yaml`. A row without kept records stays as it is.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from linear_probe.record import Record, read_records
from linear_probe.text_tables import markdown_rows
from ssl_faces import InputError
from ssl_faces.compare.settings import Name, Strict, read_as
from ssl_faces.files import replace_file

EXAMPLE = "checkpoints/tables.yaml"
_END = "<!-- end of table -->"
_REGION = re.compile(r"<!-- table: ([^ ]+) -->\n(.*?)" + re.escape(_END), re.DOTALL)
_SAME_PIXELS = 2.0
"""Mean difference of 255 up to which two renderings are the same: machines round differently."""


class Column(Strict):
    """Which figure of a row's encoder.

    Attributes:
        heading: of the column.
        metric: of the record.
        task, data_set, probe: of it too, where there are several.
    """

    heading: str
    metric: str
    task: str | None = None
    data_set: str | None = None
    probe: str | None = None


class Row(Strict):
    """Whose figures: an encoder's name in the records, and its feature space."""

    label: str
    encoder: str
    feature_space: str


class TableOf(Strict):
    """A table of figures.

    Attributes:
        records: files of records: `.jsonl`, or a released encoder's `card.json`.
        first: heading of the rows' names.
        rows: by which label which figures; other rows that the page has stay, in their order.
        edges: mark by `*` what was chosen at the edge of its grid.
    """

    records: list[str] = Field(min_length=1)
    first: str
    columns: list[Column] = Field(min_length=1)
    rows: list[Row] = Field(min_length=1)
    edges: bool = False


class Pages(Strict):
    """The file.

    Attributes:
        pages: that have marked tables, from the project's folder.
        tables: by name.
        rendered: pictures of rendered faces, as `ssl-faces render --sheet` makes them.
    """

    pages: list[str] = Field(min_length=1)
    tables: dict[Name, TableOf] = Field(default_factory=dict)
    rendered: list[str] = Field(default_factory=list)


def fill(config: Path, check: bool = False) -> list[Path]:
    """Make all marked tables and pictures anew; those files that were stale.

    Args:
        config: in a folder of the project's.
        check: only look.

    Raises:
        InputError: a file can't be read, a table is marked that the config doesn't have or the
            other way round, or records are missing.
    """
    settings = read_as(Pages, config, EXAMPLE)
    root = config.resolve().parent.parent
    stale, found = [], set()
    for page in settings.pages:
        path = root / page
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: can't be read ({error}); mend `pages` in {config}"
            ) from error

        def filled(region: re.Match[str], path: Path = path) -> str:
            name = region[1]
            found.add(name)
            if name not in settings.tables:
                raise InputError(f"{path}: table '{name}' is not in {config}; add it there")
            lines = _figures(settings.tables[name], root, region[2], f"{config}: tables.{name}")
            body = "\n".join(lines)
            return f"<!-- table: {name} -->\n\n{body}\n\n{_END}"

        anew = _REGION.sub(filled, text)
        if anew != text:
            stale.append(path)
            if not check:
                replace_file(path, anew.encode())
    unmarked = sorted({*settings.tables} - found)
    if unmarked:
        raise InputError(
            f"{config}: table '{unmarked[0]}' is marked in none of {', '.join(settings.pages)}; "
            f"put <!-- table: {unmarked[0]} --> and {_END} where it belongs"
        )
    return stale + [p for name in settings.rendered if _picture(p := root / name, check)]


def _figures(table: TableOf, root: Path, region: str, source: str) -> list[str]:
    records = [record for file in table.records for record in _records(root / file)]
    made = {
        row.label: [_cell(records, row, c, table.edges, source) for c in table.columns]
        for row in table.rows
    }
    header = [table.first, *(column.heading for column in table.columns)]
    body: list[list[str]] = []
    for label, *cells in _rows_of(region):
        body.append([label, *made.pop(label)] if label in made else [label, *cells])
    body += [[label, *cells] for label, cells in made.items()]
    if any(len(row) != len(header) for row in body):
        raise InputError(f"{source}: a row of the page has not its {len(header)} columns; mend it")
    return markdown_rows(header, body)


def _cell(records: list[Record], row: Row, column: Column, edges: bool, source: str) -> str:
    fitting = [
        r
        for r in records
        if (r.encoder, r.feature_space, r.metric) == (row.encoder, row.feature_space, column.metric)
        and column.task in (None, r.task)
        and column.data_set in (None, r.data_set)
        and column.probe in (None, r.probe)
        and not r.condition
    ]
    if len(fitting) != 1:
        raise InputError(
            f"{source}: {row.label}, {column.heading}: {len(fitting)} records; a cell needs one: "
            "mend its row or column, or name task, data_set and probe"
        )
    record = fitting[0]
    mark = "*" if edges and record.at_grid_edge else ""
    return f"{record.value:.2f}{mark} [{record.low:.2f}, {record.high:.2f}]"


def _rows_of(region: str) -> list[list[str]]:
    """The cells of the rows that the page has now, below heading and rule."""
    lines = [line.strip() for line in region.split("\n") if line.strip().startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _records(path: Path) -> list[Record]:
    if path.suffix != ".json":
        return read_records(path)
    try:
        kept: list[dict[str, Any]] = json.loads(path.read_text())["records"]
        return [Record.from_json(json.dumps(one)) for one in kept]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: no card with records ({error}); `linear-probe card` puts them there"
        ) from error


def _picture(path: Path, check: bool) -> bool:
    """Whether a sheet of rendered faces is another than the code draws, which it then is not
    any more."""
    from ssl_faces.data.rendered.cli import run as render

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
    """[H, W, 3] from 0 to 255; of what is no picture, nothing."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB")).astype(float)
    except OSError:
        return np.zeros(0)
