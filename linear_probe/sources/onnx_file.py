"""`FILE.onnx`: a network from anywhere, run by onnxruntime; each of its outputs a feature space."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linear_probe.features.source import Precision
from linear_probe.sources.opening import Opened, numbers_in, opens, side_in, split_options
from ssl_faces import InputError
from ssl_faces.common.errors import reason_of
from ssl_faces.encoders.onnx_files import need_onnx

_OPTIONS = ("size", "mean", "std")
_PIXELS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxSource:
    """An ONNX network as a feature source, by its name: `FILE.onnx`, maybe with options.

    It must have one input, RGB images [B, 3, S, S], and outputs [B, D]. It is given images in [0,
    1], or with `?mean=M&std=S` (one number each, or three with commas) less M and divided by S. S
    is the input's, or `?size=S` where that is left open. B may be fixed.

    Raises:
        InputError: the file is no such network, or onnxruntime is not installed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        base, self._options = split_options(name, _OPTIONS)
        self.path = Path(base)
        self._session = self._open(["CPUExecutionProvider"])
        self._take_input()
        self.mean = numbers_in(name, self._options, "mean") or (0.0,)
        self.std = numbers_in(name, self._options, "std") or (1.0,)
        if not all(self.std):
            raise InputError(f"{name}: std of 0 can't be divided by; give another")
        self._outputs = [output.name for output in self._session.get_outputs()]
        probe = np.zeros((self._batch or 2, 3, self.input_size, self.input_size), self._pixels)
        self.dims = {space: int(values.shape[1]) for space, values in self._run(probe).items()}

    @cached_property
    def fingerprint(self) -> str:
        data = self.path.read_bytes()
        digest = hashlib.sha256(data)
        # Weights may lie in files beside it, which it names.
        for beside in sorted(self.path.parent.iterdir()):
            if beside != self.path and beside.is_file() and beside.name.encode() in data:
                with beside.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(f"{self.mean} {self.std}".encode())
        return digest.hexdigest()

    def to(self, device: str) -> None:
        """Run on `cuda` from now on, where onnxruntime can; else on the CPU."""
        import onnxruntime

        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            self._session = self._open(["CUDAExecutionProvider", "CPUExecutionProvider"])

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Features [B, D] by output, of RGB images float [B, 3, S, S] in [0, 1]."""
        mean, std = (images.new_tensor(x).view(-1, 1, 1) for x in (self.mean, self.std))
        pixels = ((images - mean) / std).cpu().numpy().astype(self._pixels)
        size = self._batch or len(pixels)
        rows: dict[str, list[np.ndarray]] = {space: [] for space in self._outputs}
        for start in range(0, len(pixels), size):
            batch = pixels[start : start + size]
            short = size - len(batch)
            # A fixed batch must be full; the pictures that fill it are taken off again.
            full = np.concatenate([batch, np.repeat(batch[-1:], short, axis=0)])
            for space, values in self._run(full).items():
                rows[space].append(values[: len(batch)])
        return {space: torch.from_numpy(np.concatenate(rows[space])) for space in self.dims}

    def _open(self, providers: list[str]) -> Any:
        need_onnx(self.name)
        import onnxruntime

        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file; give the ONNX file of an encoder")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; warnings are of its optimiser
        try:
            return onnxruntime.InferenceSession(str(self.path), options, providers=providers)
        # Its own exceptions share no public class.
        except Exception as error:
            raise InputError(
                f"{self.path}: not an ONNX network that onnxruntime can run ({reason_of(error)}); "
                "export it again"
            ) from error

    def _take_input(self) -> None:
        inputs = [(i.name, i.type, list(i.shape)) for i in self._session.get_inputs()]
        name, kind, shape = inputs[0] if len(inputs) == 1 else ("", "", [])
        if kind not in _PIXELS or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
            there = ", ".join(f"'{name}' {kind} {shape}" for name, kind, shape in inputs) or "none"
            raise InputError(
                f"{self.path}: has the inputs {there} and not one of floats [B, 3, S, S]; export "
                "it for RGB images in [0, 1], channels first"
            )
        self._input: str = name
        self._pixels = _PIXELS[kind]
        self._batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
        sides = {side for side in shape[2:] if isinstance(side, int)}
        wanted = side_in(self.name, self._options)
        if wanted is not None:
            sides.add(wanted)
        if not sides:
            raise InputError(
                f"{self.path}: its input leaves the pictures' size open; "
                f"say which: {self.path}?size=112"
            )
        if len(sides) > 1:
            raise InputError(
                f"{self.name}: its input '{self._input}' is {shape}"
                + (f", which size={wanted} does not fit" if wanted else " and not square")
                + "; only square pictures of its own size can be given"
            )
        (self.input_size,) = sides

    def _run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs [B, D] of images [B, 3, S, S]."""
        try:
            outputs: list[Any] = self._session.run(self._outputs, {self._input: pixels})
        except Exception as error:
            raise InputError(
                f"{self.path}: fails on pictures {list(pixels.shape)} ({reason_of(error)}); "
                "export it again, with a batch of any size"
            ) from error
        for space, values in zip(self._outputs, outputs, strict=True):
            array = np.asarray(values)
            if array.ndim != 2 or len(array) != len(pixels) or array.dtype.kind != "f":
                raise InputError(
                    f"{self.path}: its output '{space}' is {array.dtype} {list(array.shape)} for "
                    f"{len(pixels)} pictures and not floats [{len(pixels)}, D]; export it with "
                    "pooled features only"
                )
        return dict(zip(self._outputs, outputs, strict=True))


@opens(lambda name: name.partition("?")[0].endswith(".onnx"))
def _open(name: str, precision: Precision) -> Opened:
    return Opened(OnnxSource(name))
