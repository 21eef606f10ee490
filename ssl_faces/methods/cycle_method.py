"""What both stages of FaceCycle share: weighted loss terms, and Adam with a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ssl_faces.methods.method import Method
from ssl_faces.methods.optimizer import ADAM_ARGUMENTS, adam


class CycleMethod(Method):
    """A method whose hyper-parameters have a weight for each loss term but `pixel`, which has 1.

    Attributes:
        learning_rates: learning rate from each epoch on.
    """

    adjustable = ADAM_ARGUMENTS
    learning_rates: dict[int, float]

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the loss terms."""
        total = losses["pixel"]
        for name, loss in losses.items():
            if name != "pixel":
                total = total + self.hparams[f"{name}_weight"] * loss
        return total

    def logged(self, losses: Mapping[str, Tensor]) -> Tensor:
        """`total`, after logging it and all terms."""
        total = self.total(losses)
        self.log("loss", total, prog_bar=True)
        self.log_dict({f"loss/{name}": value for name, value in losses.items()})
        return total

    def configure_optimizers(self) -> Any:
        names = ("peak_learning_rate", "warmup_steps", "rate_factors")
        settings = (self.hparams[name] for name in names)
        return adam(self, self.hparams["betas"], self.learning_rates, *settings)
