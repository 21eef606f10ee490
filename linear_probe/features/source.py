"""The contract of feature sources: encoders and baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ssl_faces.common.hardware import fast_bfloat16

Precision = Literal["32", "bf16"]


def precision_named(name: str) -> Precision:
    """`32` or `bf16`; `auto` is bf16 where the hardware has it."""
    if name == "auto":
        return "bf16" if fast_bfloat16() else "32"
    return "bf16" if name == "bf16" else "32"


class Encoder(Protocol):
    """What a frozen encoder must offer; `ssl_faces.load_encoder` gives one."""

    encoder_name: str
    input_size: int
    config: dict[str, Any]
    feature_dims: dict[str, int]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Features [B, D] by space, of RGB images float [B, 3, S, S] in [0, 1]."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]: ...


def add_weights(digest: Any, state: Mapping[str, Tensor]) -> None:
    """Update a hash with the names, types, shapes and values of weights."""
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())


class Source(Protocol):
    """Where features come from: an encoder or a baseline (`ImageSource`), or a `KeyedSource`.

    Attributes:
        name: how tables call it.
        fingerprint: SHA-256 (hex) of all that decides its features.
        dims: length of the features of each space.
    """

    name: str
    dims: dict[str, int]

    @property
    def fingerprint(self) -> str: ...


class ImageSource(Source, Protocol):
    """A source that makes features of pixels.

    Attributes:
        input_size: side of the pictures it takes.
    """

    input_size: int

    def to(self, device: str) -> None: ...

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Features [B, D] by space, of RGB images float [B, 3, S, S] in [0, 1]."""
        ...
