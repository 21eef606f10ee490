"""The camera's sensor: resolution, blur, noise, JPEG."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from ssl_faces.rendered.sampling import uniform

_NOISE = 1 << 16


def expose_(picture: Tensor, factors: dict[str, Tensor]) -> Tensor:
    """The light's warmth and the exposure, in place."""
    warm = torch.tensor([0.06, 0.0, -0.06], device=picture.device) * factors["warmth"][:, None]
    return picture.mul_(((1 + warm) * factors["exposure"][:, None])[..., None, None])


def lose_pixels_(picture: Tensor, resolution: Tensor) -> None:
    """Shrink faces of `resolution` [N] below 1 by averaging and enlarge them again, in place."""
    size = picture.shape[-1]
    sides = (resolution * size).round().clamp(min=1).long()
    for side in sides[sides < size].unique().tolist():
        chosen = (sides == side).nonzero()[:, 0]
        small = F.interpolate(picture[chosen].clamp_(0, 1), (side, side), mode="area")
        picture[chosen] = F.interpolate(small, (size, size), mode="bilinear", align_corners=False)


def blur_(picture: Tensor, blur: Tensor) -> None:
    """Blur by a Gaussian of standard deviation `blur` [N], in picture sides, in place."""
    size = picture.shape[-1]
    chosen = (blur > 0).nonzero()[:, 0]
    if len(chosen) == 0:
        return
    deviation = blur[chosen].double() * size
    radius = max(1, math.ceil(3 * float(deviation.max())))
    offsets = torch.arange(-radius, radius + 1, device=blur.device).double()
    weights = (-0.5 * (offsets / deviation[:, None]) ** 2).exp()
    weights = torch.where(offsets.abs() <= (3 * deviation).ceil()[:, None], weights, 0)
    taps = (weights / weights.sum(1, keepdim=True)).float()[:, :, None, None, None]
    values = picture[chosen].clamp_(0, 1)
    for axis in (-1, -2):
        edges = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
        padded = F.pad(values, edges, mode="replicate")
        values = taps[:, radius] * values
        for i in range(2 * radius + 1):
            if i != radius:
                values += taps[:, i] * padded.narrow(axis, i, size)
    picture[chosen] = values


def add_noise_(picture: Tensor, factors: dict[str, Tensor]) -> None:
    """Add noise to each face, from its own offset in a shared pool, in place."""
    if not bool((factors["noise"] > 0).any()):
        return
    size = picture.shape[-1]
    length = 3 * size * size
    pool = _noise_pool(_NOISE + length, picture.device)
    offset = (factors["noise_offset"] * (_NOISE - 1)).long()
    noise = pool.unfold(0, length, 1).index_select(0, offset).unflatten(1, (3, size, size))
    picture.addcmul_(noise, factors["noise"][:, None, None, None])


def compress_(pictures: Tensor, quality: Tensor) -> None:
    """Compress uint8 images [N, 3, S, S] of `quality` [N] above 0 by JPEG, in place."""
    for face in (quality >= 1).nonzero()[:, 0].tolist():
        stream = encode_jpeg(pictures[face].cpu(), round(float(quality[face])))
        pictures[face] = decode_jpeg(stream, ImageReadMode.RGB).to(pictures.device)


@lru_cache(maxsize=4)
def _noise_pool(length: int, device: torch.device) -> Tensor:
    """Approximately normal numbers, mean 0 and variance 1."""
    parts = np.stack([uniform(0, stream, np.arange(length), np.zeros(1)) for stream in range(4)])
    pool = (parts.sum(axis=0) - 2) * math.sqrt(3)
    return torch.from_numpy(pool.astype(np.float32)).to(device)
