"""Rendering: one ray a pixel against the head, the face laid on its surface."""

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
"""Rendered at once: more take memory and gain nothing, fewer pay more for each call."""

_WORTH = 1 << 17
"""Pixels that are worth a thread of their own: threads wait for each other between calls."""


def render_faces(factors: Mapping[str, Tensor], size: int = 64) -> Tensor:
    """Render faces from their factors.

    A face's pixels depend on its own factors and `size` alone, not on the batch it is in.

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
        found = _render(part, size)
        sensor.compress_(found, part["jpeg_quality"])
        pictures.index_copy_(0, order[start : start + chunk], found)

    starts = range(0, count, chunk)[::-1]  # those with most parts first: all workers end together
    if on_cpu:
        _keep_freed_memory()
        each(render, starts, workers)
    else:
        for start in starts:
            render(start)
    return pictures


def _alike(factors: dict[str, Tensor]) -> Tensor:
    """An order in which faces with the same parts are next to each other, and among them those of
    one size: what a chunk has none of is skipped, and a chunk's windows are as large as its largest
    face's."""
    whiskers = (factors["beard"] > 0) | (factors["moustache"] > 0)
    key = factors["occluder"].round().long() * 2 + (factors["clutter"] > 0)
    for has in (factors["glasses"] > 0, whiskers, factors["hair_cover"] > 0):
        key = key * 2 + has
    by_size = (factors["zoom"] / (1 - 1 / factors["camera_distance"])).argsort(stable=True)
    return by_size[key[by_size].argsort(stable=True)]


@cache
def _keep_freed_memory() -> None:
    """Have glibc keep what maps leave free for the next ones.

    It gives freed memory back to the system, and a third of the time goes into getting it anew,
    but keeps up to twice the largest block (of at most 32 MiB) that it has seen freed.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


@torch.no_grad()
def _render(factors: dict[str, Tensor], size: int) -> Tensor:
    """Pictures uint8 [N, 3, S, S] of complete factors, not yet compressed."""
    stage = Stage(factors, size)
    skin = palette(SKIN, factors["melanin"])
    red = torch.tensor([0.0, 0.05, 0.04], device=skin.device)
    skin = skin - (factors["redness"][:, None] * red)[..., None, None]
    hair_colour = palette(HAIR, factors["hair_tone"])

    # Far things first.
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
