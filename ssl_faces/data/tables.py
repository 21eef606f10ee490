"""Text files and CSV tables: the one reader of all that a user can give.

Columns of tables may be separated by commas, semicolons, tabs or bars, and named in capitals. The
text may be UTF-8 or UTF-16, with or without a byte order mark, as spreadsheets save it.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ssl_faces.common.csv_files import unescaped
from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import NOT_REGULAR

MEND = "mend or delete the line"

SEPARATORS = (",", ";", "\t", "|")

_SAVE_AS = "save it as UTF-8 text ('CSV UTF-8' in Excel)"

_BINARY = {
    b"PK\3\4": "an Excel workbook or another archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF",
}
"""First bytes of files that are given in place of a CSV file."""

_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""Byte order marks; those of UTF-32 before those of UTF-16, which begin alike."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


class _Open(NamedTuple):
    names: list[str]  # of the columns, lower case
    rows: Iterator[tuple[str, list[str]]]  # (`FILE, line N`, cells)


def header_of(path: Path) -> list[str]:
    """The column names in the first line, in lower case and without the spaces around them. Raises
    InputError: the file can't be read, or is not a text file."""
    with _opened(path) as table:
        return table.names


def has_columns(path: Path, *names: str) -> bool:
    """Whether a file is a table that has these columns."""
    try:
        return {name.lower() for name in names} <= set(header_of(path))
    except InputError:
        return False


def read_table(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table: where each is (`FILE, line N`), and its values by column.

    Columns may come in any order, and their names in any case; the values are under the names that
    were asked for. Other columns and empty rows are skipped. Values are stripped of the spaces
    around them.

    Raises:
        InputError: the file can't be read, a column of `required` is missing, or a row has another
            number of columns than the header; names file and line.
    """
    with _opened(path) as table:
        names = table.names
        for name in required:
            if name.lower() not in names:
                raise InputError(
                    f"{path}, line 1: column {name} is missing; the first line must name "
                    f"{', '.join(required)}, {described(names)}"
                )
        places = {}
        for name in (*required, *optional):
            if names.count(name.lower()) > 1:
                raise InputError(f"{path}, line 1: column {name} comes twice; delete one")
            if name.lower() in names:
                places[name] = names.index(name.lower())
        for where, row in table.rows:
            while len(row) > len(names) and not row[-1].strip():
                row.pop()
            if len(row) != len(names):
                raise InputError(f"{where}: {len(row)} columns instead of {len(names)}; {MEND}")
            yield where, {name: unescaped(row[place].strip()) for name, place in places.items()}


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in one of the encodings that tables may have. Raises InputError: the
    file can't be read, or is not a text file."""
    with _text(path) as stream:
        return stream.read().splitlines()


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each line with text is (`FILE, line N`), and the line without spaces around it. Raises
    InputError: as of `read_lines`."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def bad_line(where: str, line: str, expected: str) -> InputError:
    """The error for a line of an official file that is not what it should be."""
    return InputError(
        f"{where}: '{shorten(line)}' is not {expected}; mend the line or get the official file"
    )


def described(names: Sequence[str]) -> str:
    """What the first line of a table names, for a message that ends here."""
    if len(names) > 1:
        return f"and names {shorten(', '.join(names))}"
    return (
        f"and is one column, '{shorten(''.join(names))}'; separate columns by commas, semicolons "
        "or tabs"
    )


def file_in(text: str, *folders: Path) -> tuple[str, Path | None]:
    """A path that a table gives, and the file that it is below the first of `folders` to have it.

    Backslashes, as Windows writes them, become slashes where there is no file with them. The file
    is None where it is missing.
    """
    for name in dict.fromkeys((text, text.replace("\\", "/"))):
        for folder in folders:
            if os.path.isfile(folder / name):
                return name, folder / name
    return text, None


@contextmanager
def _opened(path: Path) -> Iterator[_Open]:
    with _text(path) as stream:
        first = stream.readline()
        skipped = 0
        stated = re.fullmatch(r"sep=(.)\s*", first, re.IGNORECASE | re.DOTALL)
        if stated:  # a line for Excel
            first, skipped = stream.readline(), 1
        separator = stated[1] if stated else _separator_of(first)
        names = [name.strip().lower() for name in next(_reader([first], separator), [])]
        while names and not names[-1]:  # empty columns of a spreadsheet
            names.pop()
        reader = _reader(stream, separator)
        rows = (
            (f"{path}, line {reader.line_num + skipped + 1}", row)
            for row in reader
            if any(cell.strip() for cell in row)
        )
        yield _Open(names, rows)


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    encoding = _encoding_of(path)
    try:
        with path.open(newline="", encoding=encoding) as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the path") from error
    except UnicodeError as error:
        raise InputError(f"{path} is not a text file: {_wrong(error)}; {_SAVE_AS}") from error
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file ({error}); {_SAVE_AS}") from error


def _reader(lines: Any, separator: str) -> Any:
    return csv.reader(lines, delimiter=separator)


def _separator_of(line: str) -> str:
    """What separates the most columns of a header line; of several the first of `SEPARATORS`."""
    return max(SEPARATORS, key=lambda separator: len(next(_reader([line], separator), [])))


def _encoding_of(path: Path) -> str:
    """The encoding that a text file's first bytes show; UTF-8 where they show none."""
    try:
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else NOT_REGULAR
            raise InputError(f"{path} is {what}; give a text file")
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the path") from error
    for start, what in _BINARY.items():
        if head.startswith(start):
            raise InputError(f"{path} is {what} and not a text file; {_SAVE_AS}")
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    # Without a mark: letters of ASCII are every other byte of UTF-16.
    if b"\0" in head:
        for encoding, zeros, letters in (
            ("utf-16-le", head[1::2], head[::2]),
            ("utf-16-be", head[::2], head[1::2]),
        ):
            if zeros.count(0) > len(zeros) // 2 and 0 not in letters:
                return encoding
        raise InputError(f"{path} is not a text file: it has zero bytes; {_SAVE_AS}")
    return "utf-8"


def _wrong(error: UnicodeError) -> str:
    if isinstance(error, UnicodeDecodeError) and error.encoding == "utf-8":
        byte = error.object[error.start]
        return f"byte 0x{byte:02x} is not UTF-8, and may be of Windows-1252 or Latin-1"
    return str(error)


def number_in(
    text: str, column: str, where: str, low: float = -math.inf, high: float = math.inf
) -> float:
    """`text` as a finite number from `low` to `high`; `0,5` counts as 0.5. Raises InputError: it is
    none; names column, file and line."""
    try:
        value = float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        span = f" from {low:g} to {high:g}" if math.isfinite(low) and math.isfinite(high) else ""
        raise InputError(f"{where}: {column} is '{shorten(text, 40)}', not a number{span}; {MEND}")
    return value


def whole_number_in(text: str, column: str, where: str, low: int, high: int) -> int:
    """`text` as a whole number from `low` to `high`. Raises InputError: it is none; names column,
    file and line."""
    value = number_in(text, column, where, low, high)
    if value != int(value):
        raise InputError(f"{where}: {column} is '{shorten(text, 40)}', not a whole number; {MEND}")
    return int(value)
