"""The meaning of a head's outputs, and the loss that they are trained with."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces import InputError

AGES = 101
"""Age is one of the classes 0, 1 … 100 years; older people are in the last."""


class Goal(ABC):
    """What a head predicts: `outputs` numbers for each image.

    Attributes:
        counts: by the name of a classification, how often its classes are in the training part,
            int64 [classes], for losses that weigh rare classes more; set before training.
    """

    outputs: int

    def __init__(self) -> None:
        self.counts: dict[str, Tensor] = {}

    @abstractmethod
    def losses(self, outputs: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        """Terms whose sum is minimised.

        Args:
            outputs: [B, outputs].
            labels: as the goal has them.
            balanced: weigh each class by the largest class's count over its own (Savchenko 2021).
        """

    @abstractmethod
    def average(self, outputs: Tensor) -> Tensor:
        """The mean [B, outputs] of outputs [views, B, outputs] for several views of each image.
        Values are averaged; for classes it is the logarithm of the mean probability."""

    @abstractmethod
    def count(self, labels: Tensor) -> None:
        """Set `counts` from the labels of the training part."""

    def _cross_entropy(self, name: str, outputs: Tensor, labels: Tensor, balanced: bool) -> Tensor:
        if not balanced:
            return F.cross_entropy(outputs, labels, ignore_index=-1)
        counts = self.counts[name].to(outputs.device).clamp(min=1)
        return F.cross_entropy(outputs, labels, counts.max() / counts, ignore_index=-1)


class Categories(Goal):
    """One class of several; labels are int64 [B].

    Args:
        count: classes.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        if count < 2:
            raise InputError(f"{count} class to learn; give data with two at least")
        self.outputs = count

    def losses(self, outputs: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        return {"cross_entropy": self._cross_entropy("classes", outputs, labels, balanced)}

    def average(self, outputs: Tensor) -> Tensor:
        return _mean_probability(outputs.float())

    def count(self, labels: Tensor) -> None:
        self.counts["classes"] = labels.bincount(minlength=self.outputs)


class Several(Goal):
    """Several predictions for each image, in columns of the outputs and of the labels.

    Labels are float [B, predictions]: a class's number, -1 if unknown, or a value.

    Args:
        sizes: number of outputs by name, in order; 1 is a value, more are classes.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        self.outputs = sum(self.sizes.values())

    def parts(self, outputs: Tensor) -> dict[str, Tensor]:
        """The columns of outputs [B, outputs] by name, [B, size]."""
        return dict(zip(self.sizes, outputs.split(list(self.sizes.values()), dim=1), strict=True))

    def losses(self, outputs: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        found = {}
        for (name, part), wanted in zip(self.parts(outputs).items(), labels.unbind(1), strict=True):
            if self.sizes[name] == 1:
                found[name] = F.mse_loss(part[:, 0].float(), wanted.float())
            elif (wanted >= 0).any():
                found[name] = self._cross_entropy(name, part, wanted.long(), balanced)
        return found

    def average(self, outputs: Tensor) -> Tensor:
        parts = [
            part.mean(0) if part.shape[2] == 1 else _mean_probability(part)
            for part in outputs.float().split(list(self.sizes.values()), dim=2)
        ]
        return torch.cat(parts, 1)

    def count(self, labels: Tensor) -> None:
        for (name, size), column in zip(self.sizes.items(), labels.unbind(1), strict=True):
            if size > 1:
                known = column[column >= 0].long()
                self.counts[name] = known.bincount(minlength=size)


def _mean_probability(logits: Tensor) -> Tensor:
    """The logarithm of the mean probability over views, of logits [views, B, classes].

    It stays finite where the probabilities themselves are too small for a float.
    """
    return logits.log_softmax(2).logsumexp(0) - math.log(len(logits))


def expected_age(logits: Tensor) -> Tensor:
    """Years [B], the mean under the probabilities of logits [B, `AGES`] (Rothe et al., 2015)."""
    years = torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
    return logits.float().softmax(1) @ years
