"""Robustness: figures on degraded test images.

The probe is fitted on clean training images. Degradations are kornia's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from linear_probe.sources.changed_images import Change
from ssl_faces import InputError


def _resolution(images: Tensor, level: float, seeds: list[int]) -> Tensor:
    from kornia.geometry import resize

    side = images.shape[-1]
    if level >= side:
        return images
    small = resize(images, (int(level), int(level)), antialias=True)
    return resize(small, (side, side))


def _blur(images: Tensor, level: float, seeds: list[int]) -> Tensor:
    from kornia.filters import gaussian_blur2d

    sigma = level / 100 * images.shape[-1]
    reach = min(math.ceil(3 * sigma), images.shape[-1] - 1)
    return gaussian_blur2d(images, (2 * reach + 1, 2 * reach + 1), (sigma, sigma))


def _noise(images: Tensor, level: float, seeds: list[int]) -> Tensor:
    side = images.shape[-1]
    # The same in red, green and blue: the baselines look at grey, where else it would average out.
    noise = torch.stack(
        [torch.randn(1, side, side, generator=torch.Generator().manual_seed(s)) for s in seeds]
    )
    return images + level / 255 * noise


def _occlusion(images: Tensor, level: float, seeds: list[int]) -> Tensor:
    from kornia.augmentation import RandomErasing

    erase = RandomErasing(scale=(level / 100, level / 100), ratio=(1.0, 1.0), value=0.0, p=1.0)
    erased = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(images, seeds, strict=True):
            torch.manual_seed(seed)
            erased.append(erase(image[None]))
    return torch.cat(erased)


def _darkness(images: Tensor, level: float, seeds: list[int]) -> Tensor:
    from kornia.enhance import adjust_gamma

    return adjust_gamma(images, level)


def _jpeg(images: Tensor, level: float, seeds: list[int]) -> Tensor:
    from kornia.enhance import jpeg_codec_differentiable

    return jpeg_codec_differentiable(images, torch.tensor([level]))


DEGRADATIONS: dict[str, list[Change]] = {
    factor: [Change(factor, float(level), unit, drawn, apply) for level in levels]
    for factor, levels, unit, drawn, apply in (
        ("resolution", (8, 12, 16, 24, 32), "px", False, _resolution),
        ("blur", (2, 4, 8, 16), "% of the side", False, _blur),
        ("noise", (10, 20, 40, 80), "grey levels", True, _noise),
        ("occlusion", (10, 20, 30, 40, 50), "% of the picture", True, _occlusion),
        ("darkness", (1.5, 2, 3, 4, 6), "gamma", False, _darkness),
        ("JPEG", (50, 30, 20, 10, 5), "quality", False, _jpeg),
    )
}
"""By factor: side to which pictures are made smaller and back; standard deviation of a Gaussian
blur; that of Gaussian noise, of 255 grey levels; share covered by a black square; exponent of the
brightness; quality of JPEG compression."""


def degradations(factors: Sequence[str]) -> list[Change]:
    """All levels of the factors named; `all` stands for every one; InputError for an unknown
    factor."""
    for factor in factors:
        if factor not in DEGRADATIONS and factor != "all":
            raise InputError(
                f"--robustness: unknown factor '{factor}'; there are all, {', '.join(DEGRADATIONS)}"
            )
    chosen = DEGRADATIONS if "all" in factors else dict.fromkeys(factors)
    return [change for factor in chosen for change in DEGRADATIONS[factor]]
