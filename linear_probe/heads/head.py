"""The contract of heads: images to logits, the loss, and the initial weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linear_probe.heads.goals import Goal
from ssl_faces import FaceEncoder, InputError

END_TO_END = "end to end"
LEAST_SIDE = 16
T = TypeVar("T")


class Measure(NamedTuple):
    """A measure of each image beside the head's outputs, such as how well it is restored: float
    [B], their unit, and whether higher is better."""

    values: Tensor
    unit: str
    higher_is_better: bool


class Head(nn.Module, ABC):
    """Predicts a label of faces: a complete network, or one on top of a frozen encoder.

    A subclass's constructor takes `goal` and `encoder` first, then its settings with defaults.

    Args:
        goal: the meaning of its outputs, and their loss.
        encoder: a trained encoder, frozen, to use instead of the paper's own network.

    Attributes:
        name: the head's name in configs and records.
        picture_size: side of the images that it takes.
        space: the encoder's feature space that it uses; `END_TO_END` without an encoder.
        looked_at: number of test images for `panels`.
    """

    name: ClassVar[str]
    looked_at: ClassVar[int] = 10
    picture_size: int
    space: str

    def __init__(self, goal: Goal, encoder: FaceEncoder | None = None) -> None:
        super().__init__()
        self.goal = goal
        self.classifier: Any
        self.space = END_TO_END
        self.encoder = None if encoder is None else encoder.eval().requires_grad_(False)

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Inputs of the classifier, [B, D], for RGB images float [B, 3, S, S] in [0, 1]."""

    def classify(self, features: Tensor) -> Tensor:
        """Outputs [B, outputs] for the result of `embed`; those of classes are logits."""
        return self.classifier(features)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs [B, outputs] of images as for `embed`."""
        return self.classify(self.embed(images))

    def representation(self, images: Tensor) -> Tensor:
        """The representation [B, D] of images as for `embed`: people are verified by it, and the
        probe of an exogenous variable is fitted on it."""
        return self.embed(images)

    def take_over(self, earlier: Head) -> None:
        """Copy all weights but the classifier's from a head of this kind with another goal."""
        own = self.state_dict()
        for name, value in earlier.state_dict().items():
            if name in own and not name.startswith("classifier."):
                own[name].copy_(value)

    def begin_step(self, done: float) -> None:
        """Called before each training step with the share of the training that is done."""

    def losses(self, images: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        """Loss terms, whose sum is minimised, for labels of the goal; `balanced` as there."""
        return self.goal.losses(self(images), labels, balanced)

    def predict(self, images: Tensor) -> Tensor:
        """Outputs [B, outputs] for test images; log-probabilities may stand for logits."""
        return self(images)

    def panels(self, images: Tensor) -> dict[str, Tensor]:
        """Rows of images to look at, [N, 3, S, S] in [0, 1]."""
        return {}

    def measures(self, images: Tensor) -> dict[str, Measure]:
        """Further measures of test images, by the metric's name."""
        return {}

    def vary(self, images: Tensor) -> Tensor:
        """Augment training images uint8 [B, 3, R, R] of side `read_size`; float in [0, 1]."""
        return images.float() / 255

    def prepare(self, images: Tensor) -> Tensor:
        """Test images uint8 [B, 3, R, R] as float in [0, 1]."""
        return images.float() / 255

    @property
    def read_size(self) -> int:
        """Side at which images are read, before `vary` or `prepare`."""
        return self.picture_size

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.encoder is not None:
            # It keeps the batch statistics of its training.
            self.encoder.eval()
        return self


def on_black(head: Head, of: Callable[[Tensor], T]) -> T:
    """What a part of a head makes of one black image, in evaluation mode, to learn its shape."""
    was = head.training
    head.eval()
    with torch.no_grad():
        shown = of(torch.zeros(1, 3, head.picture_size, head.picture_size))
    head.train(was)
    return shown


def check_picture_size(side: int) -> None:
    """Raise InputError if the last map of a network that halves its maps would be empty."""
    if side < LEAST_SIDE:
        raise InputError(
            f"head.picture_size: {side}; the network's last map would be empty: give "
            f"{LEAST_SIDE} px at least"
        )


def overlaid(images: Tensor, weights: Tensor) -> Tensor:
    """Grey images [N, 3, S, S] in [0, 1] under a colour map of weights [N, h, w], from the smallest
    weight of each image, dark, to its largest, bright."""
    from kornia.color import ApplyColorMap, ColorMap, ColorMapType

    size = images.shape[-2:]
    low, high = weights.flatten(1).min(1).values, weights.flatten(1).max(1).values
    shares = (weights - low[:, None, None]) / (high - low).clamp(min=1e-12)[:, None, None]
    maps = F.interpolate(shares[:, None].float(), size, mode="bilinear").cpu()
    colours: Tensor = ApplyColorMap(ColorMap(ColorMapType.hot))(255 * maps)
    grey = images.float().cpu().mean(1, keepdim=True)
    return 0.4 * grey + 0.6 * colours


def dim_of(encoder: FaceEncoder, space: str) -> int:
    """Length of an encoder's features of this space; InputError if it has no such space."""
    if space not in encoder.feature_dims:
        raise InputError(
            f"head.space: '{space}'; the encoder has {', '.join(encoder.feature_dims)}"
        )
    return encoder.feature_dims[space]


class FrozenFeatures(nn.Module):
    """A frozen encoder's features of a space, each number standardised by running statistics.

    Raises:
        InputError: it has no such space.
    """

    def __init__(self, encoder: FaceEncoder, space: str) -> None:
        super().__init__()
        # In a list: the head owns the encoder.
        self._encoder, self.space, self.dim = [encoder], space, dim_of(encoder, space)
        self.standardise = nn.BatchNorm1d(self.dim, affine=False)

    def forward(self, images: Tensor) -> Tensor:
        """[B, dim] for RGB images float [B, 3, S, S] in [0, 1]."""
        with torch.no_grad():
            features = self._encoder[0](images, (self.space,))[self.space]
        return self.standardise(features.float())
