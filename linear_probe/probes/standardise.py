"""Features to mean 0 and standard deviation 1, by the statistics of the rows that are fitted."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Standardiser(NamedTuple):
    """Mean and scale of each feature, [D] each."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standardiser:
        """The statistics of features [N, D]; a constant feature is only centred."""
        mean = features.mean(dim=0)
        scale = features.std(dim=0, correction=0)
        # What is left of a constant after rounding is no signal.
        constant = scale <= 1e-6 * mean.abs().clamp(min=1e-6)
        return cls(mean, scale.masked_fill(constant, 1.0))

    def __call__(self, features: Tensor) -> Tensor:
        """A standardised copy of features [N, D]."""
        return (features - self.mean).div_(self.scale)
