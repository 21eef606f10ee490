"""The camera, and the rotation of the head in front of it.

Head and camera frames have x to the image's right, y up, z towards the camera; the unit is half a
head's height. `Camera` uses OpenCV's frame, with y down and z away from the camera.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_faces.rendered.factors import check_size, complete_factors


class Camera(NamedTuple):
    """A pinhole camera in OpenCV's convention; exact, float64.

    A point `p` of the head's frame is at the pixel (x / z, y / z) of
    `(x, y, z) = intrinsics @ (rotation @ p + translation)`; the top left pixel's centre is (0, 0).
    """

    intrinsics: Tensor  # [N, 3, 3]
    rotation: Tensor  # [N, 3, 3]
    translation: Tensor  # [N, 3]

    def project(self, points: Tensor) -> Tensor:
        """Pixels [N, P, 2] of points [N, P, 3] of the head's frame."""
        seen = product(points.double(), self.rotation.transpose(1, 2)) + self.translation[:, None]
        homogeneous = product(seen, self.intrinsics.transpose(1, 2))
        return homogeneous[..., :2] / homogeneous[..., 2:]


def camera(factors: Mapping[str, Tensor], size: int = 64) -> Camera:
    """The camera of faces with these factors at an image side; errors as in `render_faces`."""
    check_size(size)
    f = {name: value.double() for name, value in complete_factors(factors).items()}
    distance = f["camera_distance"]
    zero, one = torch.zeros_like(distance), torch.ones_like(distance)
    focal = f["zoom"] * distance * (size / 2)
    centre_x, centre_y = (1 + f["shift_x"]) * size / 2 - 0.5, (1 - f["shift_y"]) * size / 2 - 0.5
    intrinsics = torch.stack(
        [focal, zero, centre_x, zero, focal, centre_y, zero, zero, one], dim=-1
    ).unflatten(-1, (3, 3))
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64, device=distance.device)
    rotation = flip[:, None] * pose_rotation(f["yaw"], f["pitch"], f["roll"])
    return Camera(intrinsics, rotation, torch.stack([zero, zero, distance], dim=-1))


def pose_rotation(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Rotation [N, 3, 3] from the head's frame to the camera's (y up), from degrees [N].

    Nod (pitch, positive looks down), then turn (yaw, positive looks to the picture's left), then
    lean in the picture plane (roll, positive is clockwise): R = Rz(-roll) Ry(-yaw) Rx(pitch).
    Computed in float64, returned in the angles' type.
    """
    radians = torch.stack([yaw, pitch, roll]).double() * (math.pi / 180)
    (sy, sp, sr), (cy, cp, cr) = radians.sin(), radians.cos()
    zero, one = torch.zeros_like(sy), torch.ones_like(sy)

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))

    turn = matrix(cy, zero, -sy, zero, one, zero, sy, zero, cy)
    nod = matrix(one, zero, zero, zero, cp, -sp, zero, sp, cp)
    lean = matrix(cr, sr, zero, -sr, cr, zero, zero, zero, one)
    # Written-out sums: a library's product may round differently by batch size.
    return product(product(lean, turn), nod).to(yaw.dtype)


def pose_angles(rotation: Tensor) -> Tensor:
    """Yaw, pitch and roll in degrees [N, 3] of rotations [N, 3, 3]: the inverse of
    `pose_rotation` for yaw between -90 and 90."""
    yaw = rotation[:, 2, 0].clamp(-1, 1).asin()
    pitch = torch.atan2(rotation[:, 2, 1], rotation[:, 2, 2])
    roll = torch.atan2(-rotation[:, 1, 0], rotation[:, 0, 0])
    return torch.stack([yaw, pitch, roll], dim=-1) * (180 / math.pi)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product of [N, I, 3] and [N, 3, J] as a written-out sum: equal in any batch."""
    return (
        a[..., 0, None] * b[..., None, 0, :]
        + a[..., 1, None] * b[..., None, 1, :]
        + a[..., 2, None] * b[..., None, 2, :]
    )
