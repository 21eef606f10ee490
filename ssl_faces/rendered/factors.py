"""The named factors of a rendered face: person, expression, pose, light, camera, background.

Expressions are sets of FACS action units, close to the prototypes of Friesen & Ekman ("EMFACS-7",
1983) and Du et al. ("Compound facial expressions of emotion", PNAS 111(15), 2014, table 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import ImageSide, check_value


class Factor(NamedTuple):
    """A factor's range, its default, and whether it belongs to the person or the picture."""

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
    "angry": {"brow_lower": 1.0, "lid_raise": 0.7, "lid_tighten": 0.4, "lip_tighten": 1.0},
    "disgust": {
        "brow_lower": 0.45,
        "cheek_raise": 0.15,
        "lid_tighten": 0.9,
        "nose_wrinkle": 1.0,
        "upper_lip_raise": 1.0,
        "lip_corner_depress": 0.6,
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
        "brow_lower": 0.2,
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
    # The person. Defaults are the population's mean, or the more frequent of having and lacking.
    "age": _person(18.0, 80.0, 42.8),
    "masculinity": _person(0.0, 1.0),  # of the face's shape
    "head_width": _person(0.68, 0.82),
    "head_depth": _person(0.84, 0.96),
    "chin_taper": _person(0.10, 0.42),
    "chin_depth": _person(0.0, 1.0),
    "melanin": _person(0.0, 1.0),
    "redness": _person(0.0, 1.0),
    "hair_tone": _person(0.0, 1.0, 0.41),
    "hair_cover": _person(0.0, 1.0, 1.0),  # 0 is bald, 1 is not; never between
    "hair_volume": _person(0.0, 1.0),
    "hair_length": _person(0.0, 1.0, 0.42),
    "hairline": _person(0.42, 0.74, 0.5875),
    "fringe": _person(0.0, 1.0, 0.0),
    "parting": _person(-0.35, 0.35),
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
    "glasses": _person(0.0, 1.0, 0.0),  # 0 or 1
    # What the face does.
    **{unit: _picture(0.0, 1.0, 0.0) for unit in ACTION_UNITS},
    "gaze": _picture(-0.3, 0.3),
    "yaw": _picture(-90.0, 90.0),
    "pitch": _picture(-60.0, 60.0),
    "roll": _picture(-180.0, 180.0),
    # Light, camera, background.
    "light_azimuth": _picture(-180.0, 180.0),  # positive from the picture's right
    "light_elevation": _picture(-90.0, 90.0, 25.0),
    "ambient": _picture(0.2, 1.0, 0.65),
    "warmth": _picture(-1.0, 1.0),
    "exposure": _picture(0.3, 1.5, 1.0),
    "camera_distance": _picture(3.0, 20.0, 6.0),
    "zoom": _picture(0.3, 1.2, 0.82),
    "shift_x": _picture(-0.5, 0.5),
    "shift_y": _picture(-0.5, 0.5),
    "background_hue": _picture(0.0, 1.0),
    "background_value": _picture(0.0, 1.0),
    "gradient_x": _picture(-0.5, 0.5),
    "gradient_y": _picture(-0.5, 0.5),
    "clutter": _picture(0.0, 1.0, 0.0),
    "clutter_hue": _picture(0.0, 1.0),
    "clutter_x": _picture(-1.0, 1.0),
    "clutter_y": _picture(-1.0, 1.0),
    "clothes_hue": _picture(0.0, 1.0),
    # What is before the face: one of OCCLUDERS by its number.
    "occluder": _picture(0.0, 4.0, 0.0),
    "occluder_x": _picture(-1.0, 1.0),
    "occluder_y": _picture(-1.0, 1.0),
    "occluder_angle": _picture(-180.0, 180.0),
    "occluder_size": _picture(0.5, 1.5),
    "occluder_hue": _picture(0.0, 1.0),
    # What the camera makes of it.
    "resolution": _picture(0.05, 1.0, 1.0),
    "blur": _picture(0.0, 0.05, 0.0),
    "noise": _picture(0.0, 0.2, 0.0),
    "noise_offset": _picture(0.0, 1.0, 0.0),
    "jpeg_quality": _picture(0.0, 100.0, 0.0),
}
"""Every factor of a rendered face. `age` is in years, angles in degrees, lengths in half head
heights; `zoom`, shifts and the occluder's place in half image sides; `resolution` (before
enlarging) and `blur` (standard deviation) in image sides; `noise` in the pixels' range;
`jpeg_quality` as in JPEG, 0 for none; the rest has no unit."""

