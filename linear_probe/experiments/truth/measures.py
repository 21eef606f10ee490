"""Errors of images against the truth, of each image and as figures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from kornia.metrics import ssim
from torch import Tensor

from linear_probe.experiments.truth.faces import AGAIN, FRONTAL, MOTION, NEUTRAL, SWAP, TruthFaces
from linear_probe.records.measured import TaskFacts
from linear_probe.tasks.task import Figure

WINDOW = 11
"""Side of SSIM's Gaussian window (sigma 1.5), as in Wang et al., "Image quality assessment: from
error visibility to structural similarity", IEEE Transactions on Image Processing 13(4), 2004."""

HIGHER_IS_BETTER = {"L1": False, "SSIM": True, "face L1": False, "face SSIM": True}
"""The metrics, and which way they are good."""

_ASKED = {
    NEUTRAL: "the same person in the same pose with no action unit on",
    FRONTAL: "the same person facing the camera with no action unit on",
    SWAP: "another person with the picture's expression and pose",
    MOTION: "another person's picture with this picture's expression and pose",
    AGAIN: "the picture itself, from the same person in another expression and pose",
}


def task_facts(name: str, faces: TruthFaces) -> TaskFacts:
    """What records hold of a task of `TASKS` on these faces."""
    return TaskFacts(
        name,
        faces.faces.title,
        faces.split,
        f"against the rendered truth: {_ASKED[name]}, in the same light, before the same "
        "background and camera; L1 in hundredths of the range from black to white, SSIM x 100 "
        f"(Gaussian window of {WINDOW} px), over the whole picture and over the face (the "
        "convex hull of the truth's 68 landmarks); intervals by bootstrap over "
        f"{len(np.unique(faces.people))} people",
        faces.seed,
    )


def errors(found: Tensor, truth: Tensor, region: Tensor) -> dict[str, Tensor]:
    """Each metric of each image, [B], 0 to 1 (SSIM from -1), of float [B, 3, S, S] in [0, 1];
    `region`, bool [B, S, S], is the face."""
    distance = (found - truth).abs().mean(1)
    # Of equal pictures exactly 1, which its guard against 0 / 0 would be just below.
    alike = (found == truth).all(1).all(-1).all(-1)
    similarity = ssim(found, truth, WINDOW).mean(1)
    similarity = torch.where(alike[:, None, None], 1.0, similarity)
    area = region.sum((1, 2)).clamp(min=1)
    return {
        "L1": distance.mean((1, 2)),
        "SSIM": similarity.mean((1, 2)),
        "face L1": (distance * region).sum((1, 2)) / area,
        "face SSIM": (similarity * region).sum((1, 2)) / area,
    }


def figures(
    values: Mapping[str, np.ndarray], faces: TruthFaces, replicates: int, note: str = ""
) -> list[Figure]:
    """The mean of each metric over the pictures, of its values [N]."""
    sample = faces.sample(replicates)
    return [
        sample.mean(metric, row, higher_is_better=HIGHER_IS_BETTER[metric], note=note)
        for metric, row in values.items()
    ]
