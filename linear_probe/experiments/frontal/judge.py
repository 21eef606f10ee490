"""Recognisers as judges: their decisions on pairs and images, and how often they are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from linear_probe.experiments.frontal.pairs import ProfilePairs
from linear_probe.features.extraction import check_shapes
from linear_probe.features.source import ImageSource
from linear_probe.heads.pictures import decode
from linear_probe.probes.linear import LinearPredictor
from linear_probe.probes.ridge import fit_ridge
from linear_probe.probes.verification import pair_similarities, verify
from linear_probe.sources.baselines import BASELINES, HogSource
from linear_probe.sources.by_name import encoder_sources
from linear_probe.tasks.sample import Sample
from linear_probe.tasks.splits import stratified_group_split
from linear_probe.tasks.task import Figure
from ssl_faces import InputError
from ssl_faces.data import FaceSet

HOG_SIDE = 64


class Decisions(NamedTuple):
    """What a recogniser decided on a row: whether it was right, bool, for each pair [N] and for
    each profile image [P] (identification; None where that is not asked)."""

    verified: np.ndarray
    identified: np.ndarray | None


def decide(pairs: ProfilePairs, frontal: Tensor, made: Tensor | None, gallery: Tensor) -> Decisions:
    """Verify each pair and identify each profile image.

    Args:
        frontal: [F, D], features of the frontal photographs.
        made: [P, D], of what was made of the profile images; None: of another photograph.
        gallery: [people, D], unit vectors.
    """
    second = pairs.other if made is None else len(frontal) + pairs.second
    features = frontal if made is None else torch.cat((frontal, made))
    similarities = pair_similarities(features, pairs.first, second, pairs.folds)
    verified = verify(similarities, pairs.same, pairs.folds).correct
    if made is None:
        return Decisions(verified, None)
    centred = F.normalize(made.double() - frontal.double().mean(0), dim=1)
    nearest = (centred @ gallery.T).argmax(1).numpy()
    known = np.unique(pairs.people_of[pairs.frontal])
    return Decisions(verified, known[nearest] == pairs.people_of[pairs.profile])


def gallery_of(pairs: ProfilePairs, frontal: Tensor) -> Tensor:
    """Unit vectors float64 [people, D]: the mean of each person's frontal photographs, less that
    of all."""
    centred = F.normalize(frontal.double() - frontal.double().mean(0), dim=1)
    of = pairs.people_of[pairs.frontal]
    return F.normalize(torch.stack([centred[of == who].mean(0) for who in np.unique(of)]), dim=1)


def figures(
    pairs: ProfilePairs, row: Decisions, base: Decisions, yaw: np.ndarray | None, replicates: int
) -> list[Figure]:
    """The figures of a row, and what it gains on `base`, which returned the input.

    Args:
        yaw: degrees [images], as the probe reads it in the row's images, if there is a probe.
    """
    of_pairs = pairs.people_of[pairs.profile[pairs.second]]
    of_images = pairs.people_of[pairs.profile]

    def sample(people: np.ndarray, same: np.ndarray | None = None) -> Sample:
        rows = (f"{i} {who}" for i, who in enumerate(people))
        return Sample(range(len(people)), replicates, people, same, rows)

    both = np.stack([pairs.people_of[pairs.frontal[pairs.first]], of_pairs], axis=1)
    found = _gains(sample(both, pairs.same), "accuracy", row.verified, base.verified)
    if row.identified is not None and base.identified is not None:
        found += _gains(sample(of_images), "rank-1", row.identified, base.identified)
    if yaw is not None:
        of_yaw = sample(of_pairs if row.identified is None else of_images)
        found.append(of_yaw.mean("mean |yaw|", np.abs(yaw), "degrees", False))
    return found


def _gains(sample: Sample, metric: str, right: np.ndarray, base: np.ndarray) -> list[Figure]:
    gain = right.astype(float) - base
    return [sample.mean(metric, right), sample.mean(f"{metric}, gain on the input", gain)]


class Judge:
    """A recogniser, and its features [F, D] of the frontal photographs by feature space
    (`frontal`)."""

    def __init__(
        self, source: ImageSource, pairs: ProfilePairs, batch_size: int, device: str
    ) -> None:
        source.to(device)
        self.source, self.batch_size, self.device = source, batch_size, device
        self.frontal = self.features(pairs.images(pairs.frontal, source.input_size))

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Features [N, D] by space, of images of any size."""
        return features_of(self.source, images, self.batch_size, self.device)


def features_of(
    source: ImageSource, images: Tensor, batch_size: int, device: str = "cpu"
) -> dict[str, Tensor]:
    """Features [N, D] by space on the CPU, of images float [N, 3, S, S] of any size."""
    side = (source.input_size, source.input_size)
    parts = []
    for batch in images.split(batch_size):
        if batch.shape[-2:] != side:
            batch = F.interpolate(batch, side, mode="bilinear", antialias=True)
        with torch.inference_mode():
            parts.append(source(batch.clamp(0, 1).to(device)))
        check_shapes(source, parts[-1], len(batch))
    return {
        space: torch.cat([part[space].float().cpu() for part in parts]) for space in source.dims
    }


def yaw_probe(sets: Sequence[FaceSet], batch_size: int) -> tuple[LinearPredictor, str] | None:
    """A ridge probe of yaw on HOG, fitted on a training set with poses, and that set's title."""
    faces = next((f for f in sets if len(f) and "pose" in f.records[0].labels and f.people), None)
    if faces is None:
        return None
    decoded = decode(faces, np.arange(len(faces)), HOG_SIDE)
    records = [faces.records[row] for row in decoded.records]
    yaw = torch.stack([record.labels["pose"][:1] for record in records])
    people = np.array([str(record.person) for record in records])
    validation = stratified_group_split(np.zeros(len(people), np.int64), people, 0.2, 0)
    hog = HogSource(HOG_SIDE)
    features = features_of(hog, decoded.images.float() / 255, batch_size)[hog.space]
    return fit_ridge(features, yaw, validation), faces.title


def recogniser(name: str) -> ImageSource:
    """The recogniser of this name: HOG, LBP or pixels, or any encoder that `--encoder` takes;
    InputError if there is none, or it has only features of other images."""
    for baseline in BASELINES:
        if baseline.name == name:
            return baseline(HOG_SIDE)
    (source,) = encoder_sources([name], baselines=False)
    if not hasattr(source, "input_size"):
        raise InputError(f"--recogniser {name}: holds features only; give one that takes images")
    return source  # type: ignore[return-value]
