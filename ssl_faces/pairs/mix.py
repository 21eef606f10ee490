"""Mixes of face sets: joining those of a folder with others, and what their pairs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.store.stored_faces import StoredFaces


def joined_with(sets: Sequence[FaceSet], more: Sequence[FaceSet], root: Path) -> list[FaceSet]:
    """The face sets of the folder `root`, and `more` beside them. Raises InputError: a set is in
    both."""
    names = {faces.name for faces in sets}
    for faces in more:
        if faces.name in names:
            raise InputError(
                f"data.sets: {faces.name} is in data.root ({root}) too; take it out of data.sets"
            )
    return [*sets, *more]


def two_images_by_set(
    faces: StoredFaces, partner_share: float, different_share: float | None, by_clip: bool = False
) -> dict[str, float]:
    """Share of the pairs, 0 to 1, that are two images of one person, by the first image's set.

    Args:
        partner_share: probability that an image meets its partner, if it has one.
        different_share: of all pairs, see `PairBatches`; `partner_share` then has no effect.
        by_clip: an epoch is one pair a person, see `PairBatches`.
    """
    people = faces.people[faces.kept]
    _, of_each, counts = np.unique(people, return_inverse=True, return_counts=True)
    paired = (people >= 0) & (counts[of_each] > 1)
    # How often an image comes first, next to the others.
    first = 1 / counts[of_each] if by_clip else np.ones(len(people))
    first[people < 0] = 1
    weights = np.zeros(len(faces.kept))
    weights[faces.kept] = paired * first
    if different_share is None:
        share = partner_share / max(1, first.sum())
    else:
        share = different_share / max(1, int(paired.sum()))
    return {name: weight * share for name, weight in sorted(faces.by_set(weights).items())}


def describe_mix(by_set: Mapping[str, float], candidates: int) -> str:
    """One line about the pairs, by the shares that are two images of one person."""
    total = sum(by_set.values())
    parts = ", ".join(f"{name} {100 * share:.0f} %" for name, share in by_set.items() if share)
    line = f"pairs: {100 * total:.0f} % two images of one person"
    if parts:
        line += f" ({parts})"
        if candidates > 1:
            line += f", of {candidates} partners the one that differs most"
    return f"{line}; {100 - 100 * total:.0f} % mirror images"
