"""Head pose out of the `.mat` files beside the pictures of 300W-LP and AFLW2000-3D.

The files hold a 3D face model fitted to the picture; `Pose_Para` is pitch, yaw and roll in radians,
then translation and scale. Source: Zhu et al., "Face Alignment Across Large Poses: A 3D Solution",
CVPR 2016.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssl_faces.common.errors import reason_of


def pose_of_mat(path: Path) -> Tensor | str:
    """Yaw, pitch and roll in degrees, float32 [3], or the reason why they can't be had.

    The owners' angles turn the head in the order roll, yaw, pitch (R = Rx Ry Rz, x to the picture's
    right, y up, z towards the camera). Their yaw above 0 looks to the picture's left and their roll
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
            found = loadmat(path, variable_names=["Pose_Para"])
        angles = np.asarray(found["Pose_Para"], dtype=np.float64).reshape(-1)[:3]
    except KeyError:
        return f"{path.name} holds no Pose_Para"
    # scipy's reader lets out whatever a broken file trips over.
    except Exception as error:
        return f"{path.name} is not a MATLAB file ({reason_of(error, 80)})"
    if len(angles) != 3 or not np.isfinite(angles).all():
        return f"Pose_Para in {path.name} is not three angles"
    pitch, yaw, roll = np.degrees(angles)
    return torch.tensor([yaw, -pitch, roll], dtype=torch.float32)
