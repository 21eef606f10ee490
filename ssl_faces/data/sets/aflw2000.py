"""AFLW2000-3D: the first 2,000 faces of AFLW with the pose of a 3D face model fitted to them.

Source: Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, FaceSet, Part, Skipped
from ssl_faces.data.sets.folder import existing_folder, is_picture_name
from ssl_faces.data.sets.pose_para import pose_of_mat

LARGEST_ANGLE = 99.0
"""Degrees; pictures with a larger one are left out, as Ruiz, Chong and Rehg ("Fine-Grained Head
Pose Estimation Without Keypoints", CVPR 2018 workshops) and all after them do."""


class AFLW2000(FaceSet):
    """AFLW2000-3D with `pose` (see `pose_of_mat` for what was taken), for testing alone.

    `root` holds `image00002.jpg` and `image00002.mat` and so on. Pictures with an angle above
    `LARGEST_ANGLE`, or whose `.mat` can't be used, are in `skipped`. No person is known. Its part
    `train` is empty: the whole set is `test`.

    Raises:
        InputError: folder missing, or without a single picture with its pose.
    """

    title = "AFLW2000-3D"

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "aflw2000")
        records: list[FaceRecord] = []
        skipped: list[Skipped] = []
        names = sorted(p.name for p in folder.iterdir() if is_picture_name(p.name))
        for name in names if part != "train" else ():
            path = folder / name
            pose = pose_of_mat(path.with_suffix(".mat"))
            if isinstance(pose, str):
                skipped.append(Skipped(name, pose))
            elif pose.abs().max() > LARGEST_ANGLE:
                reason = f"an angle above {LARGEST_ANGLE:g} degrees"
                skipped.append(Skipped(name, reason))
            else:
                records.append(FaceRecord(name, path, labels={"pose": pose}))
        if not records and part != "train":
            why = f" ({skipped[0].key}: {skipped[0].reason})" if skipped else ""
            raise InputError(
                f"aflw2000: {folder} holds no picture with a .mat that can be used{why}; "
                "give the folder that holds them"
            )
        super().__init__(
            "aflw2000",
            part,
            records,
            skipped=skipped,
            test=partial(AFLW2000, root, "test"),
            empty=part == "train",
        )


def is_layout(folder: Path) -> bool:
    """Whether one of the first pictures is `imageNNNNN` with its `.mat`."""
    pictures = (p for p in folder.iterdir() if is_picture_name(p.name))
    return any(
        path.stem.startswith("image")
        and path.stem[5:].isdigit()
        and path.with_suffix(".mat").is_file()
        for path in islice(pictures, 20)
    )
