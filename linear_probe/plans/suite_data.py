"""Hashes of the data of a suite's cells: a cell whose data have changed runs again."""

from __future__ import annotations

import hashlib
import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from linear_probe.arguments import add_arguments
from linear_probe.experiments.settings import ProbeSettings
from ssl_faces import InputError
from ssl_faces.common.arguments import Parser
from ssl_faces.data import default_data_root

_OWN = ("train", "test", "train_csv", "test_csv", "pairs", "images")
_TABLES = ("train_csv", "test_csv")


def data_hashes(words: Sequence[str]) -> dict[str, str]:
    """Hashes of the names, sizes and times of the files that a `linear-probe` command reads.

    Raises:
        InputError: invalid arguments, or a folder can't be read.
    """
    return {f"data {place}": _hash(place) for place in places(words)}


def places(words: Sequence[str]) -> list[Path]:
    """Files and folders with the images and labels of a `linear-probe` command; of rendered faces
    none.

    Raises:
        InputError: invalid arguments.
    """
    roots = (default_data_root() if name is None else Path(name) for name in _named(words))
    return list(dict.fromkeys(root for root in roots if root.exists()))


def run_arguments(words: Sequence[str]) -> Namespace:
    """The arguments of `linear-probe run`, read from a cell's words.

    Raises:
        InputError: bad arguments.
    """
    reader = Parser(prog="linear-probe run")
    add_arguments(reader, ProbeSettings)
    reader.add_argument("--out", required=True)
    return reader.parse_args(words)


def _named(words: Sequence[str]) -> Iterator[str | None]:
    """As the arguments name them; None is the default folder."""
    if words[0] == "head":
        from linear_probe.experiments.job_files import read_job

        job, _, _ = read_job("head", words[1:])
        for stage in (job.last_stage, *job.before):
            if stage.train_csv is not None:  # images lie beside their table
                yield from (str(Path(path).parent) for path in (stage.train_csv, stage.test_csv))
                continue
            yield stage.data
            if stage.test_data is not None:
                yield stage.test_data
        return
    arguments = vars(run_arguments(words[1:]))
    own = {name: arguments[name] for name in _OWN if arguments[name] is not None}
    for name, value in own.items():
        # Images lie beside their table.
        yield str(Path(value).parent) if name in _TABLES else value
    if not own:
        yield arguments["data"]
    if arguments["test_data"] is not None:
        yield arguments["test_data"]


@lru_cache
def _hash(place: Path) -> str:
    """Once a process, however many cells read the place."""
    digest = hashlib.sha256()
    try:
        for name in sorted(_files(place)):
            about = (place / name).stat()
            digest.update(f"{name!r} {about.st_size} {about.st_mtime_ns}\n".encode())
    except OSError as error:
        raise InputError(f"{place}: can't be read ({error.strerror}: {error.filename})") from error
    return digest.hexdigest()


def _files(place: Path) -> Iterator[str]:
    if place.is_file():
        yield ""
        return
    seen = set()
    for folder, inner, names in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder that contains it
            inner.clear()
            continue
        seen.add(real)
        paths = (os.path.join(folder, name) for name in names)
        yield from (os.path.relpath(path, place) for path in paths if os.path.isfile(path))
