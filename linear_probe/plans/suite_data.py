"""Hashes of the images and labels of a suite's cells: a cell whose data have changed runs again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from ssl_faces import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.data import default_data_root

MEMORY = "data.json"
"""In a suite's folder: hashes of each place, by the names, sizes and times of its files."""

_OWN = ("train", "test", "train_csv", "test_csv", "pairs", "images")
_TABLES = ("train_csv", "test_csv")


class DataPrints:
    """SHA-256 of all files of folders, read once while names, sizes and times stay the same.

    Args:
        out: the suite's folder, which keeps the hashes.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / MEMORY
        self._known: dict[str, list[str]] = {}
        self._now: dict[Path, str] = {}
        try:
            content = json.loads(self._path.read_bytes())
            self._known = {
                str(k): [str(seen), str(hashed)] for k, (seen, hashed) in content.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            pass  # none yet, or damaged: all is read again

    def of(self, words: Sequence[str]) -> dict[str, str]:
        """Hashes of the data of a `linear-probe` command, by place.

        Raises:
            InputError: a file can't be read.
        """
        return {f"data {place}": self._of(place) for place in places(words)}

    def _of(self, place: Path) -> str:
        if place not in self._now:
            try:
                files = sorted(_files(place))
                seen = hashlib.sha256()
                for name in files:
                    about = (place / name).stat()
                    seen.update(f"{name!r} {about.st_size} {about.st_mtime_ns}\n".encode())
                key = str(place.absolute())
                if self._known.get(key, [""])[0] != seen.hexdigest():
                    self._known[key] = [seen.hexdigest(), _content(place, files)]
                    text = json.dumps(self._known, indent=2) + "\n"
                    replace_file(self._path, text.encode())
            except OSError as error:
                raise InputError(
                    f"{place}: can't be read ({error.strerror}: {error.filename})"
                ) from error
            self._now[place] = self._known[key][1]
        return self._now[place]


def places(words: Sequence[str]) -> list[Path]:
    """Files and folders with the images and labels of a `linear-probe` command; of rendered faces
    none.

    Raises:
        InputError: invalid arguments.
    """
    roots = (default_data_root() if name is None else Path(name) for name in _named(words))
    return list(dict.fromkeys(root for root in roots if root.exists()))


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
    from linear_probe.parser import parser

    arguments = vars(parser().parse_args(words))
    own = {name: arguments[name] for name in _OWN if arguments[name] is not None}
    for name, value in own.items():
        # Images lie beside their table.
        yield str(Path(value).parent) if name in _TABLES else value
    if not own:
        yield arguments["data"]
    if arguments["test_data"] is not None:
        yield arguments["test_data"]


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


def _content(place: Path, files: list[str]) -> str:
    digest = hashlib.sha256()
    for name in tqdm(files, desc=f"hashing {place}", unit="files", leave=False):
        with (place / name).open("rb") as file:
            own = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name!r} {own}\n".encode())
    return digest.hexdigest()
