"""Training for all resolutions, around any head: a frozen full-resolution teacher is matched.

Massoli et al.: MAFER, a Multi-resolution Approach to Facial Expression Recognition, 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_probe.heads.goals import Goal
from linear_probe.heads.head import Head
from ssl_faces import FaceEncoder, InputError
from ssl_faces.common.ranges import NonNegativeFloat, OpenUnit, PositiveInt, check_ranges


class MAFER(Head):
    """Two steps in one run. First the inner head is trained on images as they are. A copy of it
    becomes the teacher. Then more and more images are reduced to a random side and enlarged
    again, and the head's features must match the teacher's features of the original, beside the
    cross-entropy.

    The paper's first step learns identities (VGGFace2); here both learn the job's task.

    Args:
        goal, encoder: see `Head`.
        head: the inner head, any.
        teacher_share: of the training that the first step takes.
        least_side: smallest side that images are reduced to.
        most_probability: of reducing an image, at the end; it grows from 0.
        feature_weight: of the squared distance between features, whose length is 1; 0 is
            cross-entropy alone.
    """

    name = "mafer"

    def __init__(
        self,
        goal: Goal,
        encoder: FaceEncoder | None = None,
        head: Callable[[Goal, FaceEncoder | None], Head] | None = None,
        teacher_share: OpenUnit = 0.5,
        least_side: PositiveInt = 8,
        most_probability: OpenUnit = 0.9,
        feature_weight: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(goal, encoder)
        if head is None:
            raise InputError("head.head: missing; give the head that is to be trained")
        check_ranges(type(self).__init__, locals(), "head")
        self.head = head(goal, encoder)
        if not 2 <= least_side < self.head.picture_size:
            raise InputError(
                f"head.least_side: {least_side}; give 2 at least, and less than the head's "
                f"{self.head.picture_size} px"
            )
        self.space, self.picture_size = self.head.space, self.head.picture_size
        self.teacher = deepcopy(self.head).requires_grad_(False)
        self.teacher_share, self.least_side = teacher_share, least_side
        self.most_probability, self.feature_weight = most_probability, feature_weight
        self.register_buffer("taught", torch.tensor(False))
        self.taught: Tensor
        self.probability = 0.0

    def take_over(self, earlier: Head) -> None:
        if isinstance(earlier, MAFER):
            self.head.take_over(earlier.head)

    @property
    def read_size(self) -> int:
        return self.head.read_size

    def begin_step(self, done: float) -> None:
        self.head.begin_step(done)
        if done < self.teacher_share:
            return
        if not self.taught:
            self.teacher.load_state_dict(self.head.state_dict())
            self.taught.fill_(True)
        grown = (done - self.teacher_share) / (1 - self.teacher_share)
        self.probability = self.most_probability * grown

    def vary(self, images: Tensor) -> Tensor:
        return self.head.vary(images)

    def prepare(self, images: Tensor) -> Tensor:
        return self.head.prepare(images)

    def embed(self, images: Tensor) -> Tensor:
        return self.head.embed(images)

    def classify(self, features: Tensor) -> Tensor:
        return self.head.classify(features)

    def predict(self, images: Tensor) -> Tensor:
        return self.head.predict(images)

    def losses(self, images: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        if not self.taught:
            return self.head.losses(images, labels, balanced)
        features = self.head.embed(self.made_small(images))
        losses = self.goal.losses(self.head.classify(features), labels, balanced)
        if self.feature_weight:
            self.teacher.eval()
            with torch.no_grad():
                wanted = self.teacher.embed(images)
            gap = F.normalize(features, dim=1) - F.normalize(wanted, dim=1)
            losses["features"] = self.feature_weight * gap.square().sum(1).mean()
        return losses

    def made_small(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S], some of them reduced to a random side each, and enlarged again."""
        side = images.shape[-1]
        drawn = torch.randint(self.least_side, side, (len(images),))
        chosen = torch.rand(len(images)) < self.probability
        reduced = images.clone()
        for small in drawn[chosen].unique().tolist():
            rows = (chosen & (drawn == small)).nonzero()[:, 0].to(images.device)
            low = F.interpolate(images[rows], size=(small, small), mode="bilinear", antialias=True)
            reduced[rows] = F.interpolate(low, size=(side, side), mode="bilinear")
        return reduced
