"""What is left of pose, expression and identity in edited faces, as probes of source faces see it.

A frontal neutral face that is right in its pixels may still give its source away, and one that
looks the same for everybody has neither pose nor expression left. So the same probes also score
the identity that is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linear_probe.experiments.truth import faces as truth_faces
from linear_probe.experiments.truth.faces import FRONTAL, TruthFaces
from linear_probe.probes.logistic import LogisticPredictor, LogisticProbe
from linear_probe.probes.ridge import RidgePredictor, RidgeProbe
from linear_probe.probes.verification import pair_similarities, verify
from linear_probe.records.measured import Measured, TaskFacts
from linear_probe.sources.baselines import HogSource
from linear_probe.stats.intervals import cluster_weights, pair_weights
from linear_probe.tasks.splits import stratified_group_split
from linear_probe.tasks.task import Figure, percentage, sample_of
from ssl_faces.data import EXPRESSIONS
from ssl_faces.rendered import RenderedFaces

LEFT = f"left in the {FRONTAL}"

MOST_YAW = 45.0
"""Yaw figures are of sources up to this yaw, degrees."""

_VALIDATION = 0.2  # share of the training people that choose the L2
_FOLDS = 5


@dataclass(frozen=True)
class LeftProbes:
    """Probes of HOG features of source faces of training people.

    Attributes:
        faces: the test faces whose edited versions are scored.
        hog: gives the features.
        yaw: predicts yaw in degrees.
        expression: predicts the expression.
        pictures: how many pictures they were fitted on.
    """

    faces: TruthFaces
    hog: HogSource
    yaw: RidgePredictor
    expression: LogisticPredictor
    pictures: int

    @classmethod
    def fit(cls, faces: TruthFaces) -> LeftProbes:
        """Fit the probes on pictures of the training people of the set of `faces`."""
        count = 2 * truth_faces._TRAINING
        train = RenderedFaces(
            count, count // len(EXPRESSIONS), "train", faces.size, faces.seed, faces.nuisances
        )
        hog = HogSource(faces.size)
        rows = np.arange(len(train))
        x = torch.cat(
            [
                cls._features(hog, train.render_batch(part).float() / 255)
                for part in np.array_split(rows, max(1, len(rows) // 128))
            ]
        )
        labels = [train.records[int(i)] for i in rows]
        expressions = np.array([record.labels["expression"] for record in labels])
        yaw = train.factors(rows)["yaw"][:, None]
        people = np.array([record.person for record in labels])
        validation = stratified_group_split(expressions, people, _VALIDATION, faces.seed)
        return cls(
            faces,
            hog,
            RidgeProbe().fit(x, yaw, validation),
            LogisticProbe().fit(x, torch.from_numpy(expressions), validation),
            len(train),
        )

    @staticmethod
    def _features(hog: HogSource, images: Tensor) -> Tensor:
        return hog(images.clamp(0, 1))[hog.space]

    def features(self, images: Tensor) -> Tensor:
        """HOG features float32 [B, D] of images float [B, 3, S, S] in [0, 1]."""
        return self._features(self.hog, images)

    def row(self, name: str, features: Tensor, replicates: int) -> Measured:
        """The figures of one edit of all test faces.

        Args:
            name: of the row.
            features: [N, D], of the edited faces in the order of `faces`.
            replicates: of the bootstrap.
        """
        labels = self.faces.labels()
        figures = [
            self._yaw(features, labels.yaw, replicates),
            self._expression(features, labels.expression, replicates),
        ]
        pairs = pairs_of(self.faces.people)
        if pairs is not None:
            figures.append(self._verification(features, *pairs, replicates))
        task = TaskFacts(
            LEFT,
            self.faces.faces.title,
            f"test people, {self.faces.size} px, nuisances {self.faces.nuisances}",
            f"HOG features; ridge (yaw) and logistic regression (expression) fitted on "
            f"{self.pictures:,} source faces of training people, L2 chosen on "
            f"{_VALIDATION:.0%} of these people, then applied to edited faces of test people; "
            f"mean |predicted yaw| where the source's true |yaw| is at most {MOST_YAW:g}°; "
            "accuracy of predicting the source's expression (chance is "
            f"{100 / len(EXPRESSIONS):.1f} %); verification by cosine similarity, as many pairs of "
            f"one person as of two, {_FOLDS} folds; intervals by bootstrap over people",
            self.faces.seed,
        )
        return Measured(task, name, self.hog.space, "ridge, logistic, cosine", figures)

    def _yaw(self, features: Tensor, true: np.ndarray, replicates: int) -> Figure:
        near = np.abs(true) <= MOST_YAW
        found = self.yaw(features)[:, 0].abs().cpu().numpy()[near]
        weights = self._weights(self.faces.people[near], replicates)
        sample = self._sample(np.flatnonzero(near), replicates)
        mean = weights @ found / weights.sum(1)
        return Figure("mean |yaw|", float(found.mean()), "°", False, len(found), sample, mean)

    def _expression(self, features: Tensor, true: np.ndarray, replicates: int) -> Figure:
        hits = (self.expression(features).argmax(1).cpu().numpy() == true).astype(float)
        weights = self._weights(self.faces.people, replicates)
        sample = self._sample(np.arange(len(hits)), replicates)
        mean = weights @ hits / weights.sum(1)
        return percentage("expression accuracy", hits.mean(), mean, len(hits), sample, False)

    def _verification(
        self,
        features: Tensor,
        first: np.ndarray,
        second: np.ndarray,
        same: np.ndarray,
        folds: np.ndarray,
        replicates: int,
    ) -> Figure:
        similarities = pair_similarities(features, first, second, folds)
        hits = verify(similarities, same, folds).correct.astype(float)
        people = np.stack([self.faces.people[first], self.faces.people[second]], axis=1)
        weights = pair_weights(people, same, replicates, self.faces.seed)
        keys = (
            f"{self.faces.keys[a]} {self.faces.keys[b]} {who}"
            for a, b, who in zip(first, second, people.tolist(), strict=True)
        )
        sample = sample_of(keys, replicates, self.faces.seed)
        mean = weights @ hits / weights.sum(1)
        return percentage("verification accuracy", hits.mean(), mean, len(hits), sample)

    def _weights(self, people: np.ndarray, replicates: int) -> np.ndarray:
        return cluster_weights(people, replicates, self.faces.seed)

    def _sample(self, rows: np.ndarray, replicates: int) -> str:
        keys = (f"{self.faces.keys[row]} {self.faces.people[row]}" for row in rows)
        return sample_of(keys, replicates, self.faces.seed)


def pairs_of(
    people: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Pairs to verify: first and second rows int [M], bool [M] whether they show one person, and
    folds int [M] that share no person. None where too few people have two pictures.

    Every picture meets the person's next one, and one of another person of the fold.

    Args:
        people: [N], the person of each picture.
    """
    rows_of = [np.flatnonzero(people == person) for person in np.unique(people)]
    rows_of = [rows for rows in rows_of if len(rows) > 1]
    folds = min(_FOLDS, len(rows_of) // 2)
    if folds < 2:
        return None
    found: list[tuple[int, int, bool, int]] = []
    for fold in range(folds):
        members = rows_of[fold::folds]
        for k, rows in enumerate(members):
            other = members[(k + 1) % len(members)]
            for i, row in enumerate(rows.tolist()):
                found.append((row, int(rows[(i + 1) % len(rows)]), True, fold))
                found.append((row, int(other[(i + 1) % len(other)]), False, fold))
    first, second, same, fold_of = (np.array(column) for column in zip(*found, strict=True))
    return first, second, same, fold_of
