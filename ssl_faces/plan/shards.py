"""The shards of a command as steps of a plan."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ssl_faces.common.arguments import as_place
from ssl_faces.common.children import Stopped
from ssl_faces.common.errors import InputError
from ssl_faces.common.shards import Shard, shards_folder
from ssl_faces.plan.cluster.resources import Resources
from ssl_faces.plan.command import run_plan
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.steps import Step
from ssl_faces.prepare.sources import list_sources, version_of

_OWN = ("--shards", "--jobs", "--executor", "--address")
"""Options of the whole, not of its shards."""


def run(
    command: Sequence[str],
    out: Path,
    count: int,
    result: Callable[[Path, Shard], Path],
    gpus: int | None,
    settings: Mapping[str, Any],
) -> None:
    """Run all shards that are not done; arguments and errors as of `run_shards`.

    Args:
        settings: of `run_plan`.
    """
    words = list(_without(command, _OWN))
    folder = shards_folder(out)

    def work(engine: Engine) -> int:
        inputs = content_of(words[2:], out)
        engine.begin(inputs=inputs, shards=count)
        engine.run(_steps(words, inputs, folder, out, count, result, gpus))
        for name, failed in engine.failures.items():
            raise InputError(
                f"{name}: {failed}; {len(engine.failures):,} of {count:,} shards failed, the "
                "others are kept, and the same command resumes"
            )
        return 0

    code = run_plan(command, folder, work, **settings)
    if code:
        raise Stopped(code - 128)


def _steps(
    words: Sequence[str],
    inputs: str,
    folder: Path,
    out: Path,
    count: int,
    result: Callable[[Path, Shard], Path],
    gpus: int | None,
) -> Iterator[Step]:
    for number in range(1, count + 1):
        shard = Shard(number, count)
        name = f"shard-{number}-of-{count}"
        yield Step(
            f"shard {shard}",
            [*words, "--shard", str(shard)],
            folder / "logs" / f"{name}.log",
            folder / name,
            decides={"command": words, "inputs": inputs},
            note=folder / f"{name}.json",
            is_whole=partial(Path.exists, result(out, shard)),
            resources=Resources() if gpus is None else Resources(gpus=gpus),
        )


def content_of(words: Sequence[str], out: Path) -> str:
    """A hash of all files and folders that a command names: their keys, sizes and times.

    Args:
        out: what the command writes; it doesn't count.
    """
    digest = hashlib.sha256()
    for word in words:
        place = as_place(word.partition("=")[2] if word.startswith("--") else word)
        if isinstance(place, Path) and (place == out or not os.path.exists(place.expanduser())):
            continue
        with suppress(InputError):  # an empty folder
            for sources in list_sources([place], out).values():
                for source in sources:
                    digest.update(f"{source.key}\0{version_of(source)}\0".encode(errors="replace"))
    return digest.hexdigest()


def _without(words: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """The words without these options and their values."""
    is_value = False
    for word in words:
        name, equals, _ = word.partition("=")
        if not is_value and name not in options:
            yield word
        is_value = not is_value and name in options and not equals
