"""Two convolutions and four Inception layers on registered faces of 48 px, scored by ten crops.

Mollahosseini, Chan, Mahoor: Going Deeper in Facial Expression Recognition using Deep Neural
Networks, WACV 2016.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.models.googlenet import BasicConv2d

from linear_probe.heads.crops import CroppedHead, ten_crops
from linear_probe.heads.goals import Goal
from linear_probe.heads.head import FrozenFeatures
from ssl_faces import FaceEncoder, InputError
from ssl_faces.common.ranges import (
    LayerWidth,
    NonNegativeInt,
    UnitBelow1,
    WidthFactor,
    check_ranges,
)


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a pooled path side by side (Szegedy et al., CVPR 2015),
    with batch normalisation; torchvision's has 3x3 for 5x5.

    Args:
        channels: of the input.
        one, three, five, pooled: channels of each path's output; before them those of its 1x1
            convolution.
    """

    def __init__(
        self, channels: int, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int
    ) -> None:
        super().__init__()
        self.paths = nn.ModuleList(
            (
                BasicConv2d(channels, one, kernel_size=1),
                nn.Sequential(
                    BasicConv2d(channels, three[0], kernel_size=1),
                    BasicConv2d(*three, kernel_size=3, padding=1),
                ),
                nn.Sequential(
                    BasicConv2d(channels, five[0], kernel_size=1),
                    BasicConv2d(*five, kernel_size=5, padding=2),
                ),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), BasicConv2d(channels, pooled, kernel_size=1)),
            )
        )
        self.channels = one + three[1] + five[1] + pooled

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([path(x) for path in self.paths], 1)


class TenCrops(CroppedHead):
    """A head that averages its outputs of ten crops."""

    def predict(self, images: Tensor) -> Tensor:
        crops = ten_crops(images, self.picture_size)
        return self.goal.average(self(crops.flatten(0, 1)).unflatten(0, crops.shape[:2]))


class InceptionFER(TenCrops):
    """The paper's network, or its classifier on a frozen encoder's features.

    Args:
        goal, encoder: see `Head`.
        space: with an encoder: which of its feature spaces.
        width: factor on the channels of the convolutions; 1 is the paper's.
        hidden: lengths of the two hidden layers.
        dropout: behind both.
        margin: pixels around the 48 that crops leave out.
    """

    name = "inception_fer"

    def __init__(
        self,
        goal: Goal,
        encoder: FaceEncoder | None = None,
        space: str = "pooled",
        width: WidthFactor = 1.0,
        hidden: tuple[LayerWidth, LayerWidth] = (4096, 1024),
        dropout: UnitBelow1 = 0.5,
        margin: NonNegativeInt = 6,
    ) -> None:
        super().__init__(goal, encoder, 48, margin)
        check_ranges(type(self).__init__, locals(), "head")
        self.features: InceptionTrunk | FrozenFeatures
        if encoder is None:
            self.features = InceptionTrunk(width)
        else:
            self.features, self.space = FrozenFeatures(encoder, space), space
        self.classifier = classifier(self.features.dim, hidden, goal.outputs, dropout)

    def embed(self, images: Tensor) -> Tensor:
        return self.features(images)


class PlainFER(TenCrops):
    """The claim's baseline: convolutions in a row, as in AlexNet, of as much arithmetic
    (Krizhevsky et al., NIPS 2012; its five layers for pictures of 48 px).

    Args: as of `InceptionFER`; a width of 1 costs what InceptionFER of width 1 does.
    """

    name = "plain_fer"

    def __init__(
        self,
        goal: Goal,
        encoder: FaceEncoder | None = None,
        width: WidthFactor = 1.0,
        hidden: tuple[LayerWidth, LayerWidth] = (4096, 1024),
        dropout: UnitBelow1 = 0.5,
        margin: NonNegativeInt = 6,
    ) -> None:
        super().__init__(goal, None, 48, margin)
        check_ranges(type(self).__init__, locals(), "head")
        if encoder is not None:
            raise InputError("encoder: plain_fer is a network of its own; leave it out")
        sizes = [_channels(c, width) for c in (64, 96, 176, 160, 128)]
        layers: list[nn.Module] = [
            BasicConv2d(3, sizes[0], kernel_size=7, stride=2, padding=3),
            nn.MaxPool2d(3, 2, 1),
            BasicConv2d(sizes[0], sizes[1], kernel_size=5, padding=2),
            nn.MaxPool2d(3, 2, 1),
        ]
        for before, after in pairwise(sizes[1:]):
            layers.append(BasicConv2d(before, after, kernel_size=3, padding=1))
        self.features = nn.Sequential(
            *layers, nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classifier = classifier(sizes[-1], hidden, goal.outputs, dropout)

    def embed(self, images: Tensor) -> Tensor:
        return self.features(2 * images - 1)


class InceptionTrunk(nn.Sequential):
    """Images [B, 3, 48, 48] in [0, 1] to [B, dim], which is 512 at width 1."""

    def __init__(self, width: float) -> None:
        def c(channels: int) -> int:
            return _channels(channels, width)

        a = Inception(c(192), c(64), (c(96), c(128)), (c(16), c(32)), c(32))
        b = Inception(a.channels, c(128), (c(128), c(192)), (c(32), c(96)), c(64))
        third = Inception(b.channels, c(192), (c(96), c(208)), (c(16), c(48)), c(64))
        fourth = Inception(third.channels, c(192), (c(96), c(208)), (c(16), c(48)), c(64))
        super().__init__(
            nn.Identity(),  # so that layers have the numbers that checkpoints have
            BasicConv2d(3, c(64), kernel_size=7, stride=2, padding=3),
            nn.MaxPool2d(3, 2, 1),
            BasicConv2d(c(64), c(192), kernel_size=3, padding=1),
            nn.MaxPool2d(3, 2, 1),
            *(a, b, nn.MaxPool2d(3, 2, 1), third, fourth),
        )
        self.dim = fourth.channels

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(2 * input - 1).mean((2, 3))


def classifier(length: int, hidden: tuple[int, int], outputs: int, dropout: float) -> nn.Sequential:
    """Two hidden layers and the last."""
    return nn.Sequential(
        *(nn.Linear(length, hidden[0]), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Linear(hidden[0], hidden[1]), nn.ReLU(), nn.Dropout(dropout)),
        nn.Linear(hidden[1], outputs),
    )


def _channels(channels: int, width: float) -> int:
    return max(1, round(channels * width))
