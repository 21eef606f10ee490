"""Stage 1 of FaceCycle computed call by call as its authors wrote it: the bench's point of compare.

The same networks, weights and losses as `FaceCycleMotion`, in eager float32 and NCHW: every call
of the generator runs the trunk again, the perceptual term computes the target's features once for
each of four renderings, each warp builds its coordinate grid again, and SSIM blurs by 11x11
convolutions, the target's moments with each rendering. Nothing trains with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces.losses.gram import gram_matrix
from ssl_faces.losses.symmetry import SymmetryLoss
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.networks.generator import GENERATOR_LAYERS, Generator, MapNoise

_WINDOW, _SIGMA = 11, 1.5


def stage1(size: str, input_size: int, **settings: Any) -> FaceCycleMotion:
    """FaceCycle's stage 1 with random weights from seed 0."""
    torch.manual_seed(0)
    return FaceCycleMotion(size, input_size, trunk_weights="random", **settings)  # type: ignore[arg-type]


def losses(method: FaceCycleMotion, x: Tensor) -> dict[str, Tensor]:
    """Stage 1's loss terms, before their weights, of normalised frames `x` [2b, 3, S, S].

    Draws noise in the order of the calls: the neutral face's, then the reconstruction's.
    """
    half = x.shape[0] // 2

    def swap(t: Tensor) -> Tensor:
        return t.roll(half, 0)

    _, code = method.encoder.motion(x)
    flow = method.decoder(code)
    inverse = -_warp(flow, flow, clamp=False).clamp(-1, 1)
    neutral = _generate(method, x, flow)
    others = swap(neutral)
    direct = _warp(x, flow, clamp=True)
    r1 = _generate(method, others, inverse)
    r2 = _generate(method, x, None)
    r3 = _warp(others, inverse, clamp=True)
    r4 = _warp(swap(direct), inverse, clamp=True)

    l1, symmetry = F.l1_loss, SymmetryLoss()
    return {
        "pixel": l1(r1, x) + l1(r2, x) + l1(r3, x) + 1.5 * l1(r4, x),
        "perceptual": _perceptual(method, torch.cat((neutral, r3, r4, r1)), x.repeat(4, 1, 1, 1)),
        "ssim": _ssim(method, r1, x) + _ssim(method, r2, x) + 1.5 * _ssim(method, r4, x),
        "symmetry": symmetry(neutral) + 0.5 * symmetry(direct),
        "fold": method.fold(flow),
    }


def _generate(method: FaceCycleMotion, source: Tensor, flow: Tensor | None) -> Tensor:
    generator = method.generator
    assert isinstance(generator, Generator), "of the paper's design"
    maps = method.generator_trunk(source, GENERATOR_LAYERS)
    fine, coarse = maps["relu2_1"], maps["relu3_1"]
    if flow is not None:
        fine = _moved(fine, flow, generator.fine_noise)
        coarse = _moved(coarse, flow, generator.coarse_noise)
    small = generator.to_half(generator.body(coarse))
    rendered: Tensor = generator.to_rgb(generator.to_full(torch.cat((fine, small), 1)))
    return rendered


def _moved(maps: Tensor, flow: Tensor, noise: MapNoise) -> Tensor:
    return _warp(maps, flow, clamp=False) + noise(maps)


def _warp(x: Tensor, flow: Tensor, clamp: bool) -> Tensor:
    height, width = x.shape[-2:]
    if flow.shape[-2:] != (height, width):
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=True)
    if clamp:
        flow = flow.clamp(-1, 1)
    y, across = torch.meshgrid(
        torch.linspace(-1, 1, height, device=x.device),
        torch.linspace(-1, 1, width, device=x.device),
        indexing="ij",
    )
    grid = torch.stack((across, y), -1)[None].repeat(len(x), 1, 1, 1) + flow.permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, padding_mode="zeros", align_corners=True)


def _perceptual(method: FaceCycleMotion, rendered: Tensor, target: Tensor) -> Tensor:
    found, wanted = method.trunk(rendered), method.trunk(target)
    terms = [F.mse_loss(gram_matrix(found[k]), gram_matrix(wanted[k]).detach()) for k in found]
    return torch.stack(terms).sum()


def _ssim(method: FaceCycleMotion, x: Tensor, y: Tensor) -> Tensor:
    if method.ssim_scale == "unit":
        mean, std = method.encoder.mean, method.encoder.std
        x, y = x * std + mean, y * std + mean
    offsets = torch.arange(_WINDOW, device=x.device) - _WINDOW // 2
    weights = torch.exp(-(offsets.double() ** 2) / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    channels = x.shape[1]
    window = torch.outer(weights, weights).float().expand(channels, 1, _WINDOW, _WINDOW)
    blur: Callable[[Tensor], Tensor] = lambda t: F.conv2d(  # noqa: E731
        t, window.contiguous(), padding=_WINDOW // 2, groups=channels
    )
    mean_x, mean_y = blur(x), blur(y)
    square_x, square_y, product = blur(x * x), blur(y * y), blur(x * y)
    mean_xy, mean_xx, mean_yy = mean_x * mean_y, mean_x * mean_x, mean_y * mean_y
    c1, c2 = 0.01**2, 0.03**2
    ssim = ((2 * mean_xy + c1) * (2 * (product - mean_xy) + c2)) / (
        (mean_xx + mean_yy + c1) * (square_x + square_y - mean_xx - mean_yy + c2)
    )
    return 1 - ssim.mean()
