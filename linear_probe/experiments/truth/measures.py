"""How far pictures are from what is true, each picture by itself and as figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from kornia.metrics import ssim
from torch import Tensor

from linear_probe.experiments.truth.faces import AGAIN, FRONTAL, MOTION, NEUTRAL, SWAP, TruthFaces
from linear_probe.stats.intervals import cluster_weights
from linear_probe.tasks.task import Figure, percentage, sample_of

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


@dataclass(frozen=True)
class TruthTask:
    """What `linear_probe.records.measured.records_of` asks of a task; fields as in `Record`."""

    name: str
    data_set: str
    split: str
    protocol: str
    seed: int

    @classmethod
    def of(cls, name: str, faces: TruthFaces) -> TruthTask:
        """The task of this name (of `TASKS`) on these faces."""
        return cls(
            name,
            faces.faces.title,
            f"test people, {faces.size} px, nuisances {faces.nuisances}",
            f"against the rendered truth: {_ASKED[name]}, in the same light, before the same "
            "background and camera; L1 in hundredths of the range from black to white, SSIM x 100 "
            f"(Gaussian window of {WINDOW} px), over the whole picture and over the face (the "
            "convex hull of the truth's 68 landmarks); intervals by bootstrap over "
            f"{len(np.unique(faces.people))} people",
            faces.seed,
        )


def errors(found: Tensor, truth: Tensor, region: Tensor) -> dict[str, Tensor]:
    """Each metric of each picture, [B], 0 to 1 (SSIM from -1).

    Args:
        found, truth: float [B, 3, S, S] in [0, 1].
        region: bool [B, S, S], the face.
    """
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
    """The mean of each metric over the pictures.

    Args:
        values: of each metric, [N], a number for each of `faces`.
        replicates: of the bootstrap.
        note: what readers must know of them.
    """
    weights = cluster_weights(faces.people, replicates, faces.seed)
    keys = zip(faces.keys, faces.people, strict=True)
    sample = sample_of((f"{key} {person}" for key, person in keys), replicates, faces.seed)
    return [
        percentage(
            metric,
            of.mean(),
            weights @ of / weights.sum(1),
            len(of),
            sample,
            HIGHER_IS_BETTER[metric],
            note=note,
        )
        for metric, of in values.items()
    ]
