"""Sharpness-aware minimisation: gradients are taken at the worst loss nearby.

Foret, Kleiner, Mobahi, Neyshabur: Sharpness-Aware Minimization for Efficiently Improving
Generalization, ICLR 2021. No library that we use has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class SAMAdamW(torch.optim.AdamW):
    """AdamW on the gradient at w + radius * g / |g|, g being the gradient at w (the paper's radius:
    0.05). `step` needs a closure, which it calls twice."""

    def __init__(self, params: Any, radius: float, **more: Any) -> None:
        super().__init__(params, **more)
        self.radius = radius

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure` clears gradients, evaluates the loss, which is returned, and computes
        gradients."""
        if closure is None:
            raise TypeError("SAM needs a closure")
        with torch.enable_grad():
            loss = closure()
        with torch.no_grad():
            groups = self.param_groups
            trained = [p for group in groups for p in group["params"] if p.grad is not None]
            grads = [p.grad for p in trained]
            norm = torch.stack([g.norm() for g in grads]).norm().clamp(min=1e-12)
            before = [p.clone() for p in trained]
            for p, g in zip(trained, grads, strict=True):
                p.add_(g * (self.radius / norm))
        with torch.enable_grad():
            closure()
        with torch.no_grad():
            for p, was in zip(trained, before, strict=True):
                p.copy_(was)
        super().step()
        return loss
