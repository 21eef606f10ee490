"""Head pose: yaw, pitch and roll by ridge regression, people of the test unseen in training.

On the YouTube keypoints the pose is landmark-derived: a generic head fitted to six landmarks, not
a measurement. 300W-LP teaches what AFLW2000-3D tests (Ruiz, Chong and Rehg, "Fine-Grained Head Pose
Estimation Without Keypoints", CVPR 2018 workshops); BIWI is split by recording.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linear_probe.tasks.regression import Metric, Regression, angle_errors
from linear_probe.tasks.task import carries, find
from ssl_faces.data import FaceSet, JoinedFaces

ANGLES = ("yaw", "pitch", "roll")

_TRUTH = {
    "youtube_keypoints": "landmark-derived pose",
    "rendered": "exact pose",
    "300w_lp-aflw2000": "pose of a 3D face model fitted to the picture, pitch above 0 looks down",
    "biwi": "pose measured by depth, pitch above 0 looks down",
}


class Pose(Regression):
    """Mean absolute error of each angle, in degrees, of ridge regression."""

    name = "pose"
    needs = "the YouTube keypoints, 300W-LP with AFLW2000-3D, or BIWI"
    names = ANGLES

    @classmethod
    def serves(cls, faces: FaceSet) -> bool:
        return carries(faces, "pose")

    @classmethod
    def serving(cls, face_sets: Sequence[FaceSet]) -> list[FaceSet]:
        train, test = (find(face_sets, [name]) for name in ("300w_lp", "aflw2000"))
        # By itself AFLW2000-3D has nothing to learn from.
        found = [faces for faces in super().serving(face_sets) if faces is not test]
        if train is not None and test is not None:
            split = f"{train.title} -> {test.title}"
            found.append(JoinedFaces(train, test, "300w_lp-aflw2000", test.title, split))
        return found

    def _prepare(self) -> None:
        self._split(["pose"])
        nothing = np.full(len(ANGLES), np.nan, dtype=np.float32)
        self.targets = np.stack(
            [np.asarray(r.labels.get("pose", nothing), np.float32) for r in self.faces.records]
        )
        by_person = any(
            self.faces.records[i].person for i in self.indices[self.is_test[self.indices]]
        )
        truth = _TRUTH.get(self.faces.name, "pose as given")
        self.protocol = (
            f"{truth}; ridge regression on frozen features, standardised; L2 chosen by mean "
            f"absolute error on {self.validation_share:.0%} of the training people, then fitted on "
            f"all of them; intervals by bootstrap over {'people' if by_person else 'pictures'}"
        )

    def _metrics(
        self, targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray
    ) -> list[Metric]:
        return angle_errors(ANGLES, targets, predicted, weights)
