"""What methods share that compare embeddings of the two pictures of a pair."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_faces.methods.encoder_method import ViewsMethod
from ssl_faces.methods.optimizer import OptimizerSettings
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings


class JointEmbedding(ViewsMethod):
    """A method that trains an encoder by comparing both pictures of each pair.

    A subclass gives `losses`, and assigns the heads that it puts on the encoder's `representation`,
    a feature space of `representation_dim` numbers, in its constructor: `projector` first. One that
    has a `Teacher` assigns it to `teacher`, which then follows each step of the optimiser.

    Args:
        encoder: which encoder.
        optimizer: how it is trained.
        codes: names and lengths of codes that the encoder is to have beside its own spaces.
        settings: all arguments of the subclass's constructor but the first two, for checkpoints;
            `codes_from` among them is the encoder's, too (see `BackboneEncoder`).

    Raises:
        InputError: no such encoder.
    """

    least_pairs = 2
    projector: nn.Module
    teacher: Teacher | None

    def __init__(
        self,
        encoder: EncoderSettings,
        optimizer: OptimizerSettings,
        codes: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(encoder, optimizer, codes, **settings)
        self.teacher = None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # Here and not when the batch ends: callbacks have saved the step's checkpoint by then.
        if self.teacher is not None:
            steps = int(self.trainer.estimated_stepping_batches)
            self.teacher.follow(self.encoder, self.projector, self.trainer.global_step, steps)

    @torch.no_grad()
    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Both pictures of the pairs [b, 3, S, S] in [0, 1], which should still be of one face."""
        first, second = batch["pairs"].unbind(1)
        return {"first": first, "second": second}


class Teacher(nn.Module):
    """An exponential moving average of an encoder and its projector, which has no gradient.

    As in MoCo (He et al. 2020), BYOL (Grill et al. 2020) and DINO (Caron et al. 2021): its momentum
    rises with a cosine from `momentum` to 1 over the run.

    Args:
        encoder, projector: what it is an average of; it begins equal to them.
        momentum: at the start.
    """

    def __init__(self, encoder: BackboneEncoder, projector: nn.Module, momentum: float) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.projector = copy.deepcopy(projector).requires_grad_(False)
        self.momentum = momentum

    @torch.no_grad()
    def follow(self, encoder: nn.Module, projector: nn.Module, step: int, steps: int) -> float:
        """Move towards the student; gives the momentum of this `step` of `steps`."""
        from lightly.models.utils import update_momentum
        from lightly.utils.scheduler import cosine_schedule

        momentum = cosine_schedule(min(step, steps - 1), steps, self.momentum, 1.0)
        update_momentum(encoder, self.encoder, momentum)
        update_momentum(projector, self.projector, momentum)
        return float(momentum)
