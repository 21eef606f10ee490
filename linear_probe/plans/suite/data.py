"""What pictures and labels a cell is scored on: one whose data have changed is done again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from linear_probe.plans.suite.settings import Cell
from ssl_faces import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.data import default_data_root

MEMORY = "data.json"
"""In a suite's folder: what was in each place when its files looked as they do."""

_OWN = ("train", "test", "train_csv", "test_csv", "pairs", "images")
_TABLES = ("train_csv", "test_csv")
_NAMED = ("data", "test_data")


class DataPrints:
    """SHA-256 of all files of folders, read once as long as names, sizes and times are the same.

    Args:
        out: the suite's folder, where that is remembered.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / MEMORY
        self._known: dict[str, list[str]] = {}
        self._now: dict[Path, str] = {}
        try:
            found = json.loads(self._path.read_bytes())
            self._known = {str(k): [str(one), str(other)] for k, (one, other) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            pass  # none yet, or spoilt: all is read again

    def of(self, cell: Cell) -> dict[str, str]:
        """What a cell's data are, by place.

        Raises:
            InputError: a file can't be read.
        """
        return {f"data {place}": self._of(place) for place in places(cell)}

    def _of(self, place: Path) -> str:
        if place not in self._now:
            looks, files = _looks(place)
            key = str(place.absolute())
            if self._known.get(key, [""])[0] != looks:
                self._known[key] = [looks, _content(place, files)]
                text = json.dumps(self._known, indent=2) + "\n"
                replace_file(self._path, text.encode())
            self._now[place] = self._known[key][1]
        return self._now[place]


def places(cell: Cell) -> list[Path]:
    """The files and folders that a cell reads pictures and labels from; of rendered faces and test
    beds none.

    Raises:
        InputError: its arguments can't be.
    """
    found: dict[Path, None] = {}
    for named in _named(cell):
        asked = default_data_root() if named is None else Path(named)
        if asked.exists():
            found[asked] = None
    return list(found)


def _named(cell: Cell) -> Iterator[str | None]:
    """As they are named; None is the usual place."""
    if cell.words[0] == "head":
        from linear_probe.experiments.job_files import read_job

        job, _, _ = read_job("head", cell.words[1:])
        for one in (job, *job.before):
            yield one.data
            if one.test_data is not None:
                yield one.test_data
        return
    from linear_probe.arguments import parser

    given: dict[str, Any] = vars(parser().parse_args(cell.words))
    own = [given[name] for name in _OWN if given[name] is not None]
    for name in _OWN:
        if given[name] is not None:
            # Pictures lie beside their table.
            yield str(Path(given[name]).parent) if name in _TABLES else given[name]
    if not own:
        yield given["data"]
    if given["test_data"] is not None:
        yield given["test_data"]


def _looks(place: Path) -> tuple[str, list[str]]:
    """Names, sizes and times of all files, as a hash; then the names."""
    digest = hashlib.sha256()
    files = sorted(_files(place))
    try:
        for name in files:
            about = (place / name).stat()
            digest.update(f"{name!r} {about.st_size} {about.st_mtime_ns}\n".encode())
    except OSError as error:
        raise InputError(f"{place}: can't be read ({error.strerror}: {name})") from error
    return digest.hexdigest(), files


def _files(place: Path) -> Iterator[str]:
    if place.is_file():
        yield ""
        return
    seen = set()
    for folder, inner, names in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to what it lies in
            inner.clear()
            continue
        seen.add(real)
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, place)


def _content(place: Path, files: list[str]) -> str:
    digest = hashlib.sha256()
    try:
        for name in tqdm(files, desc=f"looking at {place}", unit="files", leave=False):
            with (place / name).open("rb") as file:
                own = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{name!r} {own}\n".encode())
    except OSError as error:
        raise InputError(f"{place}: can't be read ({error.strerror}: {name})") from error
    return digest.hexdigest()


def with_data(cells: list[Cell], out: Path) -> list[Cell]:
    """The cells, whose inputs say what their data are, too.

    Raises:
        InputError: as of `places`, or a file can't be read.
    """
    prints = DataPrints(out)
    return [dataclasses.replace(cell, inputs={**cell.inputs, **prints.of(cell)}) for cell in cells]
