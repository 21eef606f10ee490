"""Fills the marked tables and pictures of the project's pages from the records that are kept.

A page marks a table by `<!-- table: NAME -->` before it and `<!-- end of table -->` behind it; what
it is made of stands in `checkpoints/tables.yaml`. Every row is made of kept records, but for those
that the file names under `unkept`, which the page marks by a dagger and says why below.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from linear_probe.records.archive import KeptComparison
from linear_probe.records.published import PUBLISHED
from linear_probe.records.record import Record, read_records
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
"""Mean difference of 255 up to which two renderings are the same: machines round differently."""


def fill(config: Path, check: bool = False) -> list[Path]:
    """Make all marked tables and pictures anew; those files that were stale.

    Args:
        config: in a folder of the project's.
        check: only look.

    Raises:
        InputError: a file can't be read, a table is marked that the config doesn't have or the
            other way round, records are missing, or a page has a figure that no record has.
    """
    settings = read_as(Pages, config, EXAMPLE)
    root = config.resolve().parent.parent
    stale, found = [], set()
    for page in settings.pages:
        path = root / page
        text = _text(path, config)

        def filled(region: re.Match[str], path: Path = path) -> str:
            name = region[1]
            found.add(name)
            if name in settings.comparisons:
                lines = markdown_rows(*KeptComparison(root / settings.comparisons[name]).table())
            elif name in settings.tables:
                source = f"{config}: tables.{name}"
                lines = _figures(settings.tables[name], root, region[2], source)
            else:
                raise InputError(f"{path}: table '{name}' is not in {config}; add it there")
            body = "\n".join(lines)
            return f"<!-- table: {name} -->\n\n{body}\n\n{_END}"

        anew = _REGION.sub(filled, text)
        _check_rest(path, _REGION.sub("", text), [], config)
        if anew != text:
            stale.append(path)
            if not check:
                replace_file(path, anew.encode())
    unmarked = sorted({*settings.tables, *settings.comparisons} - found)
    if unmarked:
        raise InputError(
            f"{config}: table '{unmarked[0]}' is marked in none of {', '.join(settings.pages)}; "
            f"put <!-- table: {unmarked[0]} --> and {_END} where it belongs"
        )
    for page, files in settings.reports.items():
        records = [record for file in files for record in _records(root / file)]
        _check_rest(root / page, _text(root / page, config), records, config)
    return stale + [p for name in settings.rendered if _picture(p := root / name, check)]


def _text(path: Path, config: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read ({error}); mend its name in {config}") from error


def _check_rest(path: Path, text: str, records: Sequence[Record], config: Path) -> None:
    """That each figure in the tables of a text is one of these records'.

    Raises:
        InputError: it is not.
    """
    known = {f"{r.value:.2f} {r.low:.2f} {r.high:.2f}" for r in records}
    for line in text.split("\n"):
        if not line.lstrip().startswith("|"):
            continue
        for figure in _FIGURE.finditer(line):
            if " ".join(figure.groups()) not in known:
                raise InputError(
                    f"{path}: a table has the figure {figure[0]}, which is no kept record's; mark "
                    f"the table and add it to {config}, or write the page anew"
                )


def _figures(table: TableOf, root: Path, region: str, source: str) -> list[str]:
    """The lines of a table, and below it of what no records were kept."""
    records = _of_files(root, table.records)
    compared = KeptComparison(root / table.comparison) if table.comparison else None
    header = [table.first, *(column.heading for column in table.columns)]
    before = {label.removesuffix(DAGGER): cells for label, *cells in _rows_of(region)}
    stranger = next((x for x in before if x not in {row.label for row in table.rows}), None)
    if stranger is not None:
        raise InputError(
            f"{source}: the page has a row '{stranger}' which is made of no records; add it to "
            "rows, or take it out of the page"
        )
    body = []
    for row in table.rows:
        if row.label in table.unkept:
            body.append([row.label + DAGGER, *_unkept(row, table, records, before, source)])
        else:
            cells = [_cell(records, compared, row, c, table.edges, source) for c in table.columns]
            body.append([row.label, *cells])
    lines = markdown_rows(header, body)
    for why in dict.fromkeys(table.unkept.values()):
        lines += ["", f"†: {why}"]
    return lines


def _unkept(
    row: Row, table: TableOf, records: list[Record], before: dict[str, list[str]], source: str
) -> list[str]:
    """The cells that the page has of a row without records."""
    cells = before.get(row.label, [])
    if len(cells) != len(table.columns):
        raise InputError(
            f"{source}: {row.label}: unkept, and the page has no row of {len(table.columns)} "
            "figures by that name; write it there"
        )
    if any(_fitting(records, row, column) for column in table.columns):
        raise InputError(f"{source}: {row.label}: has records now; take it out of unkept")
    return cells


def _cell(
    records: list[Record],
    compared: KeptComparison | None,
    row: Row,
    column: Column,
    edges: bool,
    source: str,
) -> str:
    texts = []
    if row.published is not None:
        values = [
            theirs.values[column.metric]
            for theirs in PUBLISHED.get(column.data_set or "", [])
            if theirs.name == row.published and column.metric in theirs.values
        ]
        if column.heading in row.empty:  # said once, of the probe that is next to theirs
            values = []
        texts = [f"{value:.2f}" for value in values]
    elif compared is not None and row.method is not None:
        text = compared.cell(row.method, column.metric, column.task, column.probe)
        texts = [] if text is None else [text]
    else:
        for record in _fitting(records, row, column):
            mark = "*" if edges and record.at_grid_edge else ""
            texts.append(f"{record.value:.2f}{mark} [{record.low:.2f}, {record.high:.2f}]")
    if column.heading in row.empty and texts:
        raise InputError(f"{source}: {row.label}, {column.heading}: has a record; not empty")
    if column.heading not in row.empty and len(texts) != 1:
        raise InputError(
            f"{source}: {row.label}, {column.heading}: {len(texts)} records; a cell needs one: "
            "mend its row or column, or name task, data_set and probe"
        )
    return texts[0] if texts else ""


def _fitting(records: list[Record], row: Row, column: Column) -> list[Record]:
    return [
        r
        for r in records
        if (r.encoder, r.metric) == (row.encoder, column.metric)
        and row.feature_space in (None, r.feature_space)
        and column.task in (None, r.task)
        and column.data_set in (None, r.data_set)
        # Predicting the mean has a probe of its own.
        and (column.probe in (None, r.probe) or not r.feature_space)
        and not r.condition
    ]


def _rows_of(region: str) -> list[list[str]]:
    """The cells of the rows that the page has now, below heading and rule."""
    lines = [line.strip() for line in region.split("\n") if line.strip().startswith("|")]
    # Of the line's own ends one each: a cell may be empty.
    found = [line.removeprefix("|").removesuffix("|").split("|") for line in lines[2:]]
    return [[cell.strip() for cell in cells] for cells in found]


def _of_files(root: Path, files: Sequence[str]) -> list[Record]:
    """Their records; where several have the same figure, such as scored again elsewhere, that of
    the first."""
    by_key: dict[tuple[str | int, ...], Record] = {}
    for file in files:
        for record in _records(root / file):
            by_key.setdefault(record.key, record)
    return list(by_key.values())


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
    """[H, W, 3] from 0 to 255; of what is no picture, nothing."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB")).astype(float)
    except OSError:
        return np.zeros(0)
