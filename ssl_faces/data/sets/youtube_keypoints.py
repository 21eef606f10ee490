"""YouTube keypoints: frames of talking people with 68 landmarks and landmark-derived pose.

Source: Udacity's facial-keypoints set over YouTube Faces (Wolf, Hassner and Maoz, CVPR 2011).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, FaceSet, Part, Skipped, in_test_share
from ssl_faces.data.sets.folder import entry_of, existing_folder, pictures_under
from ssl_faces.data.tables import MEND, number_in, read_table

POSE_COLUMNS = ("yaw", "pitch", "roll")
LANDMARK_COLUMNS = tuple(f"{axis}{i}" for i in range(68) for axis in "xy")
COLUMNS = ("image", "person", *POSE_COLUMNS, "reprojection_px", *LANDMARK_COLUMNS)


class YouTubeKeypoints(FaceSet):
    """Video frames with `person`, `pose` (float32 [3]) and `landmarks` (float32 [68, 2]).

    `root` holds `images/` and `labels.csv` with the columns `COLUMNS`.

    The pose is **landmark-derived**, not measured: a generic head fitted to six landmarks; say so
    beside every figure that rests on it. Degrees, seen in the picture: yaw above 0 looks to the
    picture's left, pitch above 0 looks down, roll above 0 is turned clockwise (the eye on the
    picture's right is the lower one). A mirrored picture has yaw and roll negated. The column
    `reprojection_px` (the fit's error) is checked to be a number and not kept.

    `test` is the people of `in_test_share`, never split between parts, and they are the
    `held_out_people`. Their names are spelled as in LFW, with which the set shares people.

    Raises:
        InputError: folder or `labels.csv` missing, or a row that can't be read.
    """

    title = "YouTube keypoints"
    split = "by person"

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "youtube_keypoints")
        labels_file = entry_of(folder, "labels.csv")
        images = entry_of(folder, "images")
        if labels_file is None or images is None or not images.is_dir():
            missing = "labels.csv" if labels_file is None else "images/"
            raise InputError(
                f"youtube_keypoints: {folder} has no {missing}; "
                "give the folder that holds images/ and labels.csv"
            )
        present = set(pictures_under(images))
        records: list[FaceRecord] = []
        skipped: list[Skipped] = []
        people: set[str] = set()
        for image, person, numbers in _rows(labels_file):
            people.add(person)
            if part != "all" and in_test_share(person) != (part == "test"):
                continue
            if image not in present:
                skipped.append(Skipped(image, f"listed in {labels_file.name}, missing on disk"))
                continue
            labels = {
                "pose": torch.from_numpy(numbers[:3].copy()),
                "landmarks": torch.from_numpy(numbers[4:].reshape(68, 2).copy()),
            }
            records.append(FaceRecord(image, images / image, person, labels))
        records.sort(key=lambda record: record.key)
        super().__init__(
            "youtube_keypoints",
            part,
            records,
            held_out_people=frozenset(filter(in_test_share, people)),
            skipped=skipped,
            test=partial(YouTubeKeypoints, root, "test"),
        )


def _rows(path: Path) -> list[tuple[str, str, np.ndarray]]:
    """Image, person and the float32 [140] numbers of each row: pose, fit error, landmarks."""
    rows = []
    line_of: dict[str, str] = {}
    for where, row in read_table(path, COLUMNS):
        image, person, *texts = row.values()
        if not image or not person:
            raise InputError(f"{where}: image or person is empty; {MEND}")
        if image in line_of:
            raise InputError(
                f"{where}: {image} was already given in {line_of[image]}; delete one of the two"
            )
        line_of[image] = where.rpartition(", ")[2]
        rows.append((image, person, _numbers(texts, where)))
    return rows


def _numbers(texts: list[str], where: str) -> np.ndarray:
    try:
        values = np.array(texts, dtype=np.float32)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        # One by one: with decimal commas, or to name the one that is none.
        named = zip(COLUMNS[2:], texts, strict=True)
        values = np.array([number_in(text, name, where) for name, text in named], np.float32)
    return values
