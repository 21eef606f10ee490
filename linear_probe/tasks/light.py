"""Light: where it comes from, by ridge regression, on faces whose light is known exactly.

A code of expression or identity should say little of it.
"""

from __future__ import annotations

import numpy as np

from linear_probe.tasks.regression import Metric, Regression, angle_errors
from linear_probe.tasks.task import carries
from ssl_faces.data import FaceSet

ANGLES = ("azimuth", "elevation")


class Light(Regression):
    """Mean absolute error of the light's azimuth and elevation, in degrees, of ridge regression."""

    name = "light"
    needs = "rendered faces"
    names = ANGLES

    @classmethod
    def serves(cls, faces: FaceSet) -> bool:
        return carries(faces, "light")

    def _prepare(self) -> None:
        self._split(["light"])
        # The third number is the share of light from everywhere.
        nothing = np.full(3, np.nan, dtype=np.float32)
        labels = [np.asarray(r.labels.get("light", nothing)) for r in self.faces.records]
        self.targets = np.stack(labels)[:, :2].astype(np.float32)
        self.protocol = (
            "exact azimuth and elevation of the light; ridge regression on frozen features, "
            "standardised; L2 chosen by mean absolute error on "
            f"{self.validation_share:.0%} of the training people, then fitted on all of them; "
            "intervals by bootstrap over people"
        )

    def _metrics(
        self, targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray
    ) -> list[Metric]:
        # Drawn lights stay before the face, from -110 to 110 degrees: no angle is beyond the turn.
        return angle_errors(ANGLES, targets, predicted, weights)
