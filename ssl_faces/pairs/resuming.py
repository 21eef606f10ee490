"""Whether a run may be resumed: the same images in the same order."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ssl_faces.common.errors import InputError

MOST_LISTED = 100_000
"""A longer listing of images would make each checkpoint some megabytes larger."""

_SHOWN = 3

_ADDED = {
    "candidates": 1,
    "different_share": None,
    "epoch_of": "images",
    "neutral_faces": False,
}
"""Settings that older checkpoints lack, and what these were trained with."""


def check_resume(
    state: Mapping[str, Any],
    now: Mapping[str, Any],
    listed: Callable[[], Tensor | None],
) -> None:
    """Compare the data module's state in a checkpoint with what there is now. Raises InputError:
    settings or images differ; names them.

    Args:
        state: `order`, which `now` is of today, and `listing`.
        listed: gives the images of today, to name those that changed.
    """
    was = {**_ADDED, **state["order"]}
    # Older checkpoints lack some settings.
    changed = [k for k in now if k not in ("faces", "pictures") and was.get(k, now[k]) != now[k]]
    if changed:
        settings = ", ".join(f"{k} {was[k]} (now {now[k]})" for k in changed)
        raise InputError(
            f"the checkpoint can't be resumed with other data settings: it has {settings}; "
            "set them back, or start a new run with another --out"
        )
    if was["pictures"] != now["pictures"] or was.get("faces") != now["faces"]:
        changes = changes_of(state.get("listing"), listed())
        raise InputError(
            "the checkpoint can't be resumed with other images: it was trained on "
            f"{was['pictures']:,}, and there are {now['pictures']:,} now{changes}; give the "
            "same images, or start a new run with another --out"
        )


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
