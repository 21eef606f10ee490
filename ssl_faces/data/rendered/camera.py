"""The camera: where it stands, and how a head is turned before it.

Frames: head and camera frames have x to the picture's right, y up, z towards the camera; the unit
is half a head's height.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CAMERA_DISTANCE = 6.0
"""From the camera to the head's centre, in half head heights."""


def pose_rotation(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Rotation from the head's frame to the camera's, float32 [N, 3, 3], from degrees [N].

    Nod (pitch, positive looks down), then turn (yaw, positive looks to the picture's left), then
    lean in the picture plane (roll, positive is clockwise): R = Rz(-roll) Ry(-yaw) Rx(pitch).
    """
    radians = torch.stack([yaw, pitch, roll]).double() * (math.pi / 180)
    (sy, sp, sr), (cy, cp, cr) = radians.sin(), radians.cos()
    zero, one = torch.zeros_like(sy), torch.ones_like(sy)

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))

    turn = matrix(cy, zero, -sy, zero, one, zero, sy, zero, cy)
    nod = matrix(one, zero, zero, zero, cp, -sp, zero, sp, cp)
    lean = matrix(cr, sr, zero, -sr, cr, zero, zero, zero, one)
    return (lean @ turn @ nod).float()
