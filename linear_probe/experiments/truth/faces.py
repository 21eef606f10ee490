"""Rendered test faces with what their edited versions truly look like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from linear_probe.tasks.sample import Sample
from ssl_faces.data.faces import EXPRESSIONS
from ssl_faces.rendered import (
    ACTION_UNITS,
    FACTORS,
    Nuisances,
    RenderedFaces,
    counterpart,
    project_landmarks,
    render_faces,
)

NEUTRAL, FRONTAL, SWAP = "neutral face", "frontal face", "identity swap"
MOTION, AGAIN = "motion transfer", "re-expression"
TASKS = (NEUTRAL, FRONTAL, SWAP, MOTION, AGAIN)
TWO_FACE_EDITS = (SWAP, MOTION, AGAIN)
"""Tasks whose edit takes a second image."""

MOVES = (*ACTION_UNITS, "gaze", "yaw", "pitch", "roll")
"""The factors that motion transfer takes from an image."""

_PICTURES = len(EXPRESSIONS)  # of a person at most: each expression once
_TRAINING = 1400  # pictures of the set whose training part the mean faces are of
_BATCH = 128


@dataclass(frozen=True)
class TruthBatch:
    """Some faces, float [B, 3, S, S] in [0, 1], and by task their truths, where the true face is
    (bool [B, S, S], the convex hull of its 68 landmarks), and the second image that edits of
    `TWO_FACE_EDITS` take: the other person of a swap or a motion transfer, or the same person in
    another expression and pose."""

    images: Tensor
    second: dict[str, Tensor]
    truths: dict[str, Tensor]
    regions: dict[str, Tensor]


class TruthLabels(NamedTuple):
    """True labels of the N sources: yaw in degrees, float [N], and expression, int [N]."""

    yaw: np.ndarray
    expression: np.ndarray


class TruthFaces:
    """Images of the test people of `RenderedFaces`, each with its truths.

    Nobody is in them whom a run saw that trained on rendered faces of the same seed. Every person
    has about as many images, at most one of each expression.

    Args:
        count: how many, 2 to 100,000.
        size: side of the images.
        seed, nuisances: as in `RenderedFaces`.

    Attributes:
        people, keys: int64 [count], the person of each image, and its key.
    """

    def __init__(
        self, count: int = 512, size: int = 64, seed: int = 0, nuisances: Nuisances = "mild"
    ) -> None:
        self.size, self.seed, self.nuisances = size, seed, nuisances
        needed = max(2, math.ceil(count / _PICTURES))
        people = 5 * needed
        while True:
            people += 10 + people // 50
            # Which people are tested follows from their names alone.
            self.faces = RenderedFaces(
                _PICTURES * people, people, "all", size, seed, nuisances=nuisances
            )
            tested = sorted(self.faces.held_out_people)
            if len(tested) >= needed:
                break
        numbers = [int(name.rpartition("_")[2]) for name in tested[:needed]]
        self._indices = np.array(
            [picture * people + person for picture in range(_PICTURES) for person in numbers]
        )[:count]
        self.people = self._indices % people
        self.keys = [f"{tested[i % needed]}/{i // needed:04d}" for i in range(count)]
        # The next person, in the next expression.
        order = np.arange(count)
        place = order % needed
        partner = (order // needed + 1) % (-(-count // needed)) * needed + (place + 1) % needed
        # The last round may be short of the next person's picture: then that person's first.
        self._partners = np.where(partner < count, partner, (place + 1) % needed)
        # The person's next picture; a person of one picture in the last round has only that.
        following = order + needed
        self._following = np.where(following < count, following, place)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def split(self) -> str:
        """As in `Record`."""
        return f"test people, {self.size} px, nuisances {self.nuisances}"

    def sample(self, replicates: int, rows: np.ndarray | None = None) -> Sample:
        """The pictures in these places, drawn by person; None is all."""
        places = np.arange(len(self)) if rows is None else rows
        keys = [self.keys[row] for row in places]
        return Sample(keys, replicates, self.people[places], seed=self.seed)

    def batch(self, rows: np.ndarray) -> TruthBatch:
        """The pictures in these places, int [B]."""
        of = self.faces.factors(self._indices[rows])
        other = self.faces.factors(self._indices[self._partners[rows]])
        following = self.faces.factors(self._indices[self._following[rows]])
        true = truths(of, other)
        person = self._render(other)
        return TruthBatch(
            self._render(of),
            {SWAP: person, MOTION: person, AGAIN: self._render(moved(of, following))},
            {task: self._render(factors) for task, factors in true.items()},
            {task: face_region(factors, self.size) for task, factors in true.items()},
        )

    def labels(self) -> TruthLabels:
        """The sources' true yaw and expression."""
        records = [self.faces.records[int(i)] for i in self._indices]
        return TruthLabels(
            self.faces.factors(self._indices)["yaw"].numpy(),
            np.array([record.labels["expression"] for record in records]),
        )

    def means(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Over pictures of the training people, the mean [3, S, S]: of the pictures, and of their
        truths, by `NEUTRAL` and `FRONTAL`."""
        faces = RenderedFaces(
            _TRAINING, _TRAINING // _PICTURES, "train", self.size, self.seed, self.nuisances
        )
        total = torch.zeros(3, self.size, self.size, dtype=torch.float64)
        of_truths = {task: torch.zeros_like(total) for task in (NEUTRAL, FRONTAL)}
        for start in range(0, len(faces), _BATCH):
            of = faces.factors(np.arange(start, min(len(faces), start + _BATCH)))
            total += self._render(of).double().sum(0)
            true = truths(of, of)
            for task, mean in of_truths.items():
                mean += self._render(true[task]).double().sum(0)
        n = len(faces)
        return (total / n).float(), {task: (t / n).float() for task, t in of_truths.items()}

    def _render(self, factors: Mapping[str, Tensor]) -> Tensor:
        return render_faces(factors, self.size).float() / 255


def truths(of: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """By task, the factors of the right answer for faces of factors `of`; both complete.

    A swap gives them the identity of faces of factors `other`, a motion transfer gives those the
    motion of `of`. Re-expression is to give `of` again, from the person in another motion."""
    person = {name: other[name] for name, factor in FACTORS.items() if factor.of == "person"}
    return {
        NEUTRAL: counterpart(of, "neutral"),
        FRONTAL: counterpart(of, "neutral_frontal"),
        SWAP: {**of, **person},
        MOTION: moved(other, of),
        AGAIN: dict(of),
    }


def moved(of: Mapping[str, Tensor], motion: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Factors of the faces `of` with the expression, gaze and pose of `motion`; both complete."""
    return {**of, **{name: motion[name] for name in MOVES}}


def face_region(factors: Mapping[str, Tensor], size: int) -> Tensor:
    """Bool [N, size, size], the pixels in the convex hull of each face's 68 landmarks."""
    points = project_landmarks(factors, size).double().numpy()
    grid = np.arange(size)
    pixels = np.stack([*np.broadcast_arrays(grid[None, :], grid[:, None]), np.ones((size, size))])
    inside = [
        (np.tensordot(ConvexHull(of_one).equations, pixels, 1) <= 1e-9).all(0) for of_one in points
    ]
    return torch.from_numpy(np.stack(inside))
