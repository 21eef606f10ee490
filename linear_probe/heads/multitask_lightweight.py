"""Lightweight networks that learn identity, then attributes, then expression.

Savchenko: Facial expression and attributes recognition based on multi-task learning of lightweight
neural networks, SISY 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from linear_probe.heads.crops import CroppedHead
from linear_probe.heads.goals import Goal
from linear_probe.heads.head import FrozenFeatures, check_picture_size
from ssl_faces import FaceEncoder, InputError
from ssl_faces.common.ranges import ImageSide, NonNegativeInt, UnitBelow1, check_ranges
from ssl_faces.networks.backbone import TIMM, BackboneEncoder


class MultitaskLightweight(CroppedHead):
    """A network of timm with one linear layer on its pooled features, for any goal.

    The paper's order of learning, identity, attributes, expression, is the job's `before`; its
    class weights are `training.balanced`, its sharpness-aware minimisation `training.sam_radius`.

    Args:
        goal, encoder: see `Head`.
        space: with an encoder: which of its feature spaces.
        backbone: of timm, such as `mobilenetv3_large_100`, `efficientnet_b0`, `rexnet_100`.
        picture_size: side of the images; the paper's 224.
        keep_size: the first convolution doesn't halve the image, as these networks expect 224 px
            and would leave a map of 2x2 of 48.
        margin: pixels by which images are read larger, for random crops.
        dropout: before the linear layer.

    Raises:
        InputError: no such network in timm, or a size that it can't have.
    """

    name = "multitask_lightweight"

    def __init__(
        self,
        goal: Goal,
        encoder: FaceEncoder | None = None,
        space: str = "pooled",
        backbone: str = "mobilenetv3_large_100",
        picture_size: ImageSide = 48,
        keep_size: bool = True,
        margin: NonNegativeInt = 6,
        dropout: UnitBelow1 = 0.2,
    ) -> None:
        super().__init__(goal, encoder, encoder.input_size if encoder else picture_size, margin)
        check_ranges(type(self).__init__, locals(), "head")
        self.backbone: _Network | FrozenFeatures
        if encoder is None:
            check_picture_size(picture_size)
            self.backbone = _Network(backbone, picture_size, keep_size)
        else:
            self.backbone, self.space = FrozenFeatures(encoder, space), space
        last = nn.Linear(self.backbone.dim, goal.outputs)
        self.classifier = nn.Sequential(nn.Dropout(dropout), last)

    def prepare(self, images: Tensor) -> Tensor:
        # Not torchvision's: what rounds sizes can't be written as ONNX.
        start = round((int(images.shape[-1]) - self.picture_size) / 2)
        place = slice(start, start + self.picture_size)
        return images[..., place, place].float() / 255

    def embed(self, images: Tensor) -> Tensor:
        return self.backbone(images)


class _Network(nn.Module):
    """A network of timm, untrained: pictures [B, 3, S, S] in [0, 1] to [B, dim], what its own
    classifier would see."""

    def __init__(self, name: str, size: int, keep_size: bool) -> None:
        super().__init__()
        try:
            encoder = BackboneEncoder(TIMM + name, size)
        except (ValueError, RuntimeError, AssertionError) as error:
            raise InputError(f"head.backbone: {error}") from error
        self.encoder = encoder
        if keep_size:
            first = next(m for m in encoder.network.modules() if isinstance(m, nn.Conv2d))
            first.stride = (1, 1)
        encoder.eval()
        with torch.no_grad():
            self.dim = self(torch.zeros(1, 3, size, size)).shape[1]
        encoder.train()

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.network(self.encoder.normalise(images))
