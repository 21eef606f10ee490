"""300W-LP: faces of 300W, each turned to larger and larger yaw by a 3D model.

Source: Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ssl_faces.data.sets.folder import images_under, is_image_name, subfolders
from ssl_faces.data.sets.pose_para import PoseParaSet

SOURCES = ("AFW", "HELEN", "IBUG", "LFPW")
_TURN = re.compile(r"_\d+$")


class W300LP(PoseParaSet):
    """300W-LP with `person` and `pose`, for training alone.

    `root` holds `AFW/`, `HELEN/`, `IBUG/`, `LFPW/` and their mirror images `AFW_Flip/` and so on,
    each with `NAME_N.jpg` and `NAME_N.mat`. All turns of one photograph, and their mirror images,
    show one `person`. Images whose `.mat` can't be used are in `skipped`. Listing reads every
    `.mat`: some minutes for the whole set.

    No probe scores on it; its part `test` is empty.
    """

    name = "300w_lp"
    title = "300W-LP"
    labels = ("person", "pose")
    only = "train"
    may_be_empty = ("test",)
    tested = False
    holds = f"in {', '.join(SOURCES)} with its .mat"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        for source in filter(_is_source, subfolders(folder)):
            names = sorted(path.name for path in source.iterdir())
            first = next(filter(is_image_name, names), None)
            if first is not None and f"{first.rpartition('.')[0]}.mat" in names:
                return True
        return False

    def images(self, folder: Path) -> Iterator[tuple[str, Path, str | None]]:
        for source in filter(_is_source, subfolders(folder)):
            for name in images_under(source):
                path = source / name
                yield f"{source.name}/{name}", path, f"{self.name}_{_TURN.sub('', path.stem)}"


def _is_source(folder: Path) -> bool:
    return folder.name.upper().removesuffix("_FLIP") in SOURCES
