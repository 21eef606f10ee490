"""Base class of methods that compare the embeddings of both images of a pair."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_faces.methods.encoder_method import ViewsMethod
from ssl_faces.networks.backbone import BackboneEncoder

LOOK_BACK = 0.02
"""Most that a teacher looks back over at the start, as a share of the run: with BYOL's 0.996 and
MoCo v3's 0.99 a short run would end before the teacher has left its random weights."""

LEAST_MOMENTUM = 0.9
"""The lowest, in the shortest runs: BYOL still learns with it (Grill et al. 2020, ablations)."""


class JointEmbedding(ViewsMethod):
    """A method that compares both images of each pair.

    A subclass defines `losses`. Its constructor adds heads on the encoder's `representation`,
    `projector` first. If it assigns a `Teacher` to `teacher`, that is updated after each step of
    the optimiser.
    """

    least_pairs = 2
    projector: nn.Module
    teacher: Teacher | None

    def __init__(
        self, arguments: Mapping[str, Any], codes: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(arguments, codes)
        self.teacher = None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        # Not at the end of the batch: callbacks have saved the step's checkpoint by then.
        if self.teacher is not None:
            step, steps = self.trainer.global_step, self.steps
            self.teacher.follow(self.encoder, self.projector, step, steps)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return int(self.trainer.estimated_stepping_batches)

    def by_view(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """`network` of the first images of `x` [2b, …], then of the second ones.

        Batch normalisation takes its statistics of one view, as in most authors' code.
        """
        return torch.cat([network(view) for view in x.chunk(2)])

    def embed(self, x: Tensor) -> Tensor:
        """The embeddings [2b, D] of normalised images, see `by_view`."""
        return self.by_view(lambda view: self.projector(self.represent(view)), x)

    @torch.no_grad()
    def targets(self, x: Tensor) -> Tensor:
        """The teacher's embeddings [2b, D] of normalised images."""
        assert self.teacher is not None
        embeddings: Tensor = self.teacher.projector(self.represent(x, self.teacher.encoder))
        return embeddings


class Teacher(nn.Module):
    """An exponential moving average of an encoder and its projector, without gradients.

    As in MoCo (He et al. 2020), BYOL (Grill et al. 2020) and DINO (Caron et al. 2021). Its momentum
    rises with a cosine to 1 over the run.

    Args:
        encoder, projector: the student; the teacher starts as its copy.
        momentum: at the start; less in short runs, where it would look back over more than
            `LOOK_BACK` of the run, but at least `LEAST_MOMENTUM` (or `momentum` itself).
    """

    def __init__(self, encoder: BackboneEncoder, projector: nn.Module, momentum: float) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.projector = copy.deepcopy(projector).requires_grad_(False)
        self.momentum = momentum

    @torch.no_grad()
    def follow(self, encoder: nn.Module, projector: nn.Module, step: int, steps: int) -> float:
        """Update the average, and return the momentum of this `step` of `steps`."""
        from lightly.models.utils import update_momentum
        from lightly.utils.scheduler import cosine_schedule

        start = min(self.momentum, max(LEAST_MOMENTUM, 1 - 1 / (LOOK_BACK * steps)))
        momentum = cosine_schedule(min(step, steps - 1), steps, start, 1.0)
        for student, mean in ((encoder, self.encoder), (projector, self.projector)):
            if any(True for _ in mean.parameters()):  # none in I-JEPA's projector
                update_momentum(student, mean, momentum)
        return float(momentum)
