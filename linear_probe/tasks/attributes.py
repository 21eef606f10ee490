"""Attributes: age, gender and race of UTKFace, in the owner's words, by linear probes.

The labels are what people or a program saw in a picture, not what the person says of themselves.
Source of the data: Zhang, Song and Qi, "Age Progression/Regression by Conditional Adversarial
Autoencoder", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from linear_probe.features import Features, Pictures
from linear_probe.intervals import row_weights
from linear_probe.predictions import Predictions
from linear_probe.probes.logistic import LogisticProbe
from linear_probe.probes.ridge import RidgeProbe
from linear_probe.splits import stratified_group_split
from linear_probe.tasks.classification import (
    class_figures,
    class_predictions,
    untaught_note,
)
from linear_probe.tasks.task import Figure, MissingData, Task, find, in_test_part, sample_of
from ssl_faces import InputError
from ssl_faces.data import FaceSet
from ssl_faces.data.utkface import GENDERS, RACES

CLASSES = ("gender", "race")
NAMES = {"gender": GENDERS, "race": RACES}
AGE_BANDS = (0, 10, 20, 30, 40, 50, 60, 70)
"""Youngest age, in years, of each band that figures are told by."""

VALIDATION_SHARE = 0.1


class Attributes(Task):
    """Mean absolute error of age in years; accuracy and mean class recall of gender and race."""

    name = "attributes"
    probe = "logistic regression"
    baseline_side = 48

    def _choose(self, face_sets: Sequence[FaceSet]) -> None:
        faces = find(face_sets, ["utkface"])
        if faces is None:
            raise MissingData("attributes needs UTKFace, which is not there")
        self.faces = faces
        self.is_test = in_test_part(faces)
        if not self.is_test.any() or self.is_test.all():
            raise InputError(
                f"attributes: all pictures of {faces.name} fall on one side of the split; give more"
            )
        self.indices = np.arange(len(faces))
        self.data_set, self.split = "UTKFace", "by the pictures' bytes, a fifth for the test"
        self.labels = {
            name: np.array([record.labels[name] for record in faces.records])
            for name in ("age", *CLASSES)
        }
        training = np.flatnonzero(~self.is_test)
        if self.max_train is not None and self.max_train < len(training):
            drawn = np.random.default_rng(self.seed).permutation(training)[: self.max_train]
            self.indices = np.sort(np.concatenate([drawn, np.flatnonzero(self.is_test)]))
            self.split += f", {self.max_train:,} training pictures"
        self.protocol = (
            "linear probes on frozen features, standardised: ridge regression of age, multinomial "
            "logistic regression of gender and race; L2 chosen by mean absolute error or accuracy "
            f"on {VALIDATION_SHARE:.0%} of the training part, then fitted on all of it"
        )

    def rows(
        self, features: Features, pictures: Pictures
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training rows [N], test rows [M], and which of the training rows validate, bool [N].

        Raises:
            InputError: no picture left to train or to score on.
        """
        is_test = self.is_test[features.records]
        wanted = np.isin(features.records, self.indices)
        train, test = np.flatnonzero(wanted & ~is_test), np.flatnonzero(wanted & is_test)
        if not len(train) or not len(test):
            raise InputError(
                f"attributes: no picture of {self.faces.name} left to "
                f"{'score' if len(train) else 'train'} on; check that they are whole"
            )
        hash_of = dict(zip(pictures.indices.tolist(), pictures.hashes, strict=True))
        copies = np.array([hash_of[i].hex() for i in features.records[train].tolist()])
        validation = stratified_group_split(
            self._kinds[features.records[train]], copies, VALIDATION_SHARE, self.seed
        )
        return train, test, validation

    def strata(self) -> np.ndarray:
        return np.where(self.is_test, -1, self._kinds)

    @property
    def _kinds(self) -> np.ndarray:
        """Gender and race in one number, int [records]."""
        kinds: np.ndarray = self.labels["gender"] * len(RACES) + self.labels["race"]
        return kinds

    def _groups(self, records: np.ndarray) -> dict[str, list[str]]:
        """The gender, race and age band of each of the `records`, for figures by group."""
        bands = np.searchsorted(AGE_BANDS, self.labels["age"][records], side="right") - 1
        ends = [*(f"{a}-{b - 1}" for a, b in pairwise(AGE_BANDS)), f"{AGE_BANDS[-1]}+"]
        return {
            **{n: [NAMES[n][i] for i in self.labels[n][records]] for n in CLASSES},
            "age band": [ends[i] for i in bands],
        }

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        train, test, validation = self.rows(features, pictures)
        values = features.values[torch.from_numpy(train)]
        asked = features.values[torch.from_numpy(test)]
        of = {
            name: (labels[features.records[train]], labels[features.records[test]])
            for name, labels in self.labels.items()
        }
        weights = row_weights(len(test), self.replicates, self.seed)
        keys = [self.faces.records[i].key for i in features.records[test]]
        groups = self._groups(features.records[test])
        sample = sample_of(keys, self.replicates, self.seed)
        note = f"trained on {len(train):,} pictures"

        known, ages = of["age"]
        ridge = RidgeProbe(device=self.device).fit(
            values, torch.from_numpy(known)[:, None], validation
        )
        guessed = ridge(asked)[:, 0].cpu().numpy()
        errors = np.abs(guessed - ages)
        on_validation = {"MAE": round(ridge.validation_error[ridge.l2], 4)}
        figures = [
            Figure(
                "MAE age",
                float(errors.mean()),
                "years",
                False,
                len(test),
                sample,
                weights @ errors.astype(np.float32) / len(test),
                {"l2": ridge.l2, "validation": on_validation},
                ridge.at_grid_edge,
                note,
                "ridge regression",
                Predictions(
                    *("regression", keys, ages, guessed, np.zeros((len(test), 0))), groups=groups
                ),
            )
        ]
        for name in CLASSES:
            known, targets = of[name]
            untaught = untaught_note(self.name, known, targets, NAMES[name], name)
            predictor = LogisticProbe(device=self.device).fit(
                values, torch.from_numpy(known), validation
            )
            said = class_predictions(keys, targets, predictor(asked), NAMES[name], groups)
            figures += class_figures(
                *(predictor, targets, said.predicted, weights, sample),
                "; ".join(filter(None, (note, untaught))),
                name,
                said,
            )
        return figures
