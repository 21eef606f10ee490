"""An encoder as the bytes of an ONNX file or of a `torch.export` program, with its card inside."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssl_faces.apps.export.parity import Features
from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.encoders.onnx_files import INPUT, session_of, traced

CARD = "card.json"
"""Name of the card among a program's extra files."""


class _Spaces(nn.Module):
    """An encoder that gives some of its spaces, by name or, for ONNX's tracer, as a tuple."""

    def __init__(self, encoder: FaceEncoder, spaces: Sequence[str], named: bool) -> None:
        super().__init__()
        self.encoder, self.spaces, self.named = encoder, [*spaces], named

    def forward(self, images: Tensor) -> dict[str, Tensor] | tuple[Tensor, ...]:
        features = self.encoder(images, self.spaces)
        if self.named:
            return {space: features[space] for space in self.spaces}
        return tuple(features[space] for space in self.spaces)


def _example(encoder: FaceEncoder) -> Tensor:
    size = encoder.input_size
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def as_onnx(encoder: FaceEncoder, name: str, spaces: Sequence[str], opset: int) -> bytes:
    """An ONNX file: float32 `images` [B, 3, S, S] in [0, 1] to outputs [B, D] named like the
    feature spaces.

    Raises:
        InputError: the encoder has an operation that ONNX lacks.
    """
    network = _Spaces(encoder, spaces, named=False).eval()
    try:
        return traced(network, _example(encoder), spaces, opset)
    except RuntimeError as error:
        raise InputError(
            f"{name}: can't be written as ONNX with opset {opset} ({error}); try another --opset, "
            "or --out FILE.pt2"
        ) from error


def with_card(data: bytes, card: dict[str, Any]) -> bytes:
    """An ONNX file with a card as its metadata: one property per key, as text or JSON."""
    import onnx

    model = onnx.load_from_string(data)
    onnx.helper.set_model_props(
        model, {k: v if isinstance(v, str) else json.dumps(v) for k, v in card.items()}
    )
    written: bytes = model.SerializeToString()
    return written


def onnx_features(data: bytes, spaces: Sequence[str], threads: int = 1) -> Features:
    """The features of an ONNX file by onnxruntime; InputError if it can't run the file."""
    session = session_of(data, threads)
    (inputs,) = session.get_inputs()

    def features(images: Tensor) -> dict[str, Tensor]:
        outputs = session.run([*spaces], {inputs.name: images.numpy()})
        return {space: torch.from_numpy(x) for space, x in zip(spaces, outputs, strict=True)}

    return features


def as_program(encoder: FaceEncoder, name: str, spaces: Sequence[str]) -> Any:
    """A `torch.export` program: `images` [B, 3, S, S] in [0, 1] to a dict of features [B, D].

    Raises:
        InputError: the encoder can't be exported.
    """
    shapes = {INPUT: {0: torch.export.Dim("faces", min=1)}}
    network = _Spaces(encoder, spaces, named=True).eval()
    try:
        with torch.no_grad():
            return torch.export.export(network, (_example(encoder),), dynamic_shapes=shapes)
    except Exception as error:  # its exceptions share no public class
        raise InputError(
            f"{name}: torch.export can't write it ({reason_of(error)}); try --out FILE.onnx"
        ) from error


def program_file(program: Any, card: dict[str, Any]) -> bytes:
    """The file of a program."""
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={CARD: json.dumps(card, indent=2)})
    return file.getvalue()


def pt2_features(data: bytes) -> Features:
    """The features of a program's file by torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about its own reader
        module: Features = torch.export.load(io.BytesIO(data)).module()
    return module
