"""Whether an exported file gives torch's features, for batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from ssl_faces.common.errors import InputError, reason_of

TOLERANCE = 1e-4
BATCHES = (1, 2, 3, 5, 16)
"""Sizes of the first batches, if there are enough faces; all others form one batch."""

MEASURE = (
    "largest absolute difference from torch over all faces and features of a space, and the same "
    "divided by the root mean square of torch's features after subtracting their mean (of "
    "probabilities by 1)"
)

Features = Callable[[Tensor], dict[str, Tensor]]
"""Features [B, D] by space of a file's or a network's input, such as images float [B, 3, S, S]."""


@torch.no_grad()
def check_parity(
    network: Features,
    spaces: Sequence[str],
    file: Features,
    images: Tensor,
    of: str,
    probabilities: Collection[str] = (),
) -> dict[str, Any]:
    """Compare a file's features with those of its network in torch.

    Args:
        spaces: outputs to compare, by name.
        probabilities: those of them whose scale is 1.

    Returns:
        Plain JSON values: `measure`, `tolerance`, `spaces` (`absolute` and `relative` difference
        of each), `batches` (their sizes) and `of`, the description of the images.

    Raises:
        InputError: they differ by more than `TOLERANCE` of their scale, or the file fails.
    """
    sizes = batch_sizes(len(images))
    actual: dict[str, list[Tensor]] = {space: [] for space in spaces}
    expected: dict[str, list[Tensor]] = {space: [] for space in spaces}
    for batch in images.split(sizes):
        try:
            features = file(batch)
        except Exception as error:  # runtimes' exceptions share no public class
            raise InputError(
                f"the exported file fails on a batch of {len(batch)} ({reason_of(error)}); export "
                "the encoder to another format"
            ) from error
        exact = network(batch)
        for space in spaces:
            actual[space].append(features[space])
            expected[space].append(exact[space])
    errors = {}
    for space in spaces:
        scale = 1.0 if space in probabilities else None
        errors[space] = distance(torch.cat(expected[space]), torch.cat(actual[space]), scale)
    worst = max(errors, key=lambda space: errors[space]["relative"])
    if not errors[worst]["relative"] <= TOLERANCE:
        raise InputError(
            f"the exported file's '{worst}' differs from torch's by up to "
            f"{errors[worst]['relative']:.2g} of its scale, and {TOLERANCE:g} is allowed; try "
            "another --opset or format, or leave the space out by --spaces"
        )
    about = {"measure": MEASURE, "tolerance": TOLERANCE, "batches": sizes, "of": of}
    return {**about, "spaces": errors}


def in_words(parity: dict[str, Any], bits: str) -> list[str]:
    """A parity as lines to print."""
    batches = ", ".join(map(str, parity["batches"]))
    return [
        f"parity with torch, {bits}{parity['of']}, in batches of {batches} "
        f"({parity['measure']}; {parity['tolerance']:g} allowed):",
        *(
            f"  {space}: {error['absolute']:.2e}, {error['relative']:.2e}"
            for space, error in parity["spaces"].items()
        ),
    ]


def batch_sizes(count: int) -> list[int]:
    """Sizes of batches, `BATCHES` first, whose sum is `count` faces."""
    sizes: list[int] = []
    for size in BATCHES:
        if sum(sizes) + size <= count:
            sizes.append(size)
    rest = count - sum(sizes)
    return [*sizes, rest] if rest else sizes


def distance(expected: Tensor, actual: Tensor, scale: float | None = None) -> dict[str, float]:
    """`MEASURE` of features float [N, D]; infinite if not finite or of another shape.

    Args:
        scale: of the features, if it is known.
    """
    if expected.shape != actual.shape or not actual.isfinite().all():
        return {"absolute": float("inf"), "relative": float("inf")}
    exact = expected.double()
    absolute = float((exact - actual.double()).abs().max())
    if scale is None:
        scale = float((exact - exact.mean(0)).square().mean().sqrt())
    relative = absolute / scale if scale else float("inf") if absolute else 0.0
    return {"absolute": absolute, "relative": relative}
