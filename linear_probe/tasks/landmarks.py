"""Landmarks: 68 points of a face by ridge regression, on square pictures that have them exactly.

Source of the metric: Sagonas et al., "300 Faces in-the-Wild Challenge", ICCV 2013 workshops: the
mean distance over the points, by the distance between the outer corners of the eyes.
"""

from __future__ import annotations

import numpy as np

from linear_probe.tasks.regression import Metric, Regression
from linear_probe.tasks.task import carries
from ssl_faces.data import FaceSet
from ssl_faces.rendered import RenderedFaces

POINTS = 68
OUTER_CORNERS = (36, 45)
"""Of the eyes, in iBUG's order, from 0."""


class Landmarks(Regression):
    """Normalised mean error of the points, in percent of the distance between the eyes' corners."""

    name = "landmarks"
    needs = "rendered faces"
    names = tuple(f"{axis}{i}" for i in range(POINTS) for axis in "xy")

    @classmethod
    def serves(cls, faces: FaceSet) -> bool:
        # Elsewhere pictures are not square, and what is cut off would have to be known.
        return isinstance(faces, RenderedFaces) and carries(faces, "landmarks")

    def _prepare(self) -> None:
        self._split(["landmarks"])
        assert isinstance(self.faces, RenderedFaces)
        points = np.stack([np.asarray(r.labels["landmarks"]) for r in self.faces.records])
        self.targets = (points / self.faces.size).reshape(len(points), -1).astype(np.float32)
        self.protocol = (
            "exact landmarks; ridge regression on frozen features, standardised; L2 chosen by mean "
            f"absolute error on {self.validation_share:.0%} of the training people, then fitted on "
            "all of them; mean distance of 68 points by the distance between the outer corners of "
            "the eyes; intervals by bootstrap over people"
        )

    def _metrics(
        self, targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray
    ) -> list[Metric]:
        true, found = (points.reshape(-1, POINTS, 2) for points in (targets, predicted))
        left, right = OUTER_CORNERS
        apart = np.linalg.norm(true[:, left] - true[:, right], axis=1)
        errors = 100 * np.linalg.norm(found - true, axis=2).mean(axis=1) / apart
        return [Metric("NME", "%", False, weights @ errors / weights.sum(axis=1))]
