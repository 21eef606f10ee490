"""Attributes: age, gender and race by linear probes, in the data set's own terms.

The labels are what people or a program saw in an image, not the person's own statement.
Source of UTKFace: Zhang, Song and Qi, "Age Progression/Regression by Conditional Adversarial
Autoencoder", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from linear_probe.features.frozen import Features, Pictures
from linear_probe.probes.linear import how_chosen
from linear_probe.probes.logistic import fit_logistic
from linear_probe.probes.ridge import fit_ridge
from linear_probe.records.predictions import Predictions
from linear_probe.tasks.classification import (
    class_figures,
    class_predictions,
    scored_rows,
)
from linear_probe.tasks.labelled import LabelTask, check_classes
from linear_probe.tasks.splits import stratified_group_split
from linear_probe.tasks.task import Figure, carries
from ssl_faces import InputError
from ssl_faces.data import FaceSet

CLASSES = ("gender", "race")
AGE_BANDS = (0, 10, 20, 30, 40, 50, 60, 70)
"""Youngest age, in years, of each band that figures are given for."""


class AttributePrediction(NamedTuple):
    """Logits [M, classes] or years [M] of M test images, and further fields of the figures."""

    outputs: Tensor
    chosen: dict[str, Any]


class Attributes(LabelTask):
    """Mean absolute error of age in years; accuracy and mean class recall of gender and race.

    Those of the three that the face set has, on pictures that have all of them.

    Attributes:
        labels: of each, [records]; -1 where a picture has none.
    """

    name = "attributes"
    order = 4
    required_labels = ("age",)
    probe = "logistic regression"
    baseline_side = 48
    validation_share = 0.1

    @classmethod
    def serves(cls, faces: FaceSet) -> bool:
        return any(carries(faces, name) for name in ("age", *CLASSES))

    def _prepare(self) -> None:
        present = [name for name in ("age", *CLASSES) if carries(self.faces, name)]
        self._split(present)
        self.labels = {
            name: np.array([record.labels.get(name, -1) for record in self.faces.records])
            for name in present
        }
        self._kinds = np.zeros(len(self.faces), dtype=np.int64)
        for name in CLASSES:
            if name in self.labels:
                self._kinds = self._kinds * len(self.faces.class_names[name]) + self.labels[name]
        self._kinds = np.maximum(self._kinds, 0)
        self._draw(self._kinds)
        self.protocol = (
            "linear probes on frozen features, standardised: ridge regression of age, multinomial "
            "logistic regression of gender and race; L2 chosen by mean absolute error or accuracy "
            f"on {self.validation_share:.0%} of the training part, then fitted on all of it"
        )

    def _check(self, train: np.ndarray, test: np.ndarray) -> None:
        for name, values in self.labels.items():
            if name in CLASSES:
                names = self.faces.class_names[name]
                check_classes(self.name, name, names, values[train], values[test])
            elif np.ptp(values[train]) == 0:
                raise InputError(
                    f"{self.name}: {name} is {values[train][0]:g} in all {len(train)} training "
                    f"pictures of {self.faces.title}, which teaches nothing; give others"
                )

    def _validation(self, train: np.ndarray, groups: np.ndarray) -> np.ndarray:
        return stratified_group_split(self._kinds[train], groups, self.validation_share, self.seed)

    def strata(self) -> np.ndarray | None:
        return None if self.folds is not None else np.where(self.is_test, -1, self._kinds)

    def _groups(self, records: np.ndarray) -> dict[str, list[str]]:
        """The gender, race and age band of each of the `records`, for figures by group."""
        groups = {}
        for name, values in self.labels.items():
            if name in CLASSES:
                groups[name] = [self.faces.class_names[name][i] for i in values[records]]
            else:
                groups["age band"] = age_bands(values[records])
        return groups

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        rows = self.rows(features, pictures)
        values = features.values[torch.from_numpy(rows.train)]
        tested = features.values[torch.from_numpy(rows.test)]
        predicted: dict[str, AttributePrediction] = {}
        for name, labels in self.labels.items():
            known = torch.from_numpy(labels[features.records[rows.train]])
            if name in CLASSES:
                fitted = fit_logistic(values, known, rows.validation, device=self.device)
                predicted[name] = AttributePrediction(fitted(tested), how_chosen([fitted]))
            else:
                fitted = fit_ridge(values, known[:, None], rows.validation, device=self.device)
                how = {**how_chosen([fitted], "MAE", 1), "probe": "ridge regression"}
                predicted[name] = AttributePrediction(fitted(tested)[:, 0], how)
        return self.figures(features.records[rows.test], predicted, self.note([rows]))

    def figures(
        self, records: np.ndarray, predicted: Mapping[str, AttributePrediction], note: str
    ) -> list[Figure]:
        """The figures of predictions of attributes of test records."""
        sample = self.sample(records)
        weights, originals = sample.weights, self.originals(records)
        groups = self._groups(records)
        figures: list[Figure] = []
        for name, (outputs, chosen) in predicted.items():
            targets = self.labels[name][records]
            if name in CLASSES:
                predictions = class_predictions(
                    sample.keys, targets, outputs, self.faces.class_names[name], groups
                )
                figures += class_figures(sample, predictions, chosen, note, name, originals)
                continue
            guessed = outputs.cpu().numpy()
            errors = np.abs(guessed - targets)
            kept = Predictions(
                *("regression", [*sample.keys], targets, guessed, np.zeros((len(targets), 0))),
                groups=groups,
            )
            figures += [
                Figure(
                    *(metric, float(errors[which].mean()), "years", False, int(which.sum())),
                    sample.name,
                    weights[:, which]
                    @ errors[which].astype(np.float32)
                    / weights[:, which].sum(axis=1),
                    **chosen,
                    note=note,
                    predictions=kept if which.all() else None,
                )
                for metric, which in scored_rows(f"MAE {name}", len(targets), originals).items()
            ]
        return figures


def age_bands(years: np.ndarray) -> list[str]:
    """The band of `AGE_BANDS` that each of N ages is in, such as `20-29`."""
    ends = [*(f"{a}-{b - 1}" for a, b in pairwise(AGE_BANDS)), f"{AGE_BANDS[-1]}+"]
    return [ends[i] for i in np.searchsorted(AGE_BANDS, years, side="right") - 1]
