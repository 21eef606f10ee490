"""The 68 landmarks of rendered faces, through the camera that renders them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ssl_faces.data.rendered.camera import CAMERA_DISTANCE
from ssl_faces.data.rendered.factors import check_size, complete_factors
from ssl_faces.data.rendered.head import Head


def landmarks_3d(factors: Mapping[str, Tensor]) -> Tensor:
    """The 68 landmarks in iBUG order, in the head's frame (not posed): float32 [N, 68, 3].

    Jaw points lie on the head's outline seen from the front, moved forward from the ears to the
    chin; they stay on the same skin whatever the pose. Raises InputError as `render_faces` does.
    """
    with torch.no_grad():
        return Head(complete_factors(factors)).landmarks()


def project_landmarks(factors: Mapping[str, Tensor], size: int = 64) -> Tensor:
    """The 68 landmarks in pixels of the picture: float32 [N, 68, 2], x then y.

    The centre of the top left pixel is (0, 0). Points on the far side of the head are included.
    Raises InputError as `render_faces` does.
    """
    check_size(size)
    complete = complete_factors(factors)
    with torch.no_grad():
        head = Head(complete)
        posed = head.landmarks() @ head.rotation.transpose(1, 2)
        scale = head.zoom[:, 0] * CAMERA_DISTANCE / (CAMERA_DISTANCE - posed[..., 2])
        x = posed[..., 0] * scale + complete["shift_x"][:, None]
        y = posed[..., 1] * scale + complete["shift_y"][:, None]
        return torch.stack([(x + 1) * size / 2 - 0.5, (1 - y) * size / 2 - 0.5], dim=-1)
