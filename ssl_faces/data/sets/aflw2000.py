"""AFLW2000-3D: the first 2,000 faces of AFLW with the pose of a 3D face model fitted to them.

Source: Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ssl_faces.data.sets.expressions import frames_in
from ssl_faces.data.sets.folder import is_image_name
from ssl_faces.data.sets.pose_para import PoseParaSet


class AFLW2000(PoseParaSet):
    """AFLW2000-3D with `pose`, for testing alone; what 300W-LP teaches is tested on it.

    `root` holds `image00002.jpg` and `image00002.mat` and so on. Images with an angle above
    99 degrees, or whose `.mat` can't be used, are in `skipped`. No person is known. Its part
    `train` is empty: the whole set is `test`.
    """

    name = "aflw2000"
    title = "AFLW2000-3D"
    only = "test"
    may_be_empty = ("train",)
    learns_from = "300w_lp"
    holds = "with a .mat that can be used"
    # As Ruiz, Chong and Rehg ("Fine-Grained Head Pose Estimation Without Keypoints", CVPR 2018
    # workshops) and all after them do.
    largest_angle = 99.0

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether one of the first images is `imageNNNNN` with its `.mat`."""
        images = (path for path in folder.iterdir() if is_image_name(path.name))
        return any(
            path.stem.startswith("image")
            and path.stem[5:].isdigit()
            and path.with_suffix(".mat").is_file()
            for path in islice(images, 20)
        )

    def images(self, folder: Path) -> Iterator[tuple[str, Path, str | None]]:
        return ((path.name, path, None) for path in frames_in(folder))
