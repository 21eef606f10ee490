"""The meaning of a head's outputs, and the loss that they are trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces import InputError

AGES = 101
"""Age is one of the classes 0, 1 … 100 years; older people are in the last."""


class Goal:
    """What a head predicts: values and classes, in columns of its outputs and of the labels.

    Labels are float [B, predictions]: a class's number, -1 if unknown, or a value.

    Args:
        sizes: number of outputs by name, in order; 1 is a value, more are classes.

    Attributes:
        outputs: their number, all together.
        counts: by name, how often each class is in the training part, int64 [classes], for losses
            that weigh rare classes more; set before training.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = dict(sizes)
        self.outputs = sum(self.sizes.values())
        self.counts: dict[str, Tensor] = {}

    def parts(self, outputs: Tensor) -> dict[str, Tensor]:
        """The columns of outputs [..., outputs] by name, [..., size]."""
        return dict(zip(self.sizes, outputs.split([*self.sizes.values()], dim=-1), strict=True))

    def losses(self, outputs: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        """Terms whose sum is minimised; `balanced` weighs each class by the largest class's count
        over its own (Savchenko 2021)."""
        losses = {}
        for (name, part), known in zip(self.parts(outputs).items(), labels.unbind(1), strict=True):
            if self.sizes[name] == 1:
                losses[name] = F.mse_loss(part[:, 0].float(), known.float())
            elif (known >= 0).any():
                weight = None
                if balanced:
                    counts = self.counts[name].to(outputs.device).clamp(min=1)
                    weight = counts.max() / counts
                losses[name] = F.cross_entropy(part, known.long(), weight, ignore_index=-1)
        return losses

    def average(self, outputs: Tensor) -> Tensor:
        """The mean [B, outputs] of outputs [views, B, outputs] for several views of each image.
        Values are averaged; for classes it is the logarithm of the mean probability."""
        parts = self.parts(outputs.float()).values()
        # In logarithms, which stay finite where the probabilities are too small for a float.
        means = [
            p.mean(0) if p.shape[2] == 1 else p.log_softmax(2).logsumexp(0) - math.log(len(p))
            for p in parts
        ]
        return torch.cat(means, 1)

    def count(self, labels: Tensor) -> None:
        """Set `counts` from the labels of the training part."""
        for (name, size), column in zip(self.sizes.items(), labels.unbind(1), strict=True):
            if size > 1:
                self.counts[name] = column[column >= 0].long().bincount(minlength=size)


class Categories(Goal):
    """One class of `count`; labels are int64 [B]."""

    def __init__(self, count: int) -> None:
        super().__init__({"classes": count})
        if count < 2:
            raise InputError(f"{count} class to learn; give data with two at least")

    def losses(self, outputs: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        return {"cross_entropy": super().losses(outputs, labels[:, None], balanced)["classes"]}

    def count(self, labels: Tensor) -> None:
        super().count(labels[:, None])


def expected_age(logits: Tensor) -> Tensor:
    """Years [B], the mean under the probabilities of logits [B, `AGES`] (Rothe et al., 2015)."""
    years = torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
    return logits.float().softmax(1) @ years
