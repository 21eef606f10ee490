"""A classifier as an ONNX file: written, quantised, run on one core, and looked into.

Everything that is measured is measured of such files, by the same runtime. Quantisation is
onnxruntime's, the one that is kept up and has 8-bit kernels for every CPU: torch's own
(`torch.ao.quantization`) is to be removed.
"""

from __future__ import annotations

import gzip
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from linear_probe.audit.compression import Quantised
from linear_probe.heads.cost import one_core_milliseconds
from ssl_faces import InputError

INPUT, OUTPUT = "images", "logits"
OPSET = 17
CALIBRATED = 256
"""Training pictures that ranges of activations are taken from."""

_AT_ONCE = 32
_DYNAMIC = ("Conv", "Gemm", "MatMul")


def need_onnx() -> None:
    """Raises InputError where the packages aren't installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"audit: needs onnx and onnxruntime, which can't be imported ({error}); run "
            '`pip install "ssl-faces[encoders]"`'
        ) from error


def exported(network: nn.Module, example: Tensor) -> bytes:
    """The network as an ONNX file, from float32 pictures to logits, with any number of pictures.

    Batch normalisation stays a layer of its own, so that values that weights share stay shared;
    onnxruntime folds it when it reads the file.

    Args:
        network: in evaluation mode.
        example: two pictures that it takes.

    Raises:
        InputError: it has an operation that ONNX lacks.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    # The fast path of attention is one operation, which ONNX hasn't.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            warnings.catch_warnings(),
            torch.no_grad(),
        ):
            # Of the tracer, for sizes, which are fixed, and of its age: its successor needs another
            # package.
            warnings.simplefilter("ignore")
            path = Path(folder, "network.onnx")
            torch.onnx.export(
                network,
                (example,),
                path,
                dynamo=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "faces"}, OUTPUT: {0: "faces"}},
                opset_version=OPSET,
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
            )
            data = path.read_bytes()
            expected = network(example[:1])
    except Exception as error:  # its exceptions share no public class
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{type(network).__name__}: can't be written as ONNX, of which all is measured "
            f"({reason}); change the operation, or audit another network"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    # What was traced is one way through the network, of as many pictures.
    if not torch.allclose(OnnxModel(data).logits(example[:1]), expected, rtol=1e-3, atol=1e-3):
        raise InputError(
            f"{type(network).__name__}: says something else when written as ONNX, as what it does "
            "depends on the pictures or their number; change that, or audit another network"
        )
    return data


def quantised(data: bytes, how: Quantised, calibration: Tensor) -> bytes:
    """An ONNX file with 8 bits for weights and activations where onnxruntime can; see
    `OnnxModel.in_float` for where it can't.

    Batch normalisation is folded into the weights before. Weights are signed, symmetric and scaled
    by channel when static, unsigned and scaled by layer when dynamic (the runtime's convolutions
    take no others).

    Args:
        data: the file.
        calibration: float32 [N, 3, S, S], pictures of the training part; for `static`.

    Raises:
        InputError: onnxruntime can't.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        ready, done = Path(folder, "ready.onnx"), Path(folder, "done.onnx")
        try:
            quant_pre_process(onnx.load_from_string(data), str(ready), skip_symbolic_shape=True)
            if how == "static":
                quantize_static(
                    *(str(ready), str(done), _Calibration(data, calibration)),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    weight_type=QuantType.QInt8,
                    activation_type=QuantType.QUInt8,
                )
            else:
                quantize_dynamic(
                    *(str(ready), str(done)),
                    op_types_to_quantize=[*_DYNAMIC],
                    weight_type=QuantType.QUInt8,
                )
            return done.read_bytes()
        except Exception as error:  # its exceptions share no public class
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"quantise: {how}: onnxruntime can't quantise this network ({reason}); leave it out"
            ) from error


class _Calibration:
    """Gives onnxruntime the pictures, as its `CalibrationDataReader` does."""

    def __init__(self, data: bytes, pictures: Tensor) -> None:
        self.name = OnnxModel(data).input
        self.parts: Iterator[Tensor] = iter(pictures.split(_AT_ONCE))

    def get_next(self) -> dict[str, np.ndarray] | None:
        part = next(self.parts, None)
        return None if part is None else {self.name: part.numpy()}


class OnnxModel:
    """An ONNX file of a classifier, run by onnxruntime on one core.

    Args:
        data: the file.

    Raises:
        InputError: onnxruntime can't run it.
    """

    def __init__(self, data: bytes) -> None:
        import onnx
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; warnings are of its optimiser
        try:
            self._session: Any = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no public class
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"onnxruntime can't run this network ({reason}); export it again"
            ) from error
        self.data = data
        self._graph: Any = onnx.load_from_string(data).graph
        self.input: str = self._session.get_inputs()[0].name

    def logits(self, pictures: Tensor) -> Tensor:
        """float32 [B, K] of pictures float32 [B, 3, S, S]."""
        try:
            found = self._session.run(None, {self.input: pictures.numpy()})[0]
        except Exception as error:  # its exceptions share no public class
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"onnxruntime fails on {len(pictures)} pictures ({reason}); export the network for "
                "any number of them"
            ) from error
        return torch.from_numpy(np.asarray(found, dtype=np.float32))

    def milliseconds(self, picture: Tensor) -> float:
        """Median of single faces on one core; `picture` is [1, 3, S, S]."""
        given = {self.input: picture.numpy()}
        return one_core_milliseconds(lambda: self._session.run(None, given))

    @property
    def compressed_bytes(self) -> int:
        """Of the file, deflated as gzip does at its best: zeros and few values take less."""
        return len(gzip.compress(self.data, 9, mtime=0))

    def weights(self) -> dict[str, tuple[np.ndarray, np.ndarray | int]]:
        """All that was learnt, by its name in the file, and the number that stands for 0 in it (of
        8 bits, else 0)."""
        from onnx import numpy_helper

        stored = {one.name: numpy_helper.to_array(one) for one in self._graph.initializer}
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
        found = nonzero = 0
        for values, zero in self.weights().values():
            found += values.size
            nonzero += int(np.count_nonzero(values != zero))
        return found, nonzero

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
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1) % ndim
    return values.reshape([-1 if place == axis else 1 for place in range(ndim)])


def _matrix(shape: Sequence[int]) -> bool:
    """Whether weights of this shape are of a layer that multiplies, and not scales of channels."""
    return sum(side > 1 for side in shape) > 1
