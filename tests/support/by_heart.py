"""Short training loops on fixed data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn


def learn_by_heart(
    network: nn.Module,
    losses: Callable[[], Mapping[str, Tensor]],
    learnt: Callable[[], bool],
    learning_rate: float,
    at_most: int = 300,
) -> None:
    """Train with AdamW on the sum of `losses` until `learnt`, checked every 10 steps.

    It is called without gradients in the network's current mode. The number of steps differs
    between machines, whose convolutions round differently.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, learning_rate)
    for step in range(1, at_most + 1):
        optimizer.zero_grad()
        torch.stack(list(losses().values())).sum().backward()
        optimizer.step()
        if step % 10 == 0:
            with torch.no_grad():
                if learnt():
                    return
    raise AssertionError(f"not learnt by heart in {at_most} steps")


def minimise(
    parameters: Iterable[nn.Parameter], loss: Callable[[], Tensor], steps: int, rate: float
) -> list[float]:
    """Train with AdamW; the loss of each step."""
    optimizer = torch.optim.AdamW([p for p in parameters if p.requires_grad], rate)
    losses = []
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses
