"""A deployable ONNX file: aligned crops in, codes and probabilities of the saved probes out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.encoders.onnx_files import INPUT
from ssl_faces.encoders.places import find_encoder
from ssl_faces.encoders.saved_probe import SavedProbe, load_probe, probe_file
from ssl_faces.prepare.numpy_alignment import LANDMARKS, TEMPLATE

CROPS = "crops"
"""Name of the file's input."""

_PROBABILITIES = "_probabilities"
_OWN = "pipeline/"  # prefix of the names that are added to the encoder's graph


def probes_of(encoder: str | os.PathLike[str]) -> list[SavedProbe]:
    """All probes in the folder of an encoder.

    Raises:
        InputError: no such encoder, none, or a broken one.
    """
    ending = probe_file("")
    files = sorted(find_encoder(encoder).glob(f"*{ending}"))
    probes = [load_probe(encoder, path.name.removesuffix(ending)) for path in files]
    if not probes:
        name = os.fsdecode(encoder)
        raise InputError(
            f"--pipeline: {name} has no saved probe; make one by linear-probe save-probe --encoder "
            f"{name}, or leave out --pipeline"
        )
    return [probe for probe in probes if probe is not None]


class Pipeline:
    """The file's function in torch: crops uint8 [B, S, S, 3] to its outputs [B, D] by name.

    Args:
        spaces: feature spaces that are outputs; probabilities follow.
    """

    def __init__(
        self, encoder: FaceEncoder, spaces: Sequence[str], probes: Sequence[SavedProbe]
    ) -> None:
        self.encoder, self.spaces, self.probes = encoder, [*spaces], probes
        self.needed = list(dict.fromkeys([*spaces, *(probe.space for probe in probes)]))
        """Feature spaces that the encoder must compute."""
        self.probabilities = [f"{probe.task}{_PROBABILITIES}" for probe in probes]
        self.outputs = [*spaces, *self.probabilities]

    def __call__(self, crops: Tensor) -> dict[str, Tensor]:
        codes = self.encoder(crops.permute(0, 3, 1, 2).float() / 255, self.needed)
        values = [codes[space] for space in self.spaces]
        values += [probe(codes[probe.space]) for probe in self.probes]
        return dict(zip(self.outputs, values, strict=True))

    def dims(self) -> dict[str, int]:
        """The length of each output."""
        lengths = [self.encoder.feature_dims[space] for space in self.spaces]
        lengths += [len(probe.classes) for probe in self.probes]
        return dict(zip(self.outputs, lengths, strict=True))

    def about(self) -> dict[str, Any]:
        """What users of the file must know, for its card."""
        size = self.encoder.input_size
        return {
            "input": f"{CROPS}: uint8 [B, {size}, {size}, 3], RGB, any B; faces aligned as in "
            "`alignment`; resizing and normalisation happen inside",
            "outputs": self.dims(),
            "classes": {probe.task: [*probe.classes] for probe in self.probes},
            "probes": {probe.task: probe.about for probe in self.probes},
            "alignment": {
                "size": size,
                "landmarks": [*LANDMARKS],
                "template": TEMPLATE.tolist(),
                "coordinates": "template: shares of the crop's side; landmarks: x and y in pixels "
                "from the left upper corner of the first pixel, whose centre is (0.5, 0.5)",
                "transform": "least-squares similarity of the landmarks to the template, without "
                "mirroring; averaged when shrinking, bicubic; edge pixels repeated",
                "code": "ssl_faces/prepare/numpy_alignment.py, which needs numpy alone",
            },
        }

    def wrapped(self, data: bytes) -> bytes:
        """An ONNX file of the encoder, with `needed` as outputs, as a pipeline.

        The probes stay in 32 bits, whatever the encoder has.
        """
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        model = onnx.load_from_string(data)
        graph = model.graph
        constants: list[Any] = []

        def constant(name: str, values: Any) -> str:
            constants.append(numpy_helper.from_array(np.asarray(values, np.float32), _OWN + name))
            return _OWN + name

        def chain(start: str, end: str, *steps: tuple[Any, ...]) -> list[Any]:
            """Nodes (operation, further inputs, attributes), one after the other."""
            names = [start, *(f"{_OWN}{end}/{i}" for i in range(1, len(steps))), end]
            return [
                helper.make_node(kind, [names[i], *more], [names[i + 1]], **attributes)
                for i, (kind, more, attributes) in enumerate(steps)
            ]

        nodes = chain(
            CROPS,
            INPUT,
            ("Cast", [], {"to": TensorProto.FLOAT}),
            ("Transpose", [], {"perm": [0, 3, 1, 2]}),
            ("Div", [constant("255", 255)], {}),
        )
        nodes += graph.node
        for probe, name in zip(self.probes, self.probabilities, strict=True):
            weights = {
                key: constant(f"{name}/{key}", getattr(probe, key).numpy())
                for key in ("mean", "scale", "weight", "bias")
            }
            nodes += chain(
                probe.space,
                name,
                ("Sub", [weights["mean"]], {}),
                ("Div", [weights["scale"]], {}),
                ("Gemm", [weights["weight"], weights["bias"]], {}),
                ("Div", [constant(f"{name}/temperature", probe.temperature)], {}),
                ("Softmax", [], {"axis": 1}),
            )
        del graph.node[:], graph.input[:], graph.output[:]
        graph.node.extend(nodes)
        graph.initializer.extend(constants)
        size = self.encoder.input_size
        shape: list[str | int | None] = ["faces", size, size, 3]
        graph.input.append(helper.make_tensor_value_info(CROPS, TensorProto.UINT8, shape))
        for name, length in self.dims().items():
            shape = ["faces", length]
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        onnx.checker.check_model(model)
        wrapped: bytes = model.SerializeToString()
        return wrapped


def changes(
    exact: dict[str, Tensor], rounded: dict[str, Tensor], probes: Sequence[SavedProbe]
) -> dict[str, Any]:
    """How probabilities [N, K] change by 8 bits: by task, in points of percent."""
    result = {}
    for probe in probes:
        before, after = (x[f"{probe.task}{_PROBABILITIES}"] for x in (exact, rounded))
        difference = 100 * (before - after).abs()
        same = (before.argmax(1) == after.argmax(1)).double().mean()
        result[probe.task] = {
            "mean_change": float(difference.mean()),
            "largest_change": float(difference.max()),
            "same_class_percent": 100 * float(same),
            "n": len(before),
        }
    return result


def as_crops(images: Tensor) -> Tensor:
    """Images float [N, 3, S, S] in [0, 1] as the file's input, uint8 [N, S, S, 3]."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
