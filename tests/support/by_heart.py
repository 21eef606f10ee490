"""Networks that must be able to learn a few pictures by heart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


def learn_by_heart(
    network: nn.Module,
    losses: Callable[[], Mapping[str, Tensor]],
    learnt: Callable[[], bool],
    learning_rate: float,
    at_most: int = 300,
) -> None:
    """Steps of AdamW on the sum of `losses`, until `learnt`, which is asked at every tenth, in the
    mode that the network is in, without gradients. How many it takes differs between machines, as
    their convolutions round differently."""
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
