"""Features of a graph's nodes: the landmark's place, the surface around it, its texture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces import FaceEncoder, InputError
from ssl_faces.networks.backbone import BackboneEncoder

NEIGHBOURS = 6
SHAPE = 7
PATCH = 16
"""Side of the grey patch around a landmark, in samples."""
REACH = 0.12
"""Half of the patch's side, of the picture's."""
BINS, CELLS = 4, 2


def aligned(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Each of the faces [N, V, 3] turned, moved and scaled onto `reference` [V, 3] with the least
    squares (Umeyama, IEEE TPAMI 1991), without mirroring."""
    centre = points.mean(axis=1, keepdims=True)
    middle = reference.mean(axis=0)
    x, y = points - centre, reference - middle
    u, s, vt = np.linalg.svd(np.einsum("nvi,vj->nij", x, y))
    sign = np.ones_like(s)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    turn = (u * sign[:, None, :]) @ vt
    scale = (s * sign).sum(axis=1) / (x**2).sum(axis=(1, 2))
    return scale[:, None, None] * (x @ turn) + middle


def local_shape(points: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Of faces [N, V, 3], [N, V, `SHAPE`]: how linear, flat and round the neighbourhood of each
    landmark is (Weinmann et al. 2015, from the eigenvalues of its scatter), the normal of its
    plane, turned to positive z, and the mean distance to the `neighbours`, int [V, k]."""
    around = points[:, neighbours]  # [N, V, k, 3]
    together = np.concatenate([points[:, :, None], around], axis=2)
    gaps = together - together.mean(axis=2, keepdims=True)
    scatter = np.einsum("nvki,nvkj->nvij", gaps, gaps) / gaps.shape[2]
    values, vectors = np.linalg.eigh(scatter)  # ascending
    low, mid, high = (np.clip(values[..., i], 1e-12, None) for i in range(3))
    normal = vectors[..., 0]
    normal = normal * np.where(normal[..., 2:] < 0, -1, 1)
    distance = np.linalg.norm(around - points[:, :, None], axis=-1).mean(axis=2)
    ratios = np.stack([(high - mid) / high, (mid - low) / high, low / high, distance], axis=-1)
    return np.concatenate([ratios, normal], axis=-1).astype(np.float32)


def nearest(reference: np.ndarray, count: int = NEIGHBOURS) -> np.ndarray:
    """int [V, count]: the landmarks nearest to each in `reference` [V, 3]. Raises InputError: too
    few landmarks."""
    if len(reference) <= count:
        raise InputError(
            f"landmarks: {len(reference)} points, too few for the {count} neighbours of local "
            "shape; give more, or leave shape out of `nodes`"
        )
    gaps = np.linalg.norm(reference[:, None] - reference[None], axis=-1)
    np.fill_diagonal(gaps, np.inf)
    return np.argsort(gaps, axis=1, kind="stable")[:, :count]


def patches(images: Tensor, places: Tensor) -> Tensor:
    """Descriptors [N, V, `BINS` * `CELLS`²] of the grey patch around each landmark: gradient
    histograms (kornia's SIFT descriptor, Lowe 2004).

    Args:
        images: [N, 3, S, S] in [0, 1].
        places: [N, V, 2], x and y in pixels.
    """
    from kornia.feature import SIFTDescriptor

    size = images.shape[-1]
    grey = images.mean(1, keepdim=True)
    along = torch.linspace(-1, 1, PATCH) * REACH * 2  # in grid_sample's units, -1 to 1
    offsets = torch.stack(torch.meshgrid(along, along, indexing="xy"), -1)
    centres = (2 * places + 1) / size - 1
    count, nodes = places.shape[:2]
    grid = (centres[:, :, None, None] + offsets).flatten(1, 2)  # [N, V P, P, 2]
    samples = F.grid_sample(grey, grid, align_corners=False, padding_mode="border")
    samples = samples.view(count * nodes, 1, PATCH, PATCH)
    describe = SIFTDescriptor(PATCH, BINS, CELLS, rootsift=True)
    with torch.no_grad():
        described: Tensor = describe(samples)
    return described.view(count, nodes, -1)


@torch.no_grad()
def sampled(encoder: FaceEncoder, images: Tensor, places: Tensor) -> Tensor:
    """The last map of a frozen encoder at each landmark: [N, V, C]; InputError if it has no map.
    Other arguments as of `patches`."""
    if not isinstance(encoder, BackboneEncoder):
        raise InputError(
            f"encoder: texture needs a last map, and a {encoder.encoder_name} has none; give one "
            "of the encoders of `ssl-faces fit` by name"
        )
    size = images.shape[-1]
    side = encoder.input_size
    resized = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
    maps = encoder.last_map(encoder.normalise(resized))
    centres = (2 * places + 1) / size - 1
    samples = F.grid_sample(maps, centres[:, :, None], align_corners=False, padding_mode="border")
    return samples[..., 0].transpose(1, 2)
