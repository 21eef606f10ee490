"""YouTube keypoints: frames of talking people with 68 landmarks and landmark-derived pose.

Source: Udacity's facial-keypoints set over YouTube Faces (Wolf, Hassner and Maoz, CVPR 2011).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, Part, Skipped
from ssl_faces.data.sets.folder import entry_of, images_under
from ssl_faces.data.sets.recognised import Entry, RecognisedSet
from ssl_faces.data.tables import MEND, has_columns, number_in, read_table

POSE_COLUMNS = ("yaw", "pitch", "roll")
LANDMARK_COLUMNS = tuple(f"{axis}{i}" for i in range(68) for axis in "xy")
COLUMNS = ("image", "person", *POSE_COLUMNS, "reprojection_px", *LANDMARK_COLUMNS)


class YouTubeKeypoints(RecognisedSet):
    """Video frames with `person`, `pose` (float32 [3]) and `landmarks` (float32 [68, 2]).

    `root` holds `images/` and `labels.csv` with the columns `COLUMNS`.

    The pose is **landmark-derived**, not measured: a generic head fitted to six landmarks; state it
    beside every figure that rests on it. Degrees, seen in the image: yaw above 0 looks to the
    image's left, pitch above 0 looks down, roll above 0 is turned clockwise (the eye on the
    image's right is the lower one). A mirrored image has yaw and roll negated. The column
    `reprojection_px` (the fit's error) is checked to be a number and not kept.

    `test` is the people of `in_test_share`, never split between parts, and they are the
    `held_out_people`. Their names are spelled as in LFW, with which the set shares people.
    """

    name = "youtube_keypoints"
    title = "YouTube keypoints"
    split = "by person"
    labels = ("person", "pose", "landmarks")
    pose_truth = "landmark-derived pose"
    rank = 3

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        labels, images = entry_of(folder, "labels.csv"), entry_of(folder, "images")
        if labels is None or not labels.is_file() or images is None:
            return False
        return has_columns(labels, "yaw", "x0")

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        table = self.need(folder, "labels.csv", beside="images/")
        images = self.need(folder, "images", beside="labels.csv")
        present = set(images_under(images))
        records: list[FaceRecord] = []
        for image, person, numbers in _rows(table):
            if not self.in_part(person, part):
                continue
            if image not in present:
                yield Skipped(image, f"listed in {table.name}, missing on disk")
                continue
            labels = {
                "pose": torch.from_numpy(numbers[:3].copy()),
                "landmarks": torch.from_numpy(numbers[4:].reshape(68, 2).copy()),
            }
            records.append(FaceRecord(image, images / image, person, labels))
        yield from sorted(records, key=lambda record: record.key)


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
        # One by one: with decimal commas, or to name the value that is not a number.
        named = zip(COLUMNS[2:], texts, strict=True)
        values = np.array([number_in(text, name, where) for name, text in named], np.float32)
    return values
