"""Sequences of posed expressions, from neutral to apex: which frames are labelled, and folds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssl_faces.data.faces import EXPRESSIONS, FaceRecord

APEX_FRAMES = 3
"""Frames at a sequence's end that show its expression; the first one is neutral."""


def neutral_and_apex(frames: Sequence[Path], expression: int) -> list[tuple[Path, int]]:
    """The first frame as neutral and the last `APEX_FRAMES` as `expression`; none is both.

    Args:
        frames: of one sequence in their order, one at least.
    """
    apex = frames[max(1, len(frames) - APEX_FRAMES) :]
    return [(frames[0], EXPRESSIONS.index("neutral")), *((frame, expression) for frame in apex)]


def folds_by_person(
    records: Sequence[FaceRecord], labelled: Sequence[FaceRecord], folds: int
) -> np.ndarray:
    """The usual folds: people in order of their name, every `folds`-th together.

    Args:
        labelled: records of the people who are in a fold.

    Returns:
        int [records], -1 for people in none.
    """
    people = sorted({record.person or "" for record in labelled})
    fold_of = {person: i % folds for i, person in enumerate(people)}
    return np.array([fold_of.get(record.person or "", -1) for record in records])
