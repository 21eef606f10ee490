"""ONNX files of networks: tracing, quantisation to 8 bits, sessions of onnxruntime.

Quantisation is onnxruntime's, which has 8-bit kernels for all CPUs; `torch.ao.quantization` is
deprecated.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.common.errors import InputError, reason_of

INPUT = "images"
OPSET = 17
OPSETS = range(13, 21)
"""Supported versions: per-channel scales came with 13, the tracer supports up to 20."""

CALIBRATED = 256
"""Training images for the ranges of activations."""

Quantised = Literal["static", "dynamic"]

_AT_ONCE = 32
_DYNAMIC = ("Conv", "Gemm", "MatMul")


def need_onnx(who: str) -> None:
    """Raises InputError if the packages are not installed; `who` needs them."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{who}: needs onnx and onnxruntime, which can't be imported ({error}); run "
            '`pip install "ssl-faces[encoders]"`'
        ) from error


def traced(
    network: nn.Module, example: Tensor, outputs: Sequence[str], opset: int = OPSET
) -> bytes:
    """The network as an ONNX file, from float32 `images` to `outputs`, with any batch size.

    Batch normalisation is not folded, so that weights with shared values keep them; onnxruntime
    folds it when it reads the file.

    Args:
        network: in evaluation mode; returns a tensor, or one for each of `outputs`.
        example: two input images.
        outputs: names of the outputs.
        opset: one of `OPSETS`.

    Raises:
        RuntimeError: it has an operation that ONNX lacks; the message is one line.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    # The fast path of attention is one operation that ONNX lacks.
    torch.backends.mha.set_fastpath_enabled(False)
    for operation, symbolic in _OPERATIONS.items():
        torch.onnx.register_custom_op_symbolic(operation, symbolic, opset)
    torch._C._jit_set_onnx_log_enabled(False)  # otherwise failures print the graph
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            warnings.catch_warnings(),
            torch.no_grad(),
        ):
            # Warnings about fixed sizes, and about the tracer's age: its successor needs another
            # package.
            warnings.simplefilter("ignore")
            path = Path(folder, "network.onnx")
            torch.onnx.export(
                network,
                (example,),
                path,
                dynamo=False,
                input_names=[INPUT],
                output_names=[*outputs],
                dynamic_axes={name: {0: "faces"} for name in (INPUT, *outputs)},
                opset_version=opset,
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
            )
            return path.read_bytes()
    except Exception as error:  # its exceptions share no public class
        raise RuntimeError(reason_of(error)) from error
    finally:
        for operation in _OPERATIONS:
            torch.onnx.unregister_custom_op_symbolic(operation, opset)
        torch.backends.mha.set_fastpath_enabled(fast)


def _resized(g: Any, x: Any, size: Any, align_corners: Any, *scales: Any) -> Any:
    """`F.interpolate(..., mode="bilinear", antialias=True)`."""

    def resize(picture: Tensor, to: tuple[int, int]) -> Tensor:
        return F.interpolate(picture, size=to, mode="bilinear", antialias=True)

    return _as_products(g, x, size, resize)


def _pooled(g: Any, x: Any, size: Any) -> Any:
    """`F.adaptive_avg_pool2d`, which ONNX has only for sizes that divide the map's."""
    from torch.onnx import symbolic_helper

    if symbolic_helper._parse_arg(size, "is") == [1, 1]:
        return g.op("GlobalAveragePool", x)
    return _as_products(g, x, size, F.adaptive_avg_pool2d)


# Operations that the tracer does not support, or not for all sizes.
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "aten::_upsample_bilinear2d_aa": _resized,
    "aten::adaptive_avg_pool2d": _pooled,
}


