"""A classifier as an ONNX file: write it, run it on one core, and count its weights.

Everything that is measured is measured of such files, by the same runtime.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from linear_probe.heads.cost import one_core_milliseconds
from ssl_faces import InputError
from ssl_faces.common.errors import reason_of
from ssl_faces.encoders.onnx_files import session_of, traced

OUTPUT = "logits"


def exported(network: nn.Module, example: Tensor) -> bytes:
    """The network, in evaluation mode, as an ONNX file, from float32 images to logits, with any
    number of images; `example`: two images that it takes. Raises InputError: it has an operation
    that ONNX lacks."""
    try:
        data = traced(network, example, [OUTPUT])
        with torch.no_grad():
            expected = network(example[:1])
    except RuntimeError as error:
        raise InputError(
            f"{type(network).__name__}: can't be written as ONNX, of which all is measured "
            f"({error}); change the operation, or audit another network"
        ) from error
    # What was traced is one way through the network, of as many pictures.
    if not torch.allclose(OnnxModel(data).logits(example[:1]), expected, rtol=1e-3, atol=1e-3):
        raise InputError(
            f"{type(network).__name__}: says something else when written as ONNX, as what it does "
            "depends on the pictures or their number; change that, or audit another network"
        )
    return data


class OnnxModel:
    """An ONNX file of a classifier, run by onnxruntime on one core; InputError if onnxruntime can't
    run it."""

    def __init__(self, data: bytes) -> None:
        import onnx

        self._session: Any = session_of(data)
        self.data = data
        self._graph: Any = onnx.load_from_string(data).graph
        self.input: str = self._session.get_inputs()[0].name

    def logits(self, pictures: Tensor) -> Tensor:
        """float32 [B, K] for images float32 [B, 3, S, S]."""
        try:
            logits = self._session.run(None, {self.input: pictures.numpy()})[0]
        except Exception as error:  # its exceptions share no public class
            reason = reason_of(error)
            raise InputError(
                f"onnxruntime fails on {len(pictures)} pictures ({reason}); export the network for "
                "any number of them"
            ) from error
        return torch.from_numpy(np.asarray(logits, dtype=np.float32))

    def milliseconds(self, picture: Tensor) -> float:
        """Median of single faces on one core; `picture` is [1, 3, S, S]."""
        inputs = {self.input: picture.numpy()}
        return one_core_milliseconds(lambda: self._session.run(None, inputs))

    @property
    def compressed_bytes(self) -> int:
        """Of the file, deflated as gzip does at its best: zeros and few values take less."""
        return len(gzip.compress(self.data, 9, mtime=0))

    @property
    def float16_bytes(self) -> int:
        """As `compressed_bytes`, of the file with its float32 weights in float16."""
        import onnx
        from onnx import numpy_helper

        model = onnx.load_from_string(self.data)
        for weight in model.graph.initializer:
            if weight.data_type == onnx.TensorProto.FLOAT:
                half = numpy_helper.to_array(weight).astype(np.float16)
                weight.CopyFrom(numpy_helper.from_array(half, weight.name))
        return len(gzip.compress(model.SerializeToString(), 9, mtime=0))

    def weights(self) -> dict[str, tuple[np.ndarray, np.ndarray | int]]:
        """All that was learnt, by its name in the file, and the number that stands for 0 in it (of
        8 bits, else 0)."""
        from onnx import numpy_helper

        stored = {weight.name: numpy_helper.to_array(weight) for weight in self._graph.initializer}
        zero: dict[str, np.ndarray | int] = {}
        about: set[str] = set()
        for node in self._graph.node:
            names = list(node.input)
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                if len(names) > 2 and names[0] in stored and names[2] in stored:
                    zero[names[0]] = _along(node, stored[names[2]], stored[names[0]].ndim)
                about.update(names[1:])
            elif node.op_type in ("ConvInteger", "MatMulInteger"):
                zero[names[1]] = stored.get(names[3], 0) if len(names) > 3 else 0
                about.update(names[2:])
        # 64-bit integers are shapes and axes.
        return {
            name: (values, zero.get(name, 0))
            for name, values in stored.items()
            if name not in about and values.dtype != np.int64 and values.size > 1
        }

    def counts(self) -> tuple[int, int]:
        """Learnt numbers, and how many of them are not 0."""
        total = nonzero = 0
        for values, zero in self.weights().values():
            total += values.size
            nonzero += int(np.count_nonzero(values != zero))
        return total, nonzero

    def in_float(self) -> list[str]:
        """Layers with weights that are not of 8 bits: `NAME (operation)`; of a file that isn't
        quantised all."""
        float_weights = {
            name
            for name, (values, _) in self.weights().items()
            if values.dtype.kind == "f" and _matrix(values.shape)
        }
        return [
            f"{node.name or node.output[0]} ({node.op_type})"
            for node in self._graph.node
            if float_weights & set(node.input)
        ]


def _along(node: Any, values: np.ndarray, ndim: int) -> np.ndarray:
    """Numbers of channels, one or [C], to broadcast with weights of `ndim` dimensions along the
    node's axis."""
    if values.ndim == 0 or values.size == 1:
        return values.reshape(())
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1) % ndim
    return values.reshape([-1 if place == axis else 1 for place in range(ndim)])


def _matrix(shape: Sequence[int]) -> bool:
    """Whether weights of this shape belong to a layer, and are not scales of channels."""
    return sum(side > 1 for side in shape) > 1
