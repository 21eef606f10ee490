"""Any network as an encoder: its output, and features of its layers and tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD, FaceEncoder

POOLED, CLASS_TOKEN, PATCHES_MEAN = "pooled", "class_token", "patches_mean"

_TOKENS = "*"
"""Stands for the last tokens, among the names of layers."""
_GRID = re.compile(r"(.+)@([1-9]\d*)x\2")


class WrappedEncoder(FaceEncoder):
    """A network with its normalisation, frozen and in eval mode.

    | feature space | contents |
    | --- | --- |
    | `pooled` | the output: [B, D] as it is, the mean of a map [B, C, h, w] or of patch tokens |
    | NAME | likewise, of each tensor of an output that is a mapping |
    | `class_token`, `patches_mean` | of the last tokens [B, N, D] |
    | LAYER, such as `layer3`, `blocks.5` | the output of a submodule, its mean over positions |
    | LAYER@2x2 | its map pooled to 2x2 and flattened, channel-first; keeps positions |

    Args:
        network: takes normalised images [B, 3, size, size].
        size: side of the images.
        mean, std: of the normalisation of images in [0, 1]: one number, or one for each channel.
        spaces: which feature spaces; none: `pooled`, or all of a mapping.
        kind: the encoder's name in fingerprints and messages.
        config: what else decides the features. If it names `code` of unknown versions, features of
            a fixed image are added, which change with it.

    Raises:
        InputError: no such layer, or outputs that are no features; a std of 0.
    """

    network: Any

    def __init__(
        self,
        network: nn.Module,
        size: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        spaces: Sequence[str] = (),
        kind: str = "module",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(size, {**(config or {}), "mean": list(mean), "std": list(std)})
        self.encoder_name = kind
        if not all(std):
            raise self._error("can't divide by a std of 0", "give another")
        self.mean = torch.tensor(mean).view(-1, 1, 1)
        self.std = torch.tensor(std).view(-1, 1, 1)
        self.network = network
        if spaces:
            self.config["spaces"] = list(spaces)
        self._layers = {space: self._layer_of(space) for space in dict.fromkeys(spaces)}
        self.eval().requires_grad_(False)
        draw = torch.Generator().manual_seed(0)
        try:
            with torch.inference_mode():
                answers = self(torch.rand(2, 3, size, size, generator=draw))
        except InputError:
            raise
        except Exception as error:  # whatever the network raises
            what = f"fails on images [2, 3, {size}, {size}] ({reason_of(error)})"
            raise self._error(what, "give the size that it takes") from error
        self.feature_dims = {space: values.shape[1] for space, values in answers.items()}
        if "code" in self.config:
            shown = {space: [f"{x:.3g}" for x in rows[0, :8]] for space, rows in answers.items()}
            self.config["answers"] = shown

    def forward(self, images: Tensor, spaces: Collection[str] | None = None) -> dict[str, Tensor]:
        wanted = self._layers if spaces is None else spaces
        features = self.features(self.normalise(self.resize(images)), wanted)
        return {space: features[space] for space in wanted or features}

    def features(self, x: Tensor, spaces: Collection[str]) -> dict[str, Tensor]:
        layers = {space: at for space in spaces if (at := self._layers.get(space)) is not None}
        with self._watched({layer for layer, _ in layers.values()}) as seen:
            output = self.network(x)
        features = {}
        if len(layers) < len(spaces) or not spaces:
            named = output if isinstance(output, Mapping) else {POOLED: output}
            tensors = {str(k): v for k, v in named.items() if isinstance(v, Tensor) and v.ndim > 1}
            if not tensors:
                raise self._error(f"returns a {type(output).__name__}", "return a tensor [B, D]")
            features = {space: self._vectors(space, value) for space, value in tensors.items()}
            for space in spaces:
                if space not in {*features, *layers}:
                    raise self._unknown(space, features)
        for space, (layer, grid) in layers.items():
            value = seen.get(layer)
            if value is None or value.ndim < 2:
                what = "gives no tokens" if layer == _TOKENS else f"gives no tensor at '{layer}'"
                raise self._error(what, "choose another feature space")
            if space == CLASS_TOKEN:
                if not self._prefix(value):
                    raise self._error("has no class token", "choose patches_mean")
                features[space] = value[:, 0]
            else:
                features[space] = self._vectors(space, value, grid)
        return features

    def _layer_of(self, space: str) -> tuple[str, int] | None:
        """The layer of a feature space, and the side of its grid (0: its mean); None: an output."""
        if space in (CLASS_TOKEN, PATCHES_MEAN):
            return _TOKENS, 0
        grid = _GRID.fullmatch(space)
        layer = grid[1] if grid else space
        if layer in dict(self.network.named_modules()):
            return layer, int(grid[2]) if grid else 0
        if grid:
            raise self._unknown(layer, ())
        return None

    @contextmanager
    def _watched(self, layers: Collection[str]) -> Iterator[dict[str, Tensor]]:
        """The outputs of these layers, once the network has run."""
        seen: dict[str, Tensor] = {}

        def keep(name: str, module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                if name in layers:
                    seen[name] = output
                if output.ndim == 3:
                    seen[_TOKENS] = output

        hooks = [
            module.register_forward_hook(partial(keep, name))
            for name, module in (self.network.named_modules() if layers else ())
            if name in layers or _TOKENS in layers
        ]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def _vectors(self, space: str, value: Tensor, grid: int = 0) -> Tensor:
        """[B, D] of an output [B, D], a map [B, C, h, w] or tokens [B, N, D]."""
        if value.ndim == 2 and not grid:
            return value
        if value.ndim == 3:
            value = value[:, self._prefix(value) :].transpose(1, 2)
            side = math.isqrt(value.shape[2])
            if not grid:
                return value.mean(2)
            if side * side == value.shape[2]:
                value = value.unflatten(2, (side, side))
        elif getattr(self.network, "output_fmt", None) == "NHWC" and value.ndim == 4:
            value = value.permute(0, 3, 1, 2)  # of some of timm
        if value.ndim != 4:
            shape = list(value.shape)
            raise self._error(f"gives '{space}' as {shape}", "give features [B, D], maps or tokens")
        return F.adaptive_avg_pool2d(value, grid).flatten(1) if grid else value.mean((2, 3))

    def _prefix(self, tokens: Tensor) -> int:
        """Tokens that are no patches; without the network's own word, one if that leaves a grid."""
        known = getattr(self.network, "num_prefix_tokens", None)
        count = tokens.shape[1]
        return known if known is not None else int(math.isqrt(count - 1) ** 2 == count - 1)

    def _unknown(self, name: str, outputs: Collection[str]) -> InputError:
        names = [*outputs, *(layer for layer, _ in self.network.named_modules() if layer)]
        near = get_close_matches(name, names, n=4, cutoff=0.5) or [*names[:4], "…"]
        return self._error(f"has no layer or output '{name}'", f"near it are {', '.join(near)}")

    def _error(self, what: str, mend: str) -> InputError:
        name = self.config.get("name")
        title = f"{self.encoder_name}:{name}" if name else self.encoder_name
        return InputError(f"{title}: the network {what}; {mend}")


def wrap_encoder(
    network: nn.Module,
    size: int = 224,
    mean: float | Sequence[float] = IMAGENET_MEAN,
    std: float | Sequence[float] = IMAGENET_STD,
    features: Sequence[str] = (),
) -> WrappedEncoder:
    """Any network as an encoder, for `embed` and probes.

    The network is put into eval mode and frozen.

    Args:
        network: takes normalised images [B, 3, size, size]; returns features [B, D], a map, tokens,
            or a mapping of these.
        size: side to which images are resized.
        mean, std: of the normalisation of images in [0, 1]: one number, or one for each channel.
        features: feature spaces, see `WrappedEncoder`; none: what the network returns.

    Raises:
        InputError: no such layer, or outputs that are no features.
    """
    kind = type(network)
    config = {"code": f"{kind.__module__}.{kind.__qualname__}"}
    return WrappedEncoder(network, size, _each(mean), _each(std), features, config=config)


def _each(values: float | Sequence[float]) -> Sequence[float]:
    return (values,) if isinstance(values, int | float) else values
