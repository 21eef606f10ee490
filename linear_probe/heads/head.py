"""The contract of heads: images to logits, the loss, and the initial weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linear_probe.heads.goals import Goal
from ssl_faces import FaceEncoder, InputError

END_TO_END = "end to end"
LEAST_SIDE = 16


class Measure(NamedTuple):
    """Something about each picture that is no answer of the head, such as how well it is restored.

    Attributes:
        values: float [B].
        unit: of the values.
        higher_is_better: of them and of their mean.
    """

    values: Tensor
    unit: str
    higher_is_better: bool


class Head(nn.Module, ABC):
    """Predicts a label of faces: a complete network, or one on top of a frozen encoder.

    A subclass's constructor takes `goal` and `encoder` first, then its settings with defaults.

    Args:
        goal: the meaning of its outputs, and their loss.
        encoder: a trained encoder to rest on, frozen, instead of the paper's own network.

    Attributes:
        name: the head's name in configs and records.
        picture_size: side of the pictures that it takes.
        space: of the encoder's feature spaces, which it rests on; `END_TO_END` without an encoder.
        looked_at: test pictures that `panels` is given.
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
        """What the classifier sees, [B, D], of RGB pictures float [B, 3, S, S] in [0, 1]."""

    def classify(self, features: Tensor) -> Tensor:
        """Outputs [B, outputs], of classes their logits, of the result of `embed`."""
        return self.classifier(features)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs [B, outputs] of pictures as for `embed`."""
        return self.classify(self.embed(images))

    def representation(self, images: Tensor) -> Tensor:
        """What a picture is made of, [B, D], as for `embed`: by it people are verified, and what a
        probe reads there of an exogenous variable is scored where a set has one."""
        return self.embed(images)

    def take_over(self, earlier: Head) -> None:
        """Start from what a head of this kind learnt for another goal: all weights but the
        classifier's."""
        own = self.state_dict()
        for name, value in earlier.state_dict().items():
            if name in own and not name.startswith("classifier."):
                own[name].copy_(value)

    def begin_step(self, done: float) -> None:
        """Called before each training step with the share of the training that is done."""

    def losses(self, images: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        """Terms whose sum is minimised, of pictures as for `forward` and labels of the goal;
        `balanced` as there."""
        return self.goal.losses(self(images), labels, balanced)

    def predict(self, images: Tensor) -> Tensor:
        """Outputs [B, outputs] of pictures to be scored; log-probabilities will do for logits."""
        return self(images)

    def panels(self, images: Tensor) -> dict[str, Tensor]:
        """Rows of pictures to look at, [N, 3, S, S] in [0, 1], of pictures as for `forward`."""
        return {}

    def measures(self, images: Tensor) -> dict[str, Measure]:
        """Other measures of test images, as for `forward`, by the metric's name."""
        return {}

    def vary(self, images: Tensor) -> Tensor:
        """Training pictures uint8 [B, 3, R, R], of side `read_size`, to float in [0, 1]."""
        return images.float() / 255

    def prepare(self, images: Tensor) -> Tensor:
        """Pictures to be scored, uint8 [B, 3, R, R], to float in [0, 1]."""
        return images.float() / 255

    @property
    def read_size(self) -> int:
        """Side that pictures are read at, before `vary` or `prepare`."""
        return self.picture_size

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.encoder is not None:
            # Its batch statistics stay those of its own training.
            self.encoder.eval()
        return self


def check_picture_size(side: int) -> None:
    """That a network which halves its maps again and again is left something.

    Raises:
        InputError: too small a side.
    """
    if side < LEAST_SIDE:
        raise InputError(
            f"head.picture_size: {side}; the network's last map would be empty: give "
            f"{LEAST_SIDE} px at least"
        )


def overlaid(images: Tensor, weights: Tensor) -> Tensor:
    """Pictures [N, 3, S, S] in [0, 1], grey, under the colours of where weights [N, h, w] lie: of
    each picture from its smallest, dark, to its largest, bright."""
    from kornia.color import ApplyColorMap, ColorMap, ColorMapType

    size = images.shape[-2:]
    low, high = weights.flatten(1).min(1).values, weights.flatten(1).max(1).values
    shares = (weights - low[:, None, None]) / (high - low).clamp(min=1e-12)[:, None, None]
    maps = F.interpolate(shares[:, None].float(), size, mode="bilinear").cpu()
    colours: Tensor = ApplyColorMap(ColorMap(ColorMapType.hot))(255 * maps)
    grey = images.float().cpu().mean(1, keepdim=True)
    return 0.4 * grey + 0.6 * colours


class FrozenFeatures(nn.Module):
    """A frozen encoder's feature vectors of pictures, each number standardised by running
    statistics.

    Args:
        encoder: the encoder.
        space: which of its feature spaces.

    Raises:
        InputError: it has no such space.
    """

    def __init__(self, encoder: FaceEncoder, space: str) -> None:
        super().__init__()
        if space not in encoder.feature_dims:
            raise InputError(
                f"head.space: '{space}'; the encoder has {', '.join(encoder.feature_dims)}"
            )
        # In a list: the head owns the encoder.
        self._encoder = [encoder]
        self.space = space
        self.dim = encoder.feature_dims[space]
        self.standardise = nn.BatchNorm1d(self.dim, affine=False)

    def forward(self, images: Tensor) -> Tensor:
        """[B, dim] of RGB pictures float [B, 3, S, S] in [0, 1]."""
        with torch.no_grad():
            features = self._encoder[0](images, (self.space,))[self.space]
        return self.standardise(features.float())
