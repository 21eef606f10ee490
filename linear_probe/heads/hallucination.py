"""Faces of few pixels are hallucinated larger, then recognised; both sub-networks learn together.

Wu, Ding, Xu, Chao: Deep Joint Face Hallucination and Recognition, 2016. The distance within a class
is Wen et al.'s centre loss (ECCV 2016).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from linear_probe.heads.goals import Categories, Goal
from linear_probe.heads.head import Head, Measure, check_picture_size, dim_of
from ssl_faces import FaceEncoder, InputError
from ssl_faces.common.ranges import (
    ImageSide,
    LayerCount,
    LayerWidth,
    NonNegativeFloat,
    PositiveInt,
    WidthFactor,
    check_ranges,
)
from ssl_faces.networks.backbone import EncoderSettings, new_encoder

Hallucinator = Literal["joint", "separate", "bicubic"]
SCALES = (2, 4, 8)


class SuperResolution(nn.Module):
    """The residual of a bicubic enlargement by 2, 4 or 8, by residual blocks at the small size and
    sub-pixel convolutions (Lim et al., EDSR, 2017; Shi et al. 2016), without batch
    normalisation."""

    def __init__(self, scale: int, channels: int = 48, blocks: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(blocks)
        )
        ups: list[nn.Module] = []
        for _ in range(scale.bit_length() - 1):
            ups += [nn.Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2)]
        self.up = nn.Sequential(*ups)
        self.last = nn.Conv2d(channels, 3, 3, padding=1)
        # At first it is the bicubic enlargement.
        for p in self.last.parameters():
            nn.init.zeros_(p)

    def forward(self, small: Tensor) -> Tensor:
        """Pictures [B, 3, s, s] in [0, 1] to [B, 3, scale s, scale s]."""
        x = self.first(small)
        for block in self.blocks:
            x = x + block(x)
        return enlarged(small, self.scale) + self.last(self.up(x))


class CentredClassifier(nn.Module):
    """A linear classifier of features [B, dim], and a learned centre for each class."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, classes)
        self.centres = nn.Parameter(torch.zeros(classes, dim))

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)

    def distance(self, features: Tensor, labels: Tensor) -> Tensor:
        """Half the squared distance of features [B, dim] to the centres of their classes [B], the
        mean over the batch."""
        gaps = (features.float() - self.centres[labels]).square()
        return gaps.sum(1).mean() / 2


