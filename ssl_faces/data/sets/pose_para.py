"""Data sets with a `.mat` file beside each image: head pose of a 3D face model fitted to it.

`Pose_Para` in the file is pitch, yaw and roll in radians, then translation and scale. Source: Zhu
et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.data.faces import FaceRecord, Part, Skipped
from ssl_faces.data.sets.recognised import Entry, RecognisedSet


class PoseParaSet(RecognisedSet):
    """A data set with `pose` (see `pose_of_mat` for its angles) that is one part alone.

    Images whose `.mat` can't be used are in `skipped`.

    Attributes:
        only: the part that has images; the other one is empty.
        holds: what images it must hold, for the message.
        largest_angle: degrees; images with a larger one are left out.
    """

    labels: ClassVar[tuple[str, ...]] = ("pose",)
    pose_truth = "pose of a 3D face model fitted to the picture, pitch above 0 looks down"
    only: ClassVar[Part]
    holds: ClassVar[str]
    largest_angle: ClassVar[float] = math.inf

    @abstractmethod
    def images(self, folder: Path) -> Iterator[tuple[str, Path, str | None]]:
        """Key, file and person of each image."""

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        if part not in ("all", self.only):
            return
        skipped: list[Skipped] = []
        count = 0
        for key, path, person in self.images(folder):
            pose = pose_of_mat(path.with_suffix(".mat"))
            if isinstance(pose, str):
                skipped.append(Skipped(key, pose))
            elif pose.abs().max() > self.largest_angle:
                skipped.append(Skipped(key, f"an angle above {self.largest_angle:g} degrees"))
            else:
                count += 1
                yield FaceRecord(key, path, person, {"pose": pose})
        if not count:
            why = f" ({skipped[0].key}: {skipped[0].reason})" if skipped else ""
            raise InputError(
                f"{self.name}: {folder} holds no picture {self.holds}{why}; "
                "give the folder that holds them"
            )
        yield from skipped


def pose_of_mat(path: Path) -> Tensor | str:
    """Yaw, pitch and roll in degrees, float32 [3], or the reason why they can't be had.

    The owners' angles turn the head in the order roll, yaw, pitch (R = Rx Ry Rz, x to the image's
    right, y up, z towards the camera). Their yaw above 0 looks to the image's left and their roll
    above 0 is clockwise, as everywhere in this project; their pitch above 0 looks up, and is
    negated here. The order is kept as it is, since published errors are of these angles; the
    rendered faces' turns the other way round (pitch, yaw, roll), which is the same for a head
    turned about one axis only.
    """
    from scipy.io import loadmat  # late: scipy.io takes a while

    if not path.is_file():
        return f"{path.name} with its pose is missing"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of variables that are not asked for
            variables = loadmat(path, variable_names=["Pose_Para"])
        angles = np.asarray(variables["Pose_Para"], dtype=np.float64).reshape(-1)[:3]
    except KeyError:
        return f"{path.name} holds no Pose_Para"
    # scipy's reader lets out whatever a broken file trips over.
    except Exception as error:
        return f"{path.name} is not a MATLAB file ({reason_of(error, 80)})"
    if len(angles) != 3 or not np.isfinite(angles).all():
        return f"Pose_Para in {path.name} is not three angles"
    pitch, yaw, roll = np.degrees(angles)
    return torch.tensor([yaw, -pitch, roll], dtype=torch.float32)
