"""SwAV: predict the cluster of one view of an image from its other views.

Caron, Misra, Mairal, Goyal, Bojanowski, Joulin: Unsupervised Learning of Visual Features by
Contrasting Cluster Assignments, NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from lightly.loss.swav_loss import sinkhorn
from lightly.models.modules import SwaVProjectionHead
from lightly.models.utils import normalize_weight
from lightly.utils import dist
from torch import Tensor, nn

from ssl_faces.common.ranges import (
    ImageSide,
    LayerWidth,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitAbove0,
    UnitFloat,
)
from ssl_faces.losses.contrast import gathered
from ssl_faces.methods.multi_crop import MultiCrop
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class SwAV(MultiCrop):
    """SwAV with multi-crop. Cluster assignments are computed over all devices.

    With C the unit vectors of the prototypes and z the unit embeddings of a global crop's batch,
    the assignments q are the rows of Sinkhorn-Knopp on exp(z C^T / epsilon). The loss is the mean
    cross-entropy of softmax(z_v C^T / temperature) of each other crop v of the image with q.

    Args:
        encoder: the encoder to train; see `dino` for the sizes of local crops.
        optimizer: its optimiser.
        local_crops, local_size, local_scale: number for each of the two images (3 in the paper),
            side in pixels, and smallest and largest share of the image's area.
        prototypes: number of clusters (3000 in the paper, for ImageNet).
        hidden_dim, projection_dim: of the projector (2048 and 128 in the paper).
        temperature: of the softmax of the predictions.
        epsilon: strength of the entropy in Sinkhorn-Knopp (0.05 in the paper). Where the loss stays
            at the logarithm of the number of prototypes, a lower one gives sharper assignments.
        iterations: of Sinkhorn-Knopp.
        queue_length: number of earlier embeddings of each view that are clustered beside the
            batch's, for batches below the number of prototypes (3840 in the paper); 0 for none.
        queue_share: share of the run before the queue is used (15 of 400 epochs in the paper).
        frozen_share: share of the run in which the prototypes are frozen (1 epoch in the paper).
    """

    name = "swav"
    queue: Tensor

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        local_crops: NonNegativeInt = 2,
        local_size: ImageSide = 32,
        local_scale: tuple[UnitAbove0, UnitAbove0] = (0.15, 0.5),
        prototypes: LayerWidth = 512,
        hidden_dim: LayerWidth = 1024,
        projection_dim: LayerWidth = 128,
        temperature: PositiveFloat = 0.1,
        epsilon: PositiveFloat = 0.03,
        iterations: PositiveInt = 3,
        queue_length: NonNegativeInt = 1024,
        queue_share: UnitFloat = 0.1,
        frozen_share: UnitFloat = 0.01,
    ) -> None:
        super().__init__(locals())
        self.projector = SwaVProjectionHead(self.representation_dim, hidden_dim, projection_dim)
        self.prototypes = nn.Linear(projection_dim, prototypes, bias=False)
        self.register_buffer("queue", torch.zeros(2, queue_length, projection_dim))
        self.temperature = temperature
        self.epsilon, self.iterations = epsilon, iterations
        self.queue_share = queue_share

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            normalize_weight(self.prototypes.weight)
        features = F.normalize(self.projector(self.represent_crops(x)), dim=1)
        crops = (self.prototypes(features) / self.temperature).split(len(x) // 2)
        terms = [
            F.cross_entropy(crop, codes)
            for view, codes in enumerate(self.assign(features[: len(x)].detach()))
            for number, crop in enumerate(crops)
            if number != view
        ]
        return {"assignment": torch.stack(terms).mean()}

    @torch.no_grad()
    def assign(self, features: Tensor) -> list[Tensor]:
        """The assignments [b, K] of both views' features [2b, D]; then they join the queue."""
        views = torch.stack([gathered(view) for view in features.chunk(2)])
        count, length = views.shape[1], self.queue.shape[1]
        step = self.trainer.global_step
        full = step * count >= length and step >= self.queue_share * self.steps
        rows = torch.cat((views, self.queue), 1)
        first = len(features) // 2 * dist.rank()
        own = slice(first, first + len(features) // 2)
        self.queue.copy_(rows[:, :length])
        return [
            sinkhorn(self.prototypes(view), self.iterations, self.epsilon)[own]
            for view in (rows if full else views)
        ]

    def last_layers(self) -> Iterable[nn.Module]:
        return (self.prototypes,)
