"""The named factors of a rendered face: who it is, what it does, light, camera, background.

Expressions are sets of FACS action units, close to the prototypes of Friesen & Ekman ("EMFACS-7",
1983) and Du et al. ("Compound facial expressions of emotion", PNAS 111(15), 2014, table 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_faces.errors import InputError

MAX_SIZE = 1024


class Factor(NamedTuple):
    """Range from which a factor is drawn, its value when not given, and whose it is."""

    low: float
    high: float
    default: float
    of: Literal["person", "picture"]


def _person(low: float, high: float, default: float | None = None) -> Factor:
    return Factor(low, high, (low + high) / 2 if default is None else default, "person")


def _picture(low: float, high: float, default: float | None = None) -> Factor:
    return Factor(low, high, (low + high) / 2 if default is None else default, "picture")


ACTION_UNITS: dict[str, int] = {
    "inner_brow_raise": 1,
    "outer_brow_raise": 2,
    "brow_lower": 4,
    "lid_raise": 5,
    "cheek_raise": 6,
    "lid_tighten": 7,
    "nose_wrinkle": 9,
    "upper_lip_raise": 10,
    "lip_corner_pull": 12,
    "lip_corner_depress": 15,
    "lip_stretch": 20,
    "lip_tighten": 23,
    "lips_part": 25,
    "jaw_drop": 26,
    "lid_droop": 43,
}
"""The action units that are factors, each 0 (off) to 1 (full), and their FACS numbers."""

EXPRESSION_UNITS: dict[str, dict[str, float]] = {
    "angry": {"brow_lower": 1.0, "lid_raise": 0.25, "lid_tighten": 0.6, "lip_tighten": 1.0},
    "disgust": {
        "brow_lower": 0.45,
        "cheek_raise": 0.3,
        "lid_tighten": 0.9,
        "nose_wrinkle": 1.0,
        "upper_lip_raise": 1.0,
        "lip_corner_depress": 0.25,
        "lips_part": 0.4,
    },
    "fear": {
        "inner_brow_raise": 1.0,
        "outer_brow_raise": 0.35,
        "brow_lower": 0.35,
        "lid_raise": 1.0,
        "lip_stretch": 1.0,
        "lips_part": 1.0,
        "jaw_drop": 0.2,
    },
    "happy": {"cheek_raise": 0.9, "lip_corner_pull": 1.0, "lips_part": 0.8},
    "neutral": {},
    "sad": {
        "inner_brow_raise": 1.0,
        "brow_lower": 0.35,
        "lip_corner_depress": 1.0,
        "lid_droop": 0.7,
    },
    "surprise": {
        "inner_brow_raise": 1.0,
        "outer_brow_raise": 1.0,
        "lid_raise": 1.0,
        "lips_part": 0.6,
        "jaw_drop": 1.0,
    },
}
"""Action units of each class at full intensity."""

FACTORS: dict[str, Factor] = {
    # the person
    "head_width": _person(0.68, 0.82),
    "head_depth": _person(0.84, 0.96),
    "chin_taper": _person(0.10, 0.42),
    "melanin": _person(0.0, 1.0, 0.25),
    "redness": _person(0.0, 1.0),
    "hair_tone": _person(0.0, 1.0, 0.3),
    "hair_cover": _person(0.0, 1.0, 1.0),  # 0 is bald, 1 is not; never between
    "hair_volume": _person(0.0, 1.0),
    "hair_length": _person(0.0, 1.0, 0.2),
    "hairline": _person(0.42, 0.74),
    "parting": _person(-0.35, 0.35, 0.0),
    "eye_spacing": _person(0.27, 0.36),
    "eye_width": _person(0.135, 0.185),
    "eye_height": _person(0.062, 0.100),
    "eye_tilt": _person(-0.03, 0.05),
    "iris_tone": _person(0.0, 1.0),
    "brow_height": _person(0.21, 0.28),
    "brow_thickness": _person(0.020, 0.046),
    "brow_arch": _person(0.0, 0.05),
    "nose_length": _person(0.27, 0.40),
    "nose_width": _person(0.085, 0.15),
    "nose_depth": _person(0.11, 0.22),
    "mouth_width": _person(0.20, 0.28),
    "mouth_height": _person(-0.60, -0.53),
    "lip_fullness": _person(0.035, 0.085),
    "lip_tone": _person(0.0, 1.0),
    "ear_size": _person(0.14, 0.21),
    "beard": _person(0.0, 1.0, 0.0),
    "moustache": _person(0.0, 1.0, 0.0),
    "glasses": _person(0.0, 1.0, 0.0),
    # what the face does
    **{unit: _picture(0.0, 1.0, 0.0) for unit in ACTION_UNITS},
    "gaze": _picture(-0.3, 0.3, 0.0),
    "yaw": _picture(-60.0, 60.0),
    "pitch": _picture(-25.0, 25.0),
    "roll": _picture(-25.0, 25.0),
    # light, camera, background
    "light_azimuth": _picture(-65.0, 65.0),  # degrees, positive from the picture's right
    "light_elevation": _picture(-5.0, 60.0),
    "ambient": _picture(0.50, 0.80),
    "warmth": _picture(-1.0, 1.0),
    "exposure": _picture(0.80, 1.12, 1.0),
    "zoom": _picture(0.74, 0.90),
    "shift_x": _picture(-0.07, 0.07),
    "shift_y": _picture(-0.07, 0.07),
    "background_hue": _picture(0.0, 1.0),
    "background_value": _picture(0.15, 0.9),
    "gradient_x": _picture(-0.5, 0.5, 0.0),
    "gradient_y": _picture(-0.5, 0.5, 0.0),
    "clothes_hue": _picture(0.0, 1.0),
    "noise": _picture(0.0, 0.022, 0.0),
    "noise_offset": _picture(0.0, 1.0, 0.0),
}
"""Every factor of a rendered face. Pose and light angles are in degrees, lengths in half head
heights, `zoom` and shifts in half picture sides, the rest has no unit."""

_MIRRORED = ("yaw", "roll", "parting", "gaze", "light_azimuth", "shift_x", "gradient_x")


def mirrored(factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Factors of the mirrored picture: rendering them without noise flips it left to right."""
    return {name: -value if name in _MIRRORED else value for name, value in factors.items()}


def complete_factors(factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`factors` checked, as float32, with the defaults of those not given."""
    unknown = sorted(set(factors) - set(FACTORS))
    if unknown:
        raise InputError(f"render_faces: unknown factor {unknown[0]!r}; see FACTORS for the names")
    given = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in factors.items()}
    shapes = {tuple(value.shape) for value in given.values()} or {(1,)}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise InputError("render_faces: every factor must have one value a face, shape [N]")
    for name, value in given.items():
        if not bool(value.isfinite().all()):
            raise InputError(f"render_faces: factor {name!r} has a value that is not finite")
    like = next(iter(given.values()), torch.zeros(1))
    return {
        name: given.get(name, torch.full_like(like, factor.default))
        for name, factor in FACTORS.items()
    }


def is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_size(size: int) -> None:
    if not is_whole(size) or not 8 <= size <= MAX_SIZE:
        raise InputError(
            f"rendered: size must be a whole number of pixels from 8 to {MAX_SIZE}, not {size!r}"
        )
