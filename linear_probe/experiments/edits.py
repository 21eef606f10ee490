"""Methods that edit images: load those of runs, score them, and draw what they make."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

from linear_probe.experiments.settings import EditSettings
from linear_probe.features.source import add_weights
from linear_probe.records.measured import Measured
from linear_probe.records.runner import Run
from ssl_faces import load_method
from ssl_faces.callbacks.panels import write_panel
from ssl_faces.methods.method import Method

INPUT = "return the input"
BLURRED = "return the input, blurred"
_LEAST_SIDE = 96  # of a face on the panel, pixels

Score = Callable[[int, Mapping[str, Method]], tuple[list[Measured], dict[str, Tensor]]]
"""Scores methods, by name, that take images of one size: their rows, and images to look at
[N, 3, S, S] by name."""


def score_runs(settings: EditSettings, run: Run, score: Score) -> Iterator[Measured]:
    """Score the methods of runs, of one image size after the other, and write the panel. Raises
    InputError: a run can't be used, or the folder can't be written."""
    by_size: dict[int, dict[str, Method]] = defaultdict(dict)
    for name in dict.fromkeys(settings.run):
        for untrained in (False,) if settings.no_untrained else (True, False):
            method = load_method(name, untrained=untrained, seed=settings.seed).to(run.device)
            by_size[method.picture_size][f"{name}, untrained" if untrained else name] = method
    shown: dict[str, Tensor] = {}
    for size in sorted(by_size, reverse=True):
        rows, images = score(size, by_size[size])
        hashes = {name: _fingerprint(method) for name, method in by_size[size].items()}
        yield from (row._replace(fingerprint=hashes.get(row.encoder, "")) for row in rows)
        # Images without a method are the same in every size: they are shown once.
        shown = {**images, **shown}
    write_panel(run.out / settings.panel, of_one_size(shown))


def of_one_size(images: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rows of images [N, 3, S, S] for a panel, smaller ones enlarged."""
    side = max(_LEAST_SIDE, *(row.shape[-1] for row in images.values()))
    return {name: F.interpolate(row, (side, side)) for name, row in images.items()}


def _fingerprint(method: Method) -> str:
    """SHA-256 (hex) of all weights of a method."""
    digest = hashlib.sha256()
    add_weights(digest, method.state_dict())
    return digest.hexdigest()


def blurred(images: Tensor) -> Tensor:
    """Images after a Gaussian blur of a standard deviation of a 24th of their side."""
    sigma = images.shape[-1] / 24
    reach = math.ceil(3 * sigma)
    return gaussian_blur2d(images, (2 * reach + 1, 2 * reach + 1), (sigma, sigma))


def edited(edit: Callable[..., Tensor], device: str, *images: Tensor) -> Tensor:
    """What a method's edit makes of images, on the CPU."""
    with torch.inference_mode():
        return edit(*(batch.to(device) for batch in images)).float().cpu()
