"""Stage 1 learns: on a few faces its loss falls and its neutral faces become symmetric."""

from __future__ import annotations

import torch

from ssl_faces.data.rendered import RenderedFaces
from ssl_faces.methods.facecycle_motion import FaceCycleMotion


def test_the_loss_falls_and_neutral_faces_become_symmetric() -> None:
    torch.manual_seed(0)
    faces = RenderedFaces(64, 8, "all", size=32).render_batch(range(0, 64, 8)).float() / 255
    method = FaceCycleMotion(
        "small", 32, "random", "joint", ssim_scale="unit", linear_std=0.04, fold_weight=10.0
    )
    x = method.frames({"pairs": torch.stack((faces, faces.flip(-1)), 1)})
    fast = [p for n, p in method.named_parameters() if n.startswith("generator")]
    slow = [p for n, p in method.named_parameters() if n[:7] in ("encoder", "decoder")]
    optimizer = torch.optim.Adam([{"params": fast, "lr": 2e-3}, {"params": slow, "lr": 3e-4}])
    totals, asymmetry = [], []
    for _ in range(80):
        cycle, losses = method.cycle(x)
        total = method.total(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
        asymmetry.append(_asymmetry(cycle.neutral))
    assert sum(totals[-5:]) < 0.6 * sum(totals[:5])
    assert sum(asymmetry[-5:]) / 5 < 0.5 * _asymmetry(x)


def _asymmetry(x: torch.Tensor) -> float:
    """Against the contrast: a grey picture is not called symmetric for being grey."""
    return ((x - x.flip(-1)).abs().mean() / x.std()).item()
