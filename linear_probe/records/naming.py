"""Short names of encoders for tables: no row is named by a path."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

_SUFFIX = ", untrained"
_KIND = re.compile(r"[a-z]+:")
_GENERAL = re.compile(r"encoder|checkpoints|seed\d+|stage\d+")
"""Folders whose names say nothing without the folder before them."""


def shown_names(encoders: Iterable[str]) -> dict[str, str]:
    """A name for each encoder, different ones for different encoders.

    A path is shown by its last folder, and by more where these are equal or say nothing
    (`simclr/seed0`); a file of weights by its stem (`timm:resnet18 (own)`). Other names stay.
    """
    choices = {encoder: _choices(encoder) for encoder in dict.fromkeys(encoders)}
    position = dict.fromkeys(choices, 0)
    while True:
        names = {encoder: choices[encoder][number] for encoder, number in position.items()}
        count = Counter(names.values())
        longer = [
            encoder
            for encoder, name in names.items()
            if count[name] > 1 and position[encoder] + 1 < len(choices[encoder])
        ]
        if not longer:
            return names
        for encoder in longer:
            position[encoder] += 1


def _choices(encoder: str) -> list[str]:
    """Names of an encoder, the shortest first; the last is the encoder as it was given."""
    whole = encoder.removesuffix(_SUFFIX)
    suffix = encoder[len(whole) :]
    base, _, options = whole.partition("?")
    if _KIND.match(base):
        short = base.rpartition(":")[2] if base.startswith("module:") else base
        if file := re.search(r"weights=([^&]+)", options):
            return [f"{short} ({PurePath(file[1]).stem}){suffix}", encoder]
        return [f"{short}{suffix}", encoder] if base.startswith("module:") else [encoder]
    if "/" not in base:
        return [f"{base}{suffix}", encoder]
    parts = [part for part in PurePath(base).parts if part != "/"]
    while len(parts) > 1 and parts[-1] == "encoder":
        parts.pop()
    first = next((k for k in range(1, len(parts) + 1) if not _GENERAL.fullmatch(parts[-k])), 1)
    tails = ["/".join(parts[-k:]) for k in range(first, len(parts) + 1)]
    return [*(f"{tail}{suffix}" for tail in tails), encoder]
