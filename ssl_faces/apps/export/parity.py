"""Whether an exported file gives the features that torch gives, for batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.encoders.encoder import FaceEncoder

TOLERANCE = 1e-4
BATCHES = (1, 2, 3, 5, 16)
"""Sizes of the first batches, as far as there are faces; all others come in one."""

MEASURE = (
    "largest absolute difference from torch over all faces and numbers of a feature space, and "
    "that divided by the root mean square of torch's features less their mean face's"
)

Features = Callable[[Tensor], dict[str, Tensor]]
"""Features [B, D] by space of images float [B, 3, S, S] in [0, 1]."""


@dataclass(frozen=True)
class Distance:
    """Of one feature space: see `MEASURE`.

    Attributes:
        absolute: the largest difference.
        relative: that by the features' scale.
    """

    absolute: float
    relative: float


@dataclass(frozen=True)
class Parity:
    """What was found.

    Attributes:
        spaces: the distance by feature space.
        batches: sizes of the batches that the file was given.
        of: the faces, in words.
    """

    spaces: dict[str, Distance]
    batches: list[int]
    of: str

    def card(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"measure": MEASURE, "tolerance": TOLERANCE, **asdict(self)}


@torch.no_grad()
def parity(
    encoder: FaceEncoder, spaces: Sequence[str], file: Features, images: Tensor, of: str
) -> Parity:
    """The file's features beside the encoder's.

    Raises:
        InputError: they differ by more than `TOLERANCE` of their scale, or the file fails.
    """
    sizes = batch_sizes(len(images))
    parts: list[dict[str, Tensor]] = []
    for batch in images.split(sizes):
        try:
            parts.append(file(batch))
        except Exception as error:  # runtimes' exceptions share no public class
            reason = reason_of(error)
            raise InputError(
                f"the exported file fails on a batch of {len(batch)} ({reason}); export the "
                "encoder to another format"
            ) from error
    expected: dict[str, list[Tensor]] = {space: [] for space in spaces}
    for batch in images.split(64):
        of_batch = encoder(batch, spaces)
        for space in spaces:
            expected[space].append(of_batch[space])
    found = {
        space: distance(torch.cat(rows), torch.cat([part[space] for part in parts]))
        for space, rows in expected.items()
    }
    worst = max(found, key=lambda space: found[space].relative)
    # Not `>`: NaN is no parity either.
    if not all(one.relative <= TOLERANCE for one in found.values()):
        raise InputError(
            f"the exported file's '{worst}' differs from torch's by up to "
            f"{found[worst].relative:.2g} of its scale, and {TOLERANCE:g} is allowed; try another "
            "--opset or format, or leave the space out by --spaces"
        )
    return Parity(found, sizes, of)


def batch_sizes(count: int) -> list[int]:
    """Sizes of batches, `BATCHES` first, that come to `count` faces."""
    sizes: list[int] = []
    for size in BATCHES:
        if sum(sizes) + size <= count:
            sizes.append(size)
    rest = count - sum(sizes)
    return [*sizes, rest] if rest else sizes


def distance(expected: Tensor, found: Tensor) -> Distance:
    """`MEASURE` of features float [N, D]; infinite where they aren't finite or of another shape."""
    if expected.shape != found.shape or not found.isfinite().all():
        return Distance(float("inf"), float("inf"))
    exact = expected.double()
    absolute = float((exact - found.double()).abs().max())
    scale = float((exact - exact.mean(0)).square().mean().sqrt())
    return Distance(absolute, absolute / scale if scale else float("inf") if absolute else 0.0)
