"""CSV tables with a header line, read row by row: what the adapters with label tables share."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from ssl_faces.csv_files import unescaped
from ssl_faces.errors import InputError

MEND = "mend or delete the line"


def header_of(path: Path) -> list[str]:
    """The column names in the first line of a CSV file, spaces around them stripped.

    Raises:
        InputError: the file can't be read, or is no text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return [name.strip() for name in next(csv.reader(stream), [])]
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the path") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV text file ({error}); get it anew") from error


def read_table(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file: where each is (`FILE, line N`), and its values by column.

    Columns may come in any order; others than the named ones are passed over, and so are blank
    lines. Values are stripped of the spaces around them.

    Raises:
        InputError: the file can't be read, a column of `required` is missing, or a row has another
            number of columns than the header; names file and line.
    """
    header = header_of(path)
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(
            f"{path}, line 1: column {missing[0]} is missing; the first line must name "
            f"{', '.join(required)}"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{path}, line 1: column {twice[0]} comes twice; delete one of the two")
    places = {name: header.index(name) for name in (*required, *optional) if name in header}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            next(reader)
            for row in reader:
                if not row:
                    continue
                where = f"{path}, line {reader.line_num}"
                if len(row) != len(header):
                    raise InputError(
                        f"{where}: {len(row)} columns instead of {len(header)}; {MEND}"
                    )
                yield where, {n: unescaped(row[at].strip()) for n, at in places.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV text file ({error}); get it anew") from error


def number_in(
    text: str, column: str, where: str, low: float = -math.inf, high: float = math.inf
) -> float:
    """`text` as a finite number from `low` to `high`.

    Raises:
        InputError: it is none; names column, file and line.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        span = f" from {low:g} to {high:g}" if math.isfinite(low) and math.isfinite(high) else ""
        raise InputError(f"{where}: {column} is '{text[:40]}', not a number{span}; {MEND}")
    return value


def whole_number_in(text: str, column: str, where: str, low: int, high: int) -> int:
    """`text` as a whole number from `low` to `high`.

    Raises:
        InputError: it is none; names column, file and line.
    """
    value = number_in(text, column, where, low, high)
    if value != int(value):
        raise InputError(f"{where}: {column} is '{text[:40]}', not a whole number; {MEND}")
    return int(value)
