"""Landmarks: 68 points of a face by ridge regression, on square pictures that have them exactly.

Source of the metric: Sagonas et al., "300 Faces in-the-Wild Challenge", ICCV 2013 workshops: the
mean distance over the points, by the distance between the outer corners of the eyes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from linear_probe.tasks.regression import Metric, Regression
from ssl_faces.data import FaceSet
from ssl_faces.rendered import RenderedFaces

POINTS = 68
OUTER_CORNERS = (36, 45)
"""Of the eyes, in iBUG's order, from 0."""


class Landmarks(Regression):
    """Normalised mean error of the points, in percent of the distance between the eyes' corners."""

    name = "landmarks"
    order = 6
    required_labels = ("landmarks",)
    needs = "rendered faces"
    names = tuple(f"{axis}{i}" for i in range(POINTS) for axis in "xy")

    @classmethod
    def serves(cls, faces: FaceSet) -> bool:
        # Images of other sets are not square: what is cut off would have to be known.
        return isinstance(faces, RenderedFaces) and super().serves(faces)

    def _target(self, labels: Mapping[str, Any]) -> np.ndarray:
        assert isinstance(self.faces, RenderedFaces)
        return (np.asarray(labels["landmarks"]) / self.faces.size).reshape(-1)

    def _prepare(self) -> None:
        super()._prepare()
        metric = "mean distance of 68 points by the distance between the outer corners of the eyes"
        self.protocol = self._ridge("exact landmarks", more=f"; {metric}")

    def _metrics(
        self, targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray
    ) -> list[Metric]:
        true, guessed = (points.reshape(-1, POINTS, 2) for points in (targets, predicted))
        left, right = OUTER_CORNERS
        apart = np.linalg.norm(true[:, left] - true[:, right], axis=1)
        errors = 100 * np.linalg.norm(guessed - true, axis=2).mean(axis=1) / apart
        return [Metric("NME", "%", False, weights @ errors / weights.sum(axis=1))]
