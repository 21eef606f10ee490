"""What is left of pose, expression and identity in edited faces, as probes of source faces see it.

A frontal neutral face that is right in its pixels may still give its source away, and one that
looks the same for everybody has neither pose nor expression left. So the same probes also score
the identity that is kept.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from linear_probe.experiments.truth import faces as truth_faces
from linear_probe.experiments.truth.faces import FRONTAL, TruthFaces
from linear_probe.probes.logistic import fit_logistic
from linear_probe.probes.ridge import fit_ridge
from linear_probe.probes.verification import pair_similarities, verify
from linear_probe.records.measured import Measured, TaskFacts
from linear_probe.sources.baselines import HogSource
from linear_probe.tasks.sample import Sample
from linear_probe.tasks.splits import stratified_group_split
from ssl_faces.data import EXPRESSIONS
from ssl_faces.rendered import RenderedFaces

LEFT = f"left in the {FRONTAL}"

MOST_YAW = 45.0
"""Yaw figures are of sources up to this yaw, degrees."""

_VALIDATION = 0.2  # share of the training people that choose the L2
_FOLDS = 5


class LeftProbes:
    """Probes of HOG features, fitted on source faces of training people of the same set as
    `faces`."""

    def __init__(self, faces: TruthFaces) -> None:
        count = 2 * truth_faces._TRAINING
        train = RenderedFaces(
            count, count // len(EXPRESSIONS), "train", faces.size, faces.seed, faces.nuisances
        )
        self.faces, self.pictures = faces, len(train)
        self.hog = HogSource(faces.size)
        rows = np.arange(len(train))
        x = torch.cat(
            [
                self.features(train.render_batch(part).float() / 255)
                for part in np.array_split(rows, max(1, len(rows) // 128))
            ]
        )
        labels = [train.records[int(i)] for i in rows]
        expressions = np.array([record.labels["expression"] for record in labels])
        people = np.array([record.person for record in labels])
        validation = stratified_group_split(expressions, people, _VALIDATION, faces.seed)
        self.yaw = fit_ridge(x, train.factors(rows)["yaw"][:, None], validation)
        self.expression = fit_logistic(x, torch.from_numpy(expressions), validation)

    def features(self, images: Tensor) -> Tensor:
        """HOG features float32 [B, D] of images float [B, 3, S, S] in [0, 1]."""
        return self.hog(images.clamp(0, 1))[self.hog.space]

    def row(self, name: str, features: Tensor, replicates: int) -> Measured:
        """The figures of one edit of all test faces, by its features [N, D] in the order of
        `faces`."""
        faces, labels = self.faces, self.faces.labels()
        near = np.flatnonzero(np.abs(labels.yaw) <= MOST_YAW)
        yaw = self.yaw(features)[:, 0].abs().cpu().numpy()[near]
        hits = self.expression(features).argmax(1).cpu().numpy() == labels.expression
        figures = [
            faces.sample(replicates, near).mean("mean |yaw|", yaw, "°", False),
            faces.sample(replicates).mean(
                "expression accuracy", hits.astype(float), higher_is_better=False
            ),
        ]
        pairs = pairs_of(faces.people)
        if pairs is not None:
            first, second, same, folds = pairs
            similarities = pair_similarities(features, first, second, folds)
            hits = verify(similarities, same, folds).correct
            people = np.stack([faces.people[first], faces.people[second]], axis=1)
            keys = [f"{faces.keys[a]} {faces.keys[b]}" for a, b in zip(first, second, strict=True)]
            of_pairs = Sample(keys, replicates, people, same, seed=faces.seed)
            figures.append(of_pairs.mean("verification accuracy", hits.astype(float)))
        task = TaskFacts(
            LEFT,
            faces.faces.title,
            faces.split,
            f"HOG features; ridge (yaw) and logistic regression (expression) fitted on "
            f"{self.pictures:,} source faces of training people, L2 chosen on "
            f"{_VALIDATION:.0%} of these people, then applied to edited faces of test people; "
            f"mean |predicted yaw| where the source's true |yaw| is at most {MOST_YAW:g}°; "
            "accuracy of predicting the source's expression (chance is "
            f"{100 / len(EXPRESSIONS):.1f} %); verification by cosine similarity, as many pairs of "
            f"one person as of two, {_FOLDS} folds; intervals by bootstrap over people",
            faces.seed,
        )
        return Measured(task, name, self.hog.space, "ridge, logistic, cosine", figures)


def pairs_of(people: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Pairs to verify: first and second rows int [M], bool [M] whether they show one person, and
    folds int [M] that share no person. None where too few of the `people` [N] have two images.

    Every image meets the person's next one, and one of another person of the fold.
    """
    rows_of = [np.flatnonzero(people == person) for person in np.unique(people)]
    rows_of = [rows for rows in rows_of if len(rows) > 1]
    folds = min(_FOLDS, len(rows_of) // 2)
    if folds < 2:
        return None
    pairs: list[tuple[int, int, bool, int]] = []
    for fold in range(folds):
        members = rows_of[fold::folds]
        for k, rows in enumerate(members):
            other = members[(k + 1) % len(members)]
            for i, row in enumerate(rows.tolist()):
                pairs.append((row, int(rows[(i + 1) % len(rows)]), True, fold))
                pairs.append((row, int(other[(i + 1) % len(other)]), False, fold))
    first, second, same, fold_of = (np.array(column) for column in zip(*pairs, strict=True))
    return first, second, same, fold_of
