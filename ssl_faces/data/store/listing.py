"""Which images a run was trained on, kept in its checkpoints to tell what has changed since."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_LISTED = 100_000
"""A longer listing would make each checkpoint some megabytes larger."""

_SHOWN = 3


def dump_listing(rows: Sequence[tuple[str, str, str]]) -> Tensor:
    """(set, key, SHA-256) of each image, packed to uint8.

    A tensor, as checkpoints are read without unpickling other objects.
    """
    short = [[name, key, digest[:16]] for name, key, digest in rows]
    return torch.frombuffer(bytearray(zlib.compress(json.dumps(short).encode())), dtype=torch.uint8)


def changes_of(before: Tensor | None, now: Tensor | None) -> str:
    """What is added, removed or changed, in words that begin with a semicolon; empty where that
    can't be known."""
    if before is None or now is None:
        return ""
    was, here = _hashes(before, now)
    words = [
        _named("added", [key for key in here if key not in was]),
        _named("removed", [key for key in was if key not in here]),
        _named("changed", [key for key in here if was.get(key, here[key]) != here[key]]),
    ]
    if not any(words):
        return "; they are the same images, packed in another order"
    return "; " + ", ".join(filter(None, words))


def _hashes(*listings: Tensor) -> list[dict[str, str]]:
    """The hash of each image, by its key, or by set and key where keys are not unique."""
    tables = [json.loads(zlib.decompress(listing.numpy().tobytes())) for listing in listings]
    unique = all(len({key for _, key, _ in rows}) == len(rows) for rows in tables)
    return [
        {key if unique else f"{name}/{key}": digest for name, key, digest in rows}
        for rows in tables
    ]


def _named(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _SHOWN:,} more" if len(keys) > _SHOWN else ""
    return f"{what} {', '.join(sorted(keys)[:_SHOWN])}{more}"
