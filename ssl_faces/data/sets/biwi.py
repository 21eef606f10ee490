"""BIWI Kinect head pose: people turning their heads before a depth camera.

Source: Fanelli et al., "Random Forests for Real Time 3D Face Analysis", IJCV 2013.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular
from ssl_faces.data.faces import FaceRecord, Part, Skipped
from ssl_faces.data.sets.folder import subfolders
from ssl_faces.data.sets.recognised import Entry, RecognisedSet

HEAD = 260.0
"""Side in millimetres of the square, at the head's distance, that is cut out around its centre."""

_PICTURE, _POSE, _CALIBRATION = "_rgb.png", "_pose.txt", "rgb.cal"


class Biwi(RecognisedSet):
    """BIWI with `person` and `pose`, measured by fitting the person's own 3D head to the depth.

    `root` holds a folder for each recording (`01` to `24`) with `frame_00003_rgb.png`,
    `frame_00003_pose.txt` (a rotation matrix, then the head's centre in millimetres, in the depth
    camera's frame) and `rgb.cal`. Where `rgb.cal` is there, faces are cut out around the projected
    centre; else images are taken whole. Frames whose pose can't be read are in `skipped`.

    The matrix is the head's rotation with x to the image's right, y down and z away from the
    camera; the colour camera's small turn against the depth camera is not heeded. It is read in
    300W-LP's order (roll, yaw, pitch), as published errors are; yaw above 0 looks to the image's
    left, pitch above 0 looks down (the usual scripts have it look up), roll above 0 is clockwise.

    A recording counts as a person; `test` is those of `in_test_share`, who are the
    `held_out_people`. Four of the twenty people were recorded twice, and the layout does not say
    who: the same face may be on both sides.
    """

    name = "biwi"
    title = "BIWI"
    split = "by recording"
    labels = ("person", "pose")
    pose_truth = "pose measured by depth, pitch above 0 looks down"
    may_be_empty = ("train", "test")

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return any(
            next(child.glob(f"frame_*{_PICTURE}"), None) is not None
            for child in subfolders(folder)[:30]
            if child.name.isdigit()
        )

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        recordings = {
            place: sorted(place.glob(f"frame_*{_PICTURE}")) for place in subfolders(folder)
        }
        if not any(recordings.values()):
            raise InputError(
                f"biwi: {folder} holds no folder with frame_NNNNN{_PICTURE}; "
                "give the folder that holds the recordings 01, 02, …"
            )
        for recording, images in recordings.items():
            person = f"{self.name}_{recording.name}"
            if not images or not self.in_part(person, part):
                continue
            camera = _camera_of(recording / _CALIBRATION)
            for path in images:
                key = f"{recording.name}/{path.name}"
                pose = _read_pose(path.with_name(path.name.removesuffix(_PICTURE) + _POSE))
                if isinstance(pose, str):
                    yield Skipped(key, pose)
                    continue
                rotation, centre = pose
                labels = {"pose": torch.from_numpy(pose_of(rotation).astype(np.float32))}
                box = None if camera is None else _box(centre, *camera)
                yield FaceRecord(key, path, person, labels, box)


def pose_of(rotation: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll in degrees, float64 [3], of a rotation [3, 3] as the files have it."""
    yaw = np.arctan2(rotation[0, 2], np.hypot(rotation[1, 2], rotation[2, 2]))
    pitch = -np.arctan2(rotation[1, 2], rotation[2, 2])
    roll = -np.arctan2(rotation[0, 1], rotation[0, 0])
    return np.degrees([yaw, pitch, roll])


def _read_pose(path: Path) -> tuple[np.ndarray, np.ndarray] | str:
    """Rotation [3, 3] and centre [3], or the reason why they can't be had."""
    try:
        numbers = np.array(regular(path).read_text().split(), dtype=np.float64)
    except OSError:
        return f"{path.name} with its pose is missing"
    except ValueError:
        return f"{path.name} holds something else than numbers"
    if len(numbers) != 12 or not np.isfinite(numbers).all():
        return f"{path.name} is not a rotation of 9 numbers and a centre of 3"
    rotation = numbers[:9].reshape(3, 3)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 0.01 or np.linalg.det(rotation) < 0:
        return f"the matrix in {path.name} is no rotation"
    return rotation, numbers[9:]


_Camera = tuple[np.ndarray, np.ndarray, np.ndarray]


def _camera_of(path: Path) -> _Camera | None:
    """Intrinsic matrix [3, 3], rotation [3, 3] and translation [3] from the depth camera's frame.

    The file has the intrinsic matrix, four numbers of distortion, rotation, translation, size.
    """
    if not path.exists():
        return None
    try:
        numbers = np.array(regular(path).read_text().split(), dtype=np.float64)
    except (OSError, ValueError):
        numbers = np.empty(0)
    if len(numbers) < 25 or not np.isfinite(numbers).all():
        raise InputError(
            f"biwi: {path} is not a camera calibration (intrinsic matrix, distortion, rotation, "
            "translation); get it anew, or delete it to take the frames whole"
        )
    return numbers[:9].reshape(3, 3), numbers[13:22].reshape(3, 3), numbers[22:25]


def _box(
    centre: np.ndarray, intrinsic: np.ndarray, rotation: np.ndarray, translation: np.ndarray
) -> tuple[int, int, int, int] | None:
    """The square of side `HEAD` around the projected centre; None behind the camera."""
    x, y, z = rotation @ centre + translation
    if z <= 0:
        return None
    across = intrinsic[0, 0] * x / z + intrinsic[0, 2]
    down = intrinsic[1, 1] * y / z + intrinsic[1, 2]
    half = intrinsic[0, 0] * HEAD / z / 2
    left, top, right, bottom = across - half, down - half, across + half, down + half
    return round(left), round(top), round(right), round(bottom)
