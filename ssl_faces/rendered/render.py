"""Rendering: one ray per pixel against the head, with the face on its surface."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from ssl_faces.rendered import occluders, scene, sensor
from ssl_faces.rendered.factors import check_size, complete_factors
from ssl_faces.rendered.paint import HAIR, SKIN, palette
from ssl_faces.rendered.skin import Skin
from ssl_faces.rendered.stage import Stage
from ssl_faces.rendered.threads import each

_PIXELS = {"cpu": 3 << 17, "cuda": 1 << 24}
"""Pixels rendered at once: more take memory without gain, fewer have more overhead."""

_WORTH = 1 << 17
"""Least pixels per thread: threads wait for each other between calls."""


def render_faces(factors: Mapping[str, Tensor], size: int = 64) -> Tensor:
    """Render faces from their factors.

    A face's pixels depend only on its factors and `size`, not on the batch.

    Args:
        factors: any of `FACTORS`, float [N] each, all on one device; the rest take their default.
        size: picture side S in pixels.

    Returns:
        uint8 [N, 3, S, S], RGB, on the factors' device.

    Raises:
        InputError: unknown factor, unequal lengths, a value not finite or out of range, bad size.
    """
    check_size(size)
    complete = complete_factors(factors)
    count, device = len(complete["yaw"]), complete["yaw"].device
    pictures = torch.empty((count, 3, size, size), dtype=torch.uint8, device=device)
    order = _alike(complete)
    table = torch.stack(list(complete.values()))[:, order]
    on_cpu = device.type == "cpu"
    threads = torch.get_num_threads() if on_cpu else 1
    workers = min(threads, max(1, count * size * size // _WORTH))
    most = _PIXELS["cpu" if on_cpu else "cuda"]
    rounds = max(1, math.ceil(count * size * size / (most * workers)))
    chunk = max(1, math.ceil(count / (rounds * workers)))  # as many for each worker

    def render(start: int) -> None:
        part = dict(zip(complete, table[:, start : start + chunk], strict=True))
        rendered = _render(part, size)
        sensor.compress_(rendered, part["jpeg_quality"])
        pictures.index_copy_(0, order[start : start + chunk], rendered)

    starts = range(0, count, chunk)[::-1]  # complex faces first, so that all workers end together
    if on_cpu:
        _keep_freed_memory()
        each(render, starts, workers)
    else:
        for start in starts:
            render(start)
    return pictures


def _alike(factors: dict[str, Tensor]) -> Tensor:
    """An order that groups faces by their parts, then by size: a chunk skips parts that none of
    its faces has, and its windows are as large as its largest face's."""
    whiskers = (factors["beard"] > 0) | (factors["moustache"] > 0)
    key = factors["occluder"].round().long() * 2 + (factors["clutter"] > 0)
    for has in (factors["glasses"] > 0, whiskers, factors["hair_cover"] > 0):
        key = key * 2 + has
    by_size = (factors["zoom"] / (1 - 1 / factors["camera_distance"])).argsort(stable=True)
    return by_size[key[by_size].argsort(stable=True)]


@cache
def _keep_freed_memory() -> None:
    """Make glibc keep freed memory, which otherwise takes a third of the time.

    glibc keeps up to twice the largest block (of at most 32 MiB) that was freed.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


@torch.no_grad()
def _render(factors: dict[str, Tensor], size: int) -> Tensor:
    """Images uint8 [N, 3, S, S] of complete factors, before JPEG."""
    stage = Stage(factors, size)
    skin = palette(SKIN, factors["melanin"])
    red = torch.tensor([0.0, 0.05, 0.04], device=skin.device)
    skin = skin - (factors["redness"][:, None] * red)[..., None, None]
    hair_colour = palette(HAIR, factors["hair_tone"])

    # From far to near.
    picture = scene.background(stage)
    scene.lay_body(stage, picture, skin)
    head = stage.head
    shell = head.hair()
    egg, lips, chin, left, right, bridge, tip, around = stage.solids(
        head.egg(), *head.muzzle(), *head.ears(), *head.nose(), shell
    )
    face = Skin(stage, [egg, lips, chin], skin, hair_colour)
    hair = None
    if bool((factors["hair_cover"] > 0).any()):
        hair = scene.Hair(stage, around, shell, hair_colour)
        hair.lay_back(picture)
    face.lay(picture)
    depth = face.maps[:, 0].contiguous()
    scene.lay_ears(stage, picture, skin, depth, [left, right])
    scene.lay_nose(stage, picture, skin, depth, [bridge, tip])
    scene.lay_glasses(stage, picture, depth)
    if hair is not None:
        hair.lay_front(picture)
    occluders.lay_occluder(stage, picture, skin, hair_colour, depth)

    sensor.expose_(picture, factors)
    sensor.lose_pixels_(picture, factors["resolution"])
    sensor.blur_(picture, factors["blur"])
    sensor.add_noise_(picture, factors)
    return picture.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