def _as_products(g: Any, x: Any, size: Any, of: Callable[[Tensor, tuple[int, int]], Tensor]) -> Any:
    """The linear map `of` images [1, 1, H, W] and a size as matrix products from the left and from
    the right of x [B, C, H, W]."""
    from torch.onnx import symbolic_helper

    height, width = symbolic_helper._get_tensor_sizes(x)[2:]
    to = symbolic_helper._parse_arg(size, "is")
    # Applied to the unit matrix, it gives its own matrix.
    left, right = (
        of(torch.eye(side)[None, None], (new, side))[0, 0]
        for side, new in zip((height, width), to, strict=True)
    )
    product = g.op("MatMul", g.op("Constant", value_t=left.contiguous()), x)
    return g.op("MatMul", product, g.op("Constant", value_t=right.T.contiguous()))


def quantised(
    data: bytes, how: Quantised, calibration: Tensor, pixels_in_float: bool = False
) -> bytes:
    """An ONNX file with weights and activations in 8 bits where onnxruntime supports it.

    Batch normalisation is folded into the weights first. Weights are signed, symmetric and scaled
    by channel if static, unsigned and scaled by layer if dynamic (onnxruntime's convolutions
    support no others). Signed weights use 7 bits, -64 to 64: x86 processors without VNNI add two
    products in 16 bits and silently saturate, which would make a file worse there. Raises
    InputError: onnxruntime can't quantise the network.

    Args:
        data: the file.
        calibration: float32 [N, 3, S, S], images of the training part; for `static`.
        pixels_in_float: keep operations on images before the first convolution or linear layer,
            such as resizing, in 32 bits.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        ready, done = Path(folder, "ready.onnx"), Path(folder, "done.onnx")
        try:
            quant_pre_process(onnx.load_from_string(data), str(ready), skip_symbolic_shape=True)
            exclude = _before_layers(onnx.load(str(ready)).graph) if pixels_in_float else []
            if how == "static":
                quantize_static(
                    *(str(ready), str(done), _Calibration(data, calibration)),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    weight_type=QuantType.QInt8,
                    activation_type=QuantType.QUInt8,
                    reduce_range=True,
                    nodes_to_exclude=exclude,
                )
            else:
                quantize_dynamic(
                    *(str(ready), str(done)),
                    op_types_to_quantize=[*_DYNAMIC],
                    weight_type=QuantType.QUInt8,
                    nodes_to_exclude=exclude,
                )
            return done.read_bytes()
        except Exception as error:  # its exceptions share no public class
            raise InputError(
                f"quantise: {how}: onnxruntime can't quantise this network ({reason_of(error)}); "
                "leave it out"
            ) from error


def _before_layers(graph: Any) -> list[str]:
    """Names of the nodes before the first convolution or linear layer. Resizing of the images is a
    product with a constant, and belongs to them."""
    pixels = {graph.input[0].name}
    names = []
    for node in graph.node:  # in order of execution
        resizing = node.op_type == "MatMul" and len(node.input) == 2
        if node.op_type in ("Conv", "Gemm") or not (resizing or node.op_type in _OF_PIXELS):
            continue
        if pixels & set(node.input):
            pixels.update(node.output)
            names.append(node.name)
    return names


_OF_PIXELS = ("Sub", "Div", "Mul", "Add", "Cast", "Identity", "Resize")


class _Calibration:
    """The images as a `CalibrationDataReader` of onnxruntime."""

    def __init__(self, data: bytes, pictures: Tensor) -> None:
        self.name = session_of(data).get_inputs()[0].name
        self.parts: Iterator[Tensor] = iter(pictures.split(_AT_ONCE))

    def get_next(self) -> dict[str, np.ndarray] | None:
        part = next(self.parts, None)
        return None if part is None else {self.name: part.numpy()}


def session_of(data: bytes, threads: int = 1) -> Any:
    """An onnxruntime session of a file, on the CPU; InputError if it can't run the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; warnings come from its optimiser
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no public class
        raise InputError(
            f"onnxruntime can't run this network ({reason_of(error)}); export it again"
        ) from error
