"""300W-LP: faces of 300W, each turned to larger and larger yaw by a 3D model.

Source: Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016.
"""

from __future__ import annotations

import re
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, FaceSet, Part, Skipped
from ssl_faces.data.sets.folder import existing_folder, is_picture_name, pictures_under, subfolders
from ssl_faces.data.sets.pose_para import pose_of_mat

SOURCES = ("AFW", "HELEN", "IBUG", "LFPW")
_TURN = re.compile(r"_\d+$")


class W300LP(FaceSet):
    """300W-LP with `pose` (see `pose_of_mat` for what was taken), for training alone.

    `root` holds `AFW/`, `HELEN/`, `IBUG/`, `LFPW/` and their mirror images `AFW_Flip/` and so on,
    each with `NAME_N.jpg` and `NAME_N.mat`. All turns of one photograph, and their mirror images,
    show one `person`. Pictures whose `.mat` can't be used are in `skipped`. Listing reads every
    `.mat`: some minutes for the whole set.

    No probe scores on it: what it teaches is tested on AFLW2000-3D. Its part `test` is empty.

    Raises:
        InputError: folder missing, or without a single picture with its pose.
    """

    title = "300W-LP"

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "300w_lp")
        records: list[FaceRecord] = []
        skipped: list[Skipped] = []
        for source in filter(_is_source, subfolders(folder)) if part != "test" else ():
            for name in pictures_under(source):
                path = source / name
                pose = pose_of_mat(path.with_suffix(".mat"))
                key = f"{source.name}/{name}"
                if isinstance(pose, str):
                    skipped.append(Skipped(key, pose))
                    continue
                person = f"300w_lp_{_TURN.sub('', path.stem)}"
                records.append(FaceRecord(key, path, person, {"pose": pose}))
        if not records and part != "test":
            why = f" ({skipped[0].key}: {skipped[0].reason})" if skipped else ""
            raise InputError(
                f"300w_lp: {folder} holds no picture in {', '.join(SOURCES)} with its .mat{why}; "
                "give the folder that holds them"
            )
        super().__init__("300w_lp", part, records, skipped=skipped, empty=part == "test")


def is_layout(folder: Path) -> bool:
    for source in filter(_is_source, subfolders(folder)):
        names = sorted(path.name for path in source.iterdir())
        first = next(filter(is_picture_name, names), None)
        if first is not None and f"{first.rpartition('.')[0]}.mat" in names:
            return True
    return False


def _is_source(folder: Path) -> bool:
    return folder.name.upper().removesuffix("_FLIP") in SOURCES
