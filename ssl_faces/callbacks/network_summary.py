"""Print the number of parameters of each network when a run starts."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only
from torch import nn


class NetworkSummary(pl.Callback):
    """One line for each network with parameters, and one for the sum.

    Replaces Lightning's summary, whose FLOPs would be wrong here; see `ssl-faces bench cost`.
    """

    @rank_zero_only
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        networks = {name: child for name, child in pl_module.named_children() if any(_sizes(child))}
        width = max(map(len, networks), default=0)
        for name, network in networks.items():
            print(f"{name:{width}}  {_line(network)} ({type(network).__name__})")
        print(f"parameters in all: {_line(pl_module)}")


def _line(network: nn.Module) -> str:
    trained, frozen = _sizes(network)
    return f"{trained:,} trained, {frozen:,} frozen" if frozen else f"{trained:,} trained"


def _sizes(network: nn.Module) -> tuple[int, int]:
    """Numbers of trained and frozen parameters; shared ones count once."""
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return sum(n for n, learns in sizes if learns), sum(n for n, learns in sizes if not learns)
