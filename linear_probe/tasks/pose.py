"""Head pose: yaw, pitch and roll by ridge regression, people of the test unseen in training.

On the YouTube keypoints the pose is landmark-derived: a generic head fitted to six landmarks, not
a measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GroupShuffleSplit

from linear_probe.features import Features, Pictures
from linear_probe.intervals import cluster_weights
from linear_probe.predictions import Predictions
from linear_probe.probes.ridge import RidgePredictor, RidgeProbe
from linear_probe.tasks.task import (
    Figure,
    MissingData,
    Reference,
    Task,
    find,
    in_test_part,
    people_of,
    sample_of,
)
from ssl_faces import InputError
from ssl_faces.data import FaceSet

ANGLES = ("yaw", "pitch", "roll")
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class PoseRows:
    """Rows of the features by what they are used for.

    Attributes:
        train: int [N], rows to fit on.
        test: int [M], rows to score on.
        validation: bool [N], which of `train` choose the L2; no person is on both sides.
    """

    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray


class Pose(Task):
    """Mean absolute error of each angle, in degrees, of ridge regression."""

    name = "pose"
    probe = "ridge regression"
    baseline_side = 32

    def _choose(self, face_sets: Sequence[FaceSet]) -> None:
        faces = find(face_sets, ["youtube_keypoints", "rendered"])
        if faces is None:
            raise MissingData("pose needs the YouTube keypoints, which are not there")
        self.faces = faces
        self.indices = np.arange(len(faces))
        self.is_test = in_test_part(faces)
        if not self.is_test.any() or self.is_test.all():
            raise InputError(
                f"pose: all people of {faces.name} fall on one side of the split; give more people"
            )
        self.poses = torch.stack([record.labels["pose"] for record in faces.records]).numpy()
        if faces.name == "youtube_keypoints":
            self.data_set, truth = "YouTube keypoints", "landmark-derived pose"
        else:
            self.data_set, truth = "rendered faces", "exact pose"
        self.split = "by person"
        self.protocol = (
            f"{truth}; ridge regression on frozen features, standardised; L2 chosen by mean "
            f"absolute error on {VALIDATION_SHARE:.0%} of the training people, then fitted on all "
            "of them; intervals by bootstrap over people"
        )

    def rows(self, features: Features) -> PoseRows:
        """Sort the rows of the features.

        Raises:
            InputError: too few people left.
        """
        is_test = self.is_test[features.records]
        train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        people = people_of(self.faces, features.records[train])
        if len(np.unique(people)) < 2 or not len(test):
            raise InputError(
                f"pose: {self.faces.name} has pictures of {len(np.unique(people))} people to train "
                f"on and {len(test)} pictures to score on; give at least 2 people and 1 picture"
            )
        splitter = GroupShuffleSplit(1, test_size=VALIDATION_SHARE, random_state=self.seed)
        _, chosen = next(splitter.split(train, groups=people))
        validation = np.zeros(len(train), dtype=bool)
        validation[chosen] = True
        return PoseRows(train, test, validation)

    def fit(self, features: Features, rows: PoseRows) -> RidgePredictor:
        """The probe fitted on the training rows; sees neither features nor labels of others."""
        targets = torch.from_numpy(self.poses[features.records[rows.train]])
        probe = RidgeProbe(device=self.device)
        return probe.fit(features.values[torch.from_numpy(rows.train)], targets, rows.validation)

    def strata(self) -> np.ndarray:
        return np.where(self.is_test, -1, 0)

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        rows = self.rows(features)
        predictor = self.fit(features, rows)
        predicted = predictor(features.values[torch.from_numpy(rows.test)]).cpu().numpy()
        on_validation = predictor.validation_error[predictor.l2]
        chosen = {"l2": predictor.l2, "validation": {"MAE": round(on_validation, 4)}}
        return self._figures(features, rows, predicted, chosen, predictor.at_grid_edge)

    def references(self, features: Features, pictures: Pictures) -> list[Reference]:
        """What predicting the training part's mean pose for every picture comes to."""
        rows = self.rows(features)
        mean = self.poses[features.records[rows.train]].mean(axis=0)
        predicted = np.broadcast_to(mean, (len(rows.test), len(ANGLES)))
        figures = self._figures(features, rows, predicted, {}, False)
        return [Reference("predict the mean", "none", figures)]

    def _figures(
        self,
        features: Features,
        rows: PoseRows,
        predicted: np.ndarray,
        hyperparameters: dict[str, Any],
        at_grid_edge: bool,
    ) -> list[Figure]:
        records = features.records[rows.test]
        targets = self.poses[records]
        values = mean_absolute_error(targets, predicted, multioutput="raw_values")
        people = people_of(self.faces, records)
        weights = cluster_weights(people, self.replicates, self.seed)
        replicates = weights @ np.abs(predicted - targets) / weights.sum(axis=1, keepdims=True)
        note = f"trained on {len(rows.train):,} pictures; scored on {len(np.unique(people))} people"
        keys = [self.faces.records[i].key for i in records]
        drawn = (f"{key} {p}" for key, p in zip(keys, people, strict=True))
        sample = sample_of(drawn, self.replicates, self.seed)
        return [
            Figure(
                f"MAE {angle}",
                float(values[i]),
                "degrees",
                False,
                len(targets),
                sample,
                replicates[:, i],
                hyperparameters,
                at_grid_edge,
                note,
                predictions=Predictions(
                    "regression", keys, targets[:, i], predicted[:, i], np.zeros((len(keys), 0))
                ),
            )
            for i, angle in enumerate(ANGLES)
        ]
