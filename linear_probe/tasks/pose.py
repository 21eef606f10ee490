"""Head pose: yaw, pitch and roll by ridge regression, on people who are not in the training part.

On the YouTube keypoints the pose is landmark-derived: a generic head fitted to six landmarks, not
a measurement. 300W-LP is the training set of AFLW2000-3D (Ruiz, Chong and Rehg, "Fine-Grained Head
Pose Estimation Without Keypoints", CVPR 2018 workshops); BIWI is split by recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from linear_probe.tasks.regression import Regression

ANGLES = ("yaw", "pitch", "roll")


class Pose(Regression):
    """Mean absolute error of each angle, in degrees, of ridge regression."""

    name = "pose"
    order = 2
    required_labels = ("pose",)
    names = ANGLES

    def _target(self, labels: Mapping[str, Any]) -> np.ndarray:
        return np.asarray(labels["pose"])

    def _prepare(self) -> None:
        super()._prepare()
        tested = self.indices[self.is_test[self.indices]]
        people = any(self.faces.records[i].person for i in tested)
        self.protocol = self._ridge(self.faces.pose_truth, over="people" if people else "pictures")
