"""CFP's frontal-profile pairs, and recognisers as judges: how often they decide rightly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from linear_probe.features.extraction import check_shapes
from linear_probe.features.source import ImageSource
from linear_probe.heads.pictures import decode, decode_all
from linear_probe.probes.linear import LinearPredictor
from linear_probe.probes.ridge import fit_ridge
from linear_probe.probes.verification import pair_similarities, verify
from linear_probe.sources.baselines import BASELINES, HogSource
from linear_probe.sources.by_name import encoder_sources
from linear_probe.tasks.sample import Sample
from linear_probe.tasks.splits import stratified_group_split
from linear_probe.tasks.task import Figure
from ssl_faces import InputError
from ssl_faces.data import CFP, FaceSet
from ssl_faces.data.faces import distinct_pairs

_SHOWN = 8  # people of the panel


@dataclass(frozen=True)
class ProfilePairs:
    """The official pairs of a CFP folder, by places in its lists of images.

    Attributes:
        faces: the test people's images.
        frontal, profile: int [F] and [P], records of `faces` by view, the profiles those of pairs.
        first, second: int [N], places in `frontal` and `profile`.
        other: int [N], in `frontal`: another photograph of the person in `second`.
        same: bool [N].
        folds: int [N].
        people_of: of each record of `faces`, the number of its person.
    """

    faces: FaceSet
    frontal: np.ndarray
    profile: np.ndarray
    first: np.ndarray
    second: np.ndarray
    other: np.ndarray
    same: np.ndarray
    folds: np.ndarray
    people_of: np.ndarray

    @classmethod
    def of(cls, faces: CFP) -> ProfilePairs:
        """Read the pairs; InputError if there are fewer than two folds, or a person has one frontal
        photograph only."""
        keys = [record.key for record in faces.records]
        is_profile = np.array(["/profile/" in key for key in keys])
        _, people = np.unique([str(r.person) for r in faces.records], return_inverse=True)
        number = {key: i for i, key in enumerate(keys)}
        rows = []
        for pair in distinct_pairs(faces.pairs, faces.title):
            both = sorted((number[pair.first], number[pair.second]), key=lambda i: is_profile[i])
            if is_profile[both].tolist() == [False, True]:
                rows.append((*both, pair.same, pair.fold))
        if len({fold for *_, fold in rows}) < 2:
            raise InputError(
                f"{faces.place or faces.name}: {len(rows)} frontal-profile pairs in fewer than two "
                "folds, which leaves none to choose the threshold on; add the official pairs"
            )
        front, side, same, folds = (np.array(column) for column in zip(*rows, strict=True))
        frontal, profile = np.flatnonzero(~is_profile), np.unique(side)
        other = []
        for i, (a, b) in enumerate(zip(front, side, strict=True)):
            theirs = frontal[(people[frontal] == people[b]) & (frontal != a)]
            if not len(theirs):
                raise InputError(
                    f"{keys[b]}: its person has no other frontal photograph than {keys[a]}; add "
                    "the official images"
                )
            other.append(theirs[i % len(theirs)])
        return cls(
            faces,
            frontal,
            profile,
            np.searchsorted(frontal, front),
            np.searchsorted(profile, side),
            np.searchsorted(frontal, other),
            same.astype(bool),
            folds,
            people,
        )

    def images(self, records: np.ndarray, size: int) -> Tensor:
        """Float [N, 3, size, size] in [0, 1]; InputError if an image can't be decoded."""
        return decode_all(self.faces, records, size)

    def shown(self) -> np.ndarray:
        """Places in `profile` of one image each of some people."""
        _, first = np.unique(self.people_of[self.profile], return_index=True)
        return first[np.linspace(0, len(first) - 1, min(_SHOWN, len(first))).round().astype(int)]


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
    """The figures of a row, and what it gains on `base`, which returned the input. `yaw`: degrees
    [images], as the probe reads it in the row's images, if there is a probe."""
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
