"""Two branches, pictures and their local binary patterns, fused by attention, then a transformer.

Ma, Sun, Li: Robust Facial Expression Recognition with Convolutional Visual Transformers, 2021.
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linear_probe.heads.crops import mirrored_and_moved
from linear_probe.heads.goals import Goal
from linear_probe.heads.head import Head, check_picture_size, on_black, overlaid
from ssl_faces import FaceEncoder, InputError, load_encoder
from ssl_faces.common.ranges import (
    ImageSide,
    LayerCount,
    LayerWidth,
    PositiveInt,
    UnitBelow1,
    WidthFactor,
    check_ranges,
)
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings, new_encoder

Fusion = Literal["attention", "sum", "concatenation", "pictures", "patterns"]
Aggregation = Literal["attention", "average"]
_POINTS, _RADIUS = 8, 1.0
_LUMA = (0.2125, 0.7154, 0.0721)  # ITU-R BT.709, as scikit-image's


def lbp_maps(images: Tensor) -> Tensor:
    """Codes / 255, float [B, 1, S, S] in [0, 1], of RGB pictures float [B, 3, S, S] in [0, 1].

    Bit k is 1 if the luma at the angle of k eighths of a turn, a pixel away and interpolated, is at
    least the pixel's own (Ojala et al., PAMI 2002); outside the image luma is 0. As
    scikit-image's `local_binary_pattern(P=8, R=1)`.
    """
    # In the whole steps of 8 bits, so that equal neighbours are equal.
    weights = images.new_tensor(_LUMA).view(3, 1, 1)
    luma = (255 * (images.float() * weights).sum(1, keepdim=True)).round()
    kernels = torch.zeros(_POINTS, 1, 3, 3, dtype=torch.float64, device=images.device)
    for k in range(_POINTS):
        y = round(-_RADIUS * math.sin(2 * math.pi * k / _POINTS), 5)
        x = round(_RADIUS * math.cos(2 * math.pi * k / _POINTS), 5)
        top, left = math.floor(y), math.floor(x)
        down, right = y - top, x - left
        for row, weight_y in ((top, 1 - down), (top + 1, down)):
            for column, weight_x in ((left, 1 - right), (left + 1, right)):
                if weight_y * weight_x:
                    kernels[k, 0, row + 1, column + 1] += weight_y * weight_x
    # A product, and no convolution, for which some runtimes have no doubles.
    around = kernels.flatten(1) @ F.unfold(luma.double(), 3, padding=1)
    around = around.unflatten(2, luma.shape[2:])
    bits = (around - luma >= -1e-9).float()
    powers = (2.0 ** torch.arange(_POINTS, device=images.device)).view(1, -1, 1, 1)
    return (bits * powers).sum(1, keepdim=True) / (2**_POINTS - 1)


class AttentionalFusion(nn.Module):
    """Attentional selective fusion of two maps: w a + (1 - w) b, where w [B, C, h, w] in (0, 1) is
    the sigmoid of a local plus a global path, both applied to a + b; inner layers have `channels
    / reduction` channels."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        inner = max(1, channels // reduction)

        def path(*first: nn.Module) -> nn.Sequential:
            return nn.Sequential(
                *first,
                *(nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner), nn.ReLU()),
                *(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels)),
            )

        self.local = path()
        self.whole = path(nn.AdaptiveAvgPool2d(1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        both = a + b
        weight = torch.sigmoid(self.local(both) + self.whole(both))
        return weight * a + (1 - weight) * b


class Block(nn.Module):
    """A pre-norm transformer layer; returns the attention too if `weigh`, which takes longer."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.mlp = nn.Sequential(
            *(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout)),
            *(nn.Linear(4 * dim, dim), nn.Dropout(dropout)),
        )

    def forward(self, x: Tensor, weigh: bool = False) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, n, dim], and the attention [B, n, n], the mean over heads, or None."""
        normed = self.first(x)
        added, weights = self.attention(normed, normed, normed, need_weights=weigh)
        x = x + added
        return x + self.mlp(self.second(x)), weights


def started_from(name: str, least_side: int) -> BackboneEncoder:
    """The network of a trained ResNet, by its released name or folder, up to its deepest map of
    `least_side` places or more a side, to be trained on. Raises InputError: an encoder without
    such a map, or of another kind."""
    from timm.models.resnet import ResNet  # takes a second

    encoder = load_encoder(name)
    network = encoder.network if isinstance(encoder, BackboneEncoder) else None
    if not isinstance(network, ResNet):
        raise InputError(f"head.trunk: {name} is no ResNet; give one, such as hybrid")
    assert isinstance(encoder, BackboneEncoder)
    side = encoder.input_size
    with torch.no_grad():
        maps = encoder.eval().network.forward_intermediates(
            torch.zeros(1, 3, side, side), intermediates_only=True
        )
    wide = [number for number, of in enumerate(maps) if of.shape[-1] >= least_side]
    if not wide:
        raise InputError(
            f"head.least_map: {least_side}; the largest map of {name} has {maps[0].shape[-1]} "
            "places a side: give fewer"
        )
    network.prune_intermediate_layers([wide[-1]], prune_head=True)
    # What is left has no code, and each weight a gradient.
    encoder.codes = nn.ModuleDict()
    network.num_features = maps[wide[-1]].shape[1]
    return encoder.train().requires_grad_(True)


class CVT(Head):
    """Convolutional visual transformer.

    Args:
        goal: see `Head`.
        encoder: frozen, for the maps of both branches (images, and patterns as images); None: a
            ResNet-18 for each branch.
        picture_size: side of the images; with an encoder or a trunk that one's.
        width: of the ResNets.
        dim: length of the tokens.
        depth, heads: of the transformer.
        dropout: in the transformer.
        fusion: of both branches; `pictures` and `patterns` are one branch alone.
        aggregation: of the tokens: a class token that attends to all through the transformer, or
            their mean without one.
        trunk: a released encoder or the folder of one, a ResNet: both branches start from its
            weights, as the paper's from a network that recognises faces (MS-Celeb-1M).
        least_map: with a trunk, places a side that the map has at least, each a visual word.

    Raises:
        InputError: an encoder without a map, or sizes that don't fit.
    """

    name = "cvt"

    def __init__(
        self,
        goal: Goal,
        encoder: FaceEncoder | None = None,
        picture_size: ImageSide = 48,
        width: WidthFactor = 0.5,
        dim: LayerWidth = 128,
        depth: LayerCount = 4,
        heads: LayerCount = 8,
        dropout: UnitBelow1 = 0.1,
        fusion: Fusion = "attention",
        aggregation: Aggregation = "attention",
        trunk: str | None = None,
        least_map: PositiveInt = 6,
    ) -> None:
        super().__init__(goal, encoder)
        check_ranges(type(self).__init__, locals(), "head")
        if dim % heads:
            raise InputError(f"head.dim: {dim}; give a multiple of head.heads, {heads}")
        self.fusion, self.aggregation = fusion, aggregation
        if encoder is not None and trunk is not None:
            raise InputError("head.trunk: an encoder makes the maps of both branches; give one")
        self.picture_size = picture_size if encoder is None else encoder.input_size
        if encoder is None:
            names = [n for n in ("pictures", "patterns") if fusion in (n, *_BOTH)]
            if trunk is None:
                check_picture_size(picture_size)
                settings = EncoderSettings("resnet18", picture_size, width)
                trunks = [new_encoder(settings) for _ in names]
            else:
                trunks = [started_from(trunk, least_map) for _ in names]
                self.picture_size = trunks[0].input_size
            self.trunks = nn.ModuleDict(dict(zip(names, trunks, strict=True)))
            channels = trunks[0].network.num_features
        elif isinstance(encoder, BackboneEncoder):
            self.space = "map"
            side = encoder.input_size
            channels = encoder.last_map(torch.zeros(1, 3, side, side)).shape[1]
        else:
            raise InputError(
                f"encoder: cvt needs a last map, and a {encoder.encoder_name} has none; give one "
                "of the encoders of `ssl-faces fit` by name"
            )
        self.fuse = AttentionalFusion(channels) if fusion == "attention" else None
        self.project = nn.Linear(channels * (2 if fusion == "concatenation" else 1), dim)
        if aggregation == "attention":
            places = on_black(self, self.words)
            self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
            self.positions = nn.Parameter(torch.empty(1, places.shape[1] + 1, dim))
            nn.init.trunc_normal_(self.positions, std=0.02)
            self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Sequential(
            nn.Linear(dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, goal.outputs)
        )

    def vary(self, images: Tensor) -> Tensor:
        return mirrored_and_moved(images)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The map [B, C, h, w] of each branch there is, of pictures in [0, 1]."""
        shown = {"pictures": images, "patterns": lbp_maps(images).expand(-1, 3, -1, -1)}
        maps = []
        for name, picture in shown.items():
            if self.fusion in (name, *_BOTH):
                trunk = cast(BackboneEncoder, self.encoder or self.trunks[name])
                maps.append(trunk.last_map(trunk.normalise(picture)))
        return maps

    def words(self, images: Tensor) -> Tensor:
        """Visual words [B, h w, dim], row by row."""
        maps = self.maps(images)
        if self.fuse is not None:
            fused = self.fuse(*maps)
        elif self.fusion == "concatenation":
            fused = torch.cat(maps, 1)
        else:
            fused = torch.stack(maps).sum(0)
        return self.project(fused.flatten(2).transpose(1, 2))

    def embed(self, images: Tensor) -> Tensor:
        x, _ = self._attended(images)
        return self.norm(x)

    def attention(self, images: Tensor) -> Tensor:
        """How much the class token attends to each place in the last layer: [B, h, w]."""
        _, weights = self._attended(images, weigh=True)
        if weights is None:
            raise InputError("head.aggregation: average; only attention has maps to look at")
        of_places = weights[:, 0, 1:]
        side = round(of_places.shape[1] ** 0.5)
        return of_places.unflatten(1, (side, side))

    def panels(self, images: Tensor) -> dict[str, Tensor]:
        """The pictures, their local binary patterns, and where the class token attends to."""
        rows = {"picture": images, "LBP": lbp_maps(images).expand(-1, 3, -1, -1)}
        if self.aggregation == "attention":
            rows["attention"] = overlaid(images, self.attention(images))
        return rows

    def _attended(self, images: Tensor, weigh: bool = False) -> tuple[Tensor, Tensor | None]:
        x = self.words(images)
        if self.aggregation == "average":
            return x.mean(1), None
        x = torch.cat((self.class_token.expand(x.shape[0], -1, -1), x), 1) + self.positions
        weights = None
        for block in self.blocks:
            x, weights = block(x, weigh)
        return x[:, 0], weights


_BOTH = ("attention", "sum", "concatenation")
