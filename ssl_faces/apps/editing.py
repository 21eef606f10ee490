"""What a method learnt to do to faces, done to face crops."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch

from ssl_faces.apps.embedding import as_crops, as_images
from ssl_faces.common.errors import InputError
from ssl_faces.methods.loading import load_method
from ssl_faces.methods.method import FRONTAL, MOTION, NEUTRAL, OF_TWO, SWAP, Method

BATCH = 32

__all__ = ["BATCH", "FRONTAL", "MOTION", "NEUTRAL", "OF_TWO", "SWAP", "edited", "open_method"]


def open_method(given: str | os.PathLike[str], *edits: str) -> Method:
    """A method that can do these edits, ready for `edited`.

    Args:
        given: a run's folder, a checkpoint, or the name of a released method.

    Raises:
        InputError: no such method, or one that can't do them.
    """
    method = load_method(given)
    lacking = [edit for edit in edits if edit not in method.edits()]
    if lacking:
        raise InputError(
            f"--with {os.fsdecode(given)}: {method.name} makes no {lacking[0]}, it makes "
            f"{', '.join(method.edits()) or 'none'}; give a run that does"
        )
    return method


def edited(
    method: Method,
    edit: str,
    crops: Sequence[np.ndarray],
    people: Sequence[np.ndarray] | None = None,
    *,
    seed: int = 0,
    batch_size: int = BATCH,
) -> np.ndarray:
    """Face crops as a method makes them: uint8 [N, S, S, 3].

    What comes out of a crop depends neither on the others nor on `batch_size`.

    Args:
        method: of `open_method`.
        edit: one of `method.edits()`: `NEUTRAL`, `FRONTAL`, `SWAP`, `MOTION`.
        crops: uint8 RGB [S, S, 3] each, of side `method.picture_size`, as a `FaceFinder` of that
            size gives them.
        people: of the edits `OF_TWO`, whom each of `crops` is to become: one for each, or one for
            all.
        seed: of the noise that some methods render with.
        batch_size: faces at once.

    Raises:
        InputError: the method has no such edit, or crops are of another side.
    """
    if edit not in method.edits():
        raise InputError(f"{method.name} makes no {edit}")
    if people is not None and len(people) == 1:
        people = [people[0]] * len(crops)
    device = next(method.parameters()).device
    done = []
    for start in range(0, len(crops), batch_size):
        given = [as_images(crops[start : start + batch_size]).to(device)]
        if edit in OF_TWO:
            assert people is not None
            given.append(as_images(people[start : start + batch_size]).to(device))
        with torch.no_grad():
            done.append(as_crops(method.edits()[edit](*given, seed=seed)))
    side = method.picture_size
    return np.concatenate(done) if done else np.zeros((0, side, side, 3), np.uint8)