class Hallucination(Head):
    """A hallucination sub-network, followed by a recognition sub-network.

    Images are reduced by `scale` first; the head sees nothing else of them.

    Args:
        goal: see `Head`; classes, such as people.
        encoder: recognises, frozen; gradients of its features reach the hallucination. None: a
            ResNet-18 that learns.
        space: with an encoder: which of its feature spaces.
        scale: by which images are reduced and enlarged again: 2, 4 or 8.
        picture_size: side of the true images; with an encoder that encoder's.
        width: of the ResNet.
        dim: length of the ResNet's features.
        channels, blocks: of the hallucination.
        hallucinator: `joint`: both are trained together; `separate`: each alone, the first to match
            the true pixels, the second to recognise true images; `bicubic`: no hallucination, the
            recogniser is trained on bicubic enlargements.
        pixel_weight: of the mean squared difference of pixels: with 10 instead of 300 hallucinated
            faces are hardly sharper than bicubic enlargements.
        centre_weight: of the distance to the class centres.

    Raises:
        InputError: a scale that the side can't be divided by, or a goal without classes.
    """

    name = "hallucination"

    def __init__(
        self,
        goal: Goal,
        encoder: FaceEncoder | None = None,
        space: str = "identity",
        scale: PositiveInt = 4,
        picture_size: ImageSide = 48,
        width: WidthFactor = 0.5,
        dim: LayerWidth = 128,
        channels: LayerWidth = 48,
        blocks: LayerCount = 4,
        hallucinator: Hallucinator = "joint",
        pixel_weight: NonNegativeFloat = 300.0,
        centre_weight: NonNegativeFloat = 0.01,
    ) -> None:
        super().__init__(goal, encoder)
        check_ranges(type(self).__init__, locals(), "head")
        if not isinstance(goal, Categories):
            raise InputError("task: hallucination learns classes; give identity or expression")
        if encoder is None:
            check_picture_size(picture_size)
        self.picture_size = picture_size if encoder is None else encoder.input_size
        if scale not in SCALES:
            raise InputError(f"head.scale: {scale}; give {', '.join(map(str, SCALES))}")
        if self.picture_size % scale:
            raise InputError(
                f"head.scale: {scale} does not divide the pictures' side, {self.picture_size} px; "
                "give another scale or size"
            )
        self.scale, self.hallucinator = scale, hallucinator
        self.pixel_weight, self.centre_weight = pixel_weight, centre_weight
        if hallucinator != "bicubic":
            self.enlarge = SuperResolution(scale, channels, blocks)
        if encoder is None:
            settings = EncoderSettings("resnet18", self.picture_size, width)
            self.recogniser = new_encoder(settings, {"identity": dim})
            self._space, length = "identity", dim
        else:
            self._space, length = space, dim_of(encoder, space)
            self.space = space
        self.classifier = CentredClassifier(length, goal.outputs)

    def made_small(self, images: Tensor) -> Tensor:
        """[B, 3, S / scale, S / scale] of pictures [B, 3, S, S] in [0, 1]."""
        side = images.shape[-1] // self.scale
        small = F.interpolate(images, (side, side), mode="bicubic", antialias=True)
        return small.clamp(0, 1)

    def hallucinated(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] in [0, 1] after reduction and enlargement, perhaps a little outside
        of [0, 1]."""
        small = self.made_small(images)
        if self.hallucinator == "bicubic":
            return enlarged(small, self.scale)
        return self.enlarge(small)

    def recognised(self, images: Tensor) -> Tensor:
        """Features [B, D] of large pictures."""
        encoder = self.encoder or self.recogniser
        return encoder(images, (self._space,))[self._space]

    def embed(self, images: Tensor) -> Tensor:
        return self.recognised(self.hallucinated(images))

    def losses(self, images: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        made = self.hallucinated(images)
        seen = images if self.hallucinator == "separate" else made
        features = self.recognised(seen)
        losses = self.goal.losses(self.classify(features), labels, balanced)
        if self.centre_weight:
            losses["centres"] = self.centre_weight * self.classifier.distance(features, labels)
        if self.hallucinator != "bicubic":
            losses["pixels"] = self.pixel_weight * F.mse_loss(made.float(), images.float())
        return losses

    def vary(self, images: Tensor) -> Tensor:
        mirrored = (torch.rand(len(images), 1, 1, 1) < 0.5).to(images.device)
        return torch.where(mirrored, images.flip(3), images).float() / 255

    def measures(self, images: Tensor) -> dict[str, Measure]:
        """How near the hallucinated faces are to the true ones: PSNR, and SSIM x 100 with a
        Gaussian window of 11 px."""
        made, true = self.hallucinated(images).clamp(0, 1).float(), images.float()
        noise = peak_signal_noise_ratio(made, true, data_range=1.0, reduction="none", dim=(1, 2, 3))
        alike = structural_similarity_index_measure(made, true, data_range=1.0, reduction="none")
        assert isinstance(alike, Tensor)
        return {"PSNR": Measure(noise, "dB", True), "SSIM": Measure(100 * alike, "%", True)}

    def panels(self, images: Tensor) -> dict[str, Tensor]:
        """The pictures made small, their bicubic enlargement, what is hallucinated, the truth."""
        small = self.made_small(images)
        return {
            f"{small.shape[-1]} px": F.interpolate(small, images.shape[-2:], mode="nearest"),
            "bicubic": enlarged(small, self.scale).clamp(0, 1),
            "hallucinated": self.hallucinated(images).clamp(0, 1),
            "true": images,
        }


def enlarged(small: Tensor, scale: int) -> Tensor:
    """Bicubic: [B, 3, scale s, scale s] of [B, 3, s, s]."""
    return F.interpolate(small, scale_factor=float(scale), mode="bicubic")
