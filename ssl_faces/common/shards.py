"""Shards: a command's work in parts, which processes on one or several machines do.

A command with `--shards N` runs itself N times, each time with `--shard I/N`, as steps of a plan
(`ssl_faces.plan.shards`). Each does its part of the work into the place of the whole. Then the
command continues as without shards, and finds the work done.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from ssl_faces.common.arguments import whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.executors import EXECUTORS, add_executor, add_jobs

SUFFIX = ".shards"
"""Of the folder beside a command's output: the plan's state, logs and parts of tables."""

_MOST = 100_000
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Shard:
    """One of `count` parts, numbered from 1."""

    number: int
    count: int

    def of(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Its part of the items: those of all shards, one after another, are all items."""
        total = len(items)
        return items[total * (self.number - 1) // self.count : total * self.number // self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def shard(text: str) -> Shard:
    """An argument's type: `I/N`, from 1/N to N/N."""
    number, _, count = text.partition("/")
    try:
        parsed = Shard(whole(1, _MOST)(number), whole(1, _MOST)(count))
        if parsed.number > parsed.count:
            raise ValueError
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}; give I/N, such as 1/8") from error
    return parsed


def add_shards(parser: argparse.ArgumentParser) -> None:
    """The arguments of work in shards."""
    group = parser.add_argument_group("shards")
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        "--shards",
        type=whole(1, _MOST),
        metavar="N",
        help="split the work into N parts, each a process or a job of a cluster; stopped, the same "
        "command resumes",
    )
    which.add_argument("--shard", type=shard, metavar="I/N", help="do one part, from 1/N to N/N")
    add_jobs(group)
    add_executor(group)


def shards_folder(out: Path) -> Path:
    return out.with_name(out.name + SUFFIX)


def part_of(out: Path, shard: Shard) -> Path:
    """The table of one shard of a command that writes the table `out`."""
    return shards_folder(out) / f"part-{shard.number}-of-{shard.count}{out.suffix}"


def run_shards(
    options: argparse.Namespace,
    command: Sequence[str],
    out: Path,
    result: Callable[[Path, Shard], Path] = lambda out, shard: out,
    gpus: int | None = 0,
) -> None:
    """Run the shards of a command that are not done, if `--shards` is given.

    Args:
        options: parsed, with those of `add_shards`.
        command: the command as it was typed, its program first.
        out: its output, a file or a folder.
        result: what a shard leaves: the shard is done as long as it exists.
        gpus: that a shard needs; None: one if the cluster has any.

    Raises:
        InputError: a shard failed, an option has no effect, or the cluster can't be reached.
        Stopped: a signal ended it; the same command resumes.
    """
    settings: dict[str, Any] = {
        name: getattr(options, name) for name in ("jobs", "executor", "address")
    }
    if options.shards is None:
        for name, value in settings.items():
            if value not in (None, EXECUTORS[0]):
                raise InputError(f"--{name} {value}: has no effect without --shards N; give both")
        return
    # By name, since plans are above the commands that they run.
    run = import_module("ssl_faces.plan.shards").run
    run(command, out, options.shards, result, gpus, settings)