OCCLUDERS = ("none", "hand", "mask", "strands", "bar")
"""Names of the values of the factor `occluder`."""

COUNTERPARTS = ("neutral", "frontal", "neutral_frontal", "mean_face", "low_resolution")

LOW_RESOLUTION = 0.25
"""`resolution` of the counterpart `low_resolution`."""

_POSE = ("yaw", "pitch", "roll")
_MIRRORED = (
    "yaw",
    "roll",
    "parting",
    "gaze",
    "light_azimuth",
    "shift_x",
    "gradient_x",
    "clutter_x",
    "occluder_x",
    "occluder_angle",
)


def mirrored(factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Factors of the mirrored image, which is flipped left to right except for noise and JPEG."""
    return {name: -value if name in _MIRRORED else value for name, value in factors.items()}


def counterpart(factors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The same faces, changed in one respect.

    Args:
        factors: any of `FACTORS`, float [N] each.
        kind: one of `COUNTERPARTS`: `neutral` (all action units 0), `frontal` (yaw, pitch and roll
            0), `neutral_frontal` (both), `mean_face` (the population's mean person) or
            `low_resolution` (a quarter of the pixels per side, enlarged).

    Raises:
        InputError: another kind, or bad factors as in `complete_factors`.
    """
    if kind not in COUNTERPARTS:
        raise InputError(f"counterpart: no kind {kind!r}; choose one of {', '.join(COUNTERPARTS)}")
    complete = complete_factors(factors)
    changed: dict[str, float] = {}
    if kind in ("neutral", "neutral_frontal"):
        changed |= dict.fromkeys(ACTION_UNITS, 0.0)
    if kind in ("frontal", "neutral_frontal"):
        changed |= dict.fromkeys(_POSE, 0.0)
    if kind == "mean_face":
        changed = {
            name: factor.default for name, factor in FACTORS.items() if factor.of == "person"
        }
    if kind == "low_resolution":
        changed["resolution"] = LOW_RESOLUTION
    return complete | {
        name: torch.full_like(complete[name], value) for name, value in changed.items()
    }


def complete_factors(factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All factors as float32 [N], checked, with defaults for missing ones. Raises InputError:
    unknown factor, unequal lengths, a value not finite or out of range."""
    unknown = sorted(set(factors) - set(FACTORS))
    if unknown:
        near = get_close_matches(unknown[0], FACTORS, 1)
        hint = f"did you mean {near[0]!r}" if near else "see FACTORS for the names"
        raise InputError(f"rendered: unknown factor {unknown[0]!r}; {hint}")
    values = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in factors.items()}
    shapes = {tuple(value.shape) for value in values.values()} or {(1,)}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise InputError("rendered: every factor must have one value a face, shape [N]")
    if values:
        _check_ranges(values)
    like = next(iter(values.values()), torch.zeros(1))
    return {
        name: values[name] if name in values else torch.full_like(like, factor.default)
        for name, factor in FACTORS.items()
    }


def _check_ranges(values: Mapping[str, Tensor]) -> None:
    table = torch.stack(list(values.values()))
    low, high = (
        torch.tensor([FACTORS[name][end] for name in values], device=table.device)[:, None]
        for end in (0, 1)
    )
    slack = 1e-5 * (high - low)  # ends computed in float32
    wrong = ~((table >= low - slack) & (table <= high + slack))  # and NaN
    if bool(wrong.any()):
        place, face = (int(i) for i in wrong.nonzero()[0])
        name = list(values)[place]
        raise InputError(
            f"rendered: factor {name!r} is {float(table[place, face]):g} for face {face}; give a "
            f"number from {FACTORS[name].low:g} to {FACTORS[name].high:g}"
        )


def check_size(size: int) -> None:
    """Raises InputError unless an image can have this side."""
    check_value(ImageSide, size, "rendered.size")
