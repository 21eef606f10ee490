"""`linear-probe export`: a trained head as one ONNX file, compared with torch before it is
written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linear_probe.heads.goals import Meaning
from linear_probe.heads.head import Head
from linear_probe.heads.loading import open_head
from ssl_faces import InputError
from ssl_faces.apps.export.command import KEPT
from ssl_faces.apps.export.faces import data_named, some_faces
from ssl_faces.apps.export.formats import onnx_features, with_card
from ssl_faces.apps.export.parity import batch_sizes
from ssl_faces.common.files import replace_file
from ssl_faces.encoders.onnx_files import need_onnx, traced

INPUT = (
    "images: float32 [B, 3, {size}, {size}], RGB in [0, 1], any B; cropped faces; normalisation "
    "happens inside"
)


TOLERANCE = 1e-4
"""Largest difference of a probability, or of a value in shares of 1 plus its size."""


class PredictingHead(nn.Module):
    """A head with its meaning: images float [B, 3, R, R] in [0, 1] to predictions by name."""

    def __init__(self, head: Head, meaning: Meaning) -> None:
        super().__init__()
        self.head, self.meaning = head, meaning

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.predictions(images).values())

    def predictions(self, images: Tensor) -> dict[str, Tensor]:
        """The predictions, as of `Meaning.predicted`."""
        return self.meaning.predicted(self.head.predict(self.head.prepare(images * 255)))


def export_head(folder: Path, out: Path, opset: int, data: str | None, faces: int) -> str:
    """Write a trained head as ONNX; what was written, in words.

    Args:
        folder: see `open_head`.
        data: folder of faces to compare on, or `rendered`; None is the usual one.
        faces: how many.

    Raises:
        InputError: no such head, an operation that ONNX lacks, or a file that predicts something
            else than torch; nothing is written.
    """
    need_onnx(f"--out {out}")
    head, meaning, about = open_head(folder)
    network = PredictingHead(head, meaning).eval()
    names = [part.name for part in meaning.parts]
    images, of = some_faces(data_named(data), "test", head.read_size, faces)
    try:
        content = traced(network, images[:2], names, opset)
    except RuntimeError as error:
        raise InputError(
            f"{folder}: can't be written as ONNX with opset {opset} ({error}); try another --opset"
        ) from error
    parity = _parity(network, names, content, images)
    card: dict[str, Any] = {
        "name": head.name,
        "input": INPUT.format(size=head.read_size),
        "outputs": {
            part.name: list(part.classes) or ("years" if part.years else "value")
            for part in meaning.parts
        },
        **about,
        "opset": opset,
        "parity": {"of": of, "tolerance": TOLERANCE, "differences": parity},
        "exported_by": {"torch": torch.__version__},
    }
    if head.encoder is not None:
        card["encoder_card"] = {k: head.encoder.card[k] for k in KEPT if k in head.encoder.card}
    data_of_file = with_card(content, card)
    replace_file(out, data_of_file)
    shapes = ", ".join(f"{p.name} [B, {len(p.classes) or 1}]" for p in meaning.parts)
    return (
        f"parity with torch, {of}: differences up to {max(parity.values()):.1e} "
        f"({TOLERANCE:g} allowed)\n"
        f"{out}: {len(data_of_file) / 1e6:.2f} MB, ONNX, opset {opset}; {card['input']} -> {shapes}"
    )


@torch.no_grad()
def _parity(
    network: PredictingHead, names: Sequence[str], content: bytes, images: Tensor
) -> dict[str, float]:
    """The largest difference of a file from torch by prediction, in batches of several sizes.
    Raises InputError: one is over `TOLERANCE`."""
    file = onnx_features(content, names)
    largest = dict.fromkeys(names, 0.0)
    for batch in images.split(batch_sizes(len(images))):
        predicted = file(batch)
        for name, expected in network.predictions(batch).items():
            if predicted[name].shape != expected.shape or not predicted[name].isfinite().all():
                largest[name] = float("inf")
                continue
            scale = 1 if expected.shape[1] > 1 else 1 + expected.abs()
            difference = float(((predicted[name] - expected).abs() / scale).max())
            largest[name] = max(largest[name], difference)
    worst = max(names, key=lambda name: largest[name])
    if largest[worst] > TOLERANCE:
        raise InputError(
            f"the exported file's '{worst}' differs from torch's by up to {largest[worst]:.2g}, "
            f"and {TOLERANCE:g} is allowed; try another --opset"
        )
    return largest
