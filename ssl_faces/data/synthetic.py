"""Rendered faces: a procedural 3D head with exact labels, the face set that needs no download.

A face is a row of named factors (`FACTORS`): who it is, which facial action units are on, the
pose, the light, the camera. `render_faces` casts one ray a pixel against a tapered ellipsoid (the
head), with ellipsoids for nose, ears and hair; eyes, brows and mouth are curves in the head's
frontal plane, laid on that surface. `project_landmarks` sends points of the same curves and
surfaces through the same camera. `RenderedFaces` lists such faces as a face set.

Frames: head and camera frames have x to the picture's right, y up, z towards the camera; the unit
is half a head's height. Expressions are sets of FACS action units, close to the prototypes of
Friesen & Ekman ("EMFACS-7", 1983) and Du et al. ("Compound facial expressions of emotion", PNAS
111(15), 2014, table 1).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from ssl_faces.data.faces import (
    EXPRESSIONS,
    FacePair,
    FaceRecord,
    FaceSet,
    Part,
    in_test_share,
)
from ssl_faces.data.pictures import BadPicture
from ssl_faces.errors import InputError

FOLDS = 5
"""Folds of `RenderedFaces.pairs`."""

CAMERA_DISTANCE = 6.0
"""From the camera to the head's centre, in half head heights."""

_RECIPE = "rendered-1"  # part of every content hash: raise it when the pixels of a face change
_CHUNK = 16  # faces rendered at once: their maps fit the processor's cache
_NOISE = 1 << 16
_MAX_SIZE = 1024
_MAX_COUNT = 10_000_000


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

_SKIN = ((1.0, 0.87, 0.78), (0.93, 0.73, 0.59), (0.72, 0.50, 0.37), (0.40, 0.26, 0.19))
_HAIR = (
    (0.07, 0.06, 0.06),
    (0.20, 0.13, 0.09),
    (0.40, 0.25, 0.14),
    (0.56, 0.25, 0.11),
    (0.86, 0.70, 0.42),
    (0.73, 0.72, 0.71),
)
_IRIS = ((0.20, 0.11, 0.06), (0.42, 0.26, 0.12), (0.28, 0.42, 0.24), (0.25, 0.44, 0.66))
_LIPS = ((0.66, 0.38, 0.36), (0.80, 0.30, 0.34))
_HUES = (
    (0.75, 0.30, 0.28),
    (0.72, 0.62, 0.30),
    (0.32, 0.62, 0.36),
    (0.30, 0.45, 0.75),
    (0.58, 0.38, 0.68),
    (0.75, 0.30, 0.28),
)
_WHITE = (0.96, 0.95, 0.92)
_DARK = (0.09, 0.05, 0.05)


def mirrored(factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Factors of the mirrored picture: rendering them without noise flips it left to right."""
    return {name: -value if name in _MIRRORED else value for name, value in factors.items()}


def sample_factors(
    seed: int, person: np.ndarray, picture: np.ndarray, expression: np.ndarray
) -> dict[str, Tensor]:
    """Draw the factors of some faces, each from (seed, person, picture) alone.

    Args:
        seed: another seed gives other people.
        person: int [N], each person's number; decides the factors of `of="person"`.
        picture: int [N], which picture of that person.
        expression: int [N], indices into `EXPRESSIONS`.

    Returns:
        Every factor of `FACTORS`, float32 [N].
    """
    streams = [*FACTORS, "yaw again", "pitch again", "roll again", "intensity"]
    ofs = [FACTORS[name].of if name in FACTORS else "picture" for name in streams]
    of_picture = np.array([of == "picture" for of in ofs])[:, None]
    hashes = np.array([zlib.crc32(name.encode()) for name in streams])[:, None]
    shares = dict(
        zip(streams, _uniform(seed, hashes, person, (picture + 1) * of_picture), strict=True)
    )
    for name in ("yaw", "pitch", "roll"):  # triangular: frontal is the commonest
        shares[name] = (shares[name] + shares[f"{name} again"]) / 2
    factors = {
        name: factor.low + (factor.high - factor.low) * shares[name]
        for name, factor in FACTORS.items()
    }
    # What people have or lack, and how much of it where they have it.
    long_hair = factors["hair_length"] > 0.5
    factors["hair_length"] = np.where(long_hair, 0.4 + 0.6 * factors["hair_length"], 0.15)
    factors["hair_cover"] = (factors["hair_cover"] > np.where(long_hair, 0, 0.16)).astype(float)
    for name, lack, least in (("beard", 0.5, 0.5), ("moustache", 0.6, 0.5), ("glasses", 0.8, 1.0)):
        share = (factors[name] - lack) / (1 - lack)
        absent = (share < 0) | ((name != "glasses") & long_hair)
        factors[name] = np.where(absent, 0.0, least + (1 - least) * share)
    factors["noise"] = np.where(factors["noise"] < 0.006, 0.0, factors["noise"])

    intensity = 0.5 + 0.5 * shares["intensity"]
    for unit in ACTION_UNITS:
        full = np.array([EXPRESSION_UNITS[name].get(unit, 0.0) for name in EXPRESSIONS])
        jitter = factors[unit]
        factors[unit] = np.clip(full[expression] * intensity * (0.8 + 0.4 * jitter), 0, 1)
        factors[unit] += 0.06 * jitter
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in factors.items()}


def render_faces(factors: Mapping[str, Tensor], size: int = 64) -> Tensor:
    """Render faces from their factors.

    A face's pixels depend on its own factors and `size` alone, not on the batch it is in.

    Args:
        factors: any of `FACTORS`, float [N] each, all on one device; the rest take their default.
        size: picture side S in pixels.

    Returns:
        uint8 [N, 3, S, S], RGB, on the factors' device.

    Raises:
        InputError: unknown factor, unequal lengths, values that are not finite, bad size.
    """
    _check_size(size)
    complete = _complete(factors)
    count = len(complete["yaw"])
    pictures = torch.empty((count, 3, size, size), dtype=torch.uint8, device=complete["yaw"].device)
    with torch.no_grad():
        chunk = _CHUNK if pictures.device.type == "cpu" else 32 * _CHUNK
        for start in range(0, count, chunk):
            part = {name: value[start : start + chunk] for name, value in complete.items()}
            pictures[start : start + chunk] = _render(part, size)
    return pictures


def landmarks_3d(factors: Mapping[str, Tensor]) -> Tensor:
    """The 68 landmarks in iBUG order, in the head's frame (not posed): float32 [N, 68, 3].

    Jaw points lie on the head's outline seen from the front, moved forward from the ears to the
    chin; they stay on the same skin whatever the pose. Raises InputError as `render_faces` does.
    """
    with torch.no_grad():
        return _Head(_complete(factors)).landmarks()


def project_landmarks(factors: Mapping[str, Tensor], size: int = 64) -> Tensor:
    """The 68 landmarks in pixels of the picture: float32 [N, 68, 2], x then y.

    The centre of the top left pixel is (0, 0). Points on the far side of the head are included.
    Raises InputError as `render_faces` does.
    """
    _check_size(size)
    complete = _complete(factors)
    with torch.no_grad():
        head = _Head(complete)
        posed = head.landmarks() @ head.rotation.transpose(1, 2)
        scale = head.zoom[:, 0] * CAMERA_DISTANCE / (CAMERA_DISTANCE - posed[..., 2])
        x = posed[..., 0] * scale + complete["shift_x"][:, None]
        y = posed[..., 1] * scale + complete["shift_y"][:, None]
        return torch.stack([(x + 1) * size / 2 - 0.5, (1 - y) * size / 2 - 0.5], dim=-1)


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


class RenderedFaces(FaceSet):
    """Rendered faces as a face set, with `person`, `expression`, `pose` and `landmarks` labels.

    People are split by name (`in_test_share`); the test people are the `held_out_people`. A
    picture is drawn from (seed, person, number of the picture), so that it is the same in every
    part, and in a set with other `count` or `people`. Nothing is rendered before it is read, and
    `FaceRecord.source` is the recipe of the picture, not a file of it: read pictures with `read`.

    Args:
        count: pictures in the part `all`.
        people: people in the part `all`; picture i there shows person `i % people`.
        part: which part.
        size: side of the pictures in pixels, 8 to 1024.
        seed: another seed gives other people (with other names) and pictures.

    Attributes:
        pairs: as many pairs of one person as of two, over the test people, by key, in `FOLDS`
            folds that share no person; the same in every part (their pictures are records of
            `test` and `all`). Empty where fewer than `2 * FOLDS` test people have two pictures.

    Raises:
        InputError: an argument out of range, or a part that no person falls in.
    """

    title = "rendered faces"
    split = "by person"

    pairs: list[FacePair]

    def __init__(
        self,
        count: int = 4096,
        people: int = 256,
        part: Part = "train",
        size: int = 64,
        seed: int = 0,
    ) -> None:
        for argument, value in (("count", count), ("people", people)):
            if not _is_int(value) or not 1 <= value <= _MAX_COUNT:
                raise InputError(
                    f"rendered: {argument} must be a whole number from 1 to {_MAX_COUNT}, "
                    f"not {value!r}"
                )
        _check_size(size)
        if not _is_int(seed) or not 0 <= seed < 2**63:
            raise InputError(f"rendered: seed must be a whole number from 0, not {seed!r}")
        if part not in get_args(Part):
            raise InputError(f"rendered: part must be train, test or all, not {part!r}")
        if people > count:
            raise InputError(
                f"rendered: people={people} is more than count={count}; "
                "each person needs at least one picture"
            )
        self.size = size
        self.seed = seed

        prefix = "rendered" if seed == 0 else f"rendered{seed}"
        names = [f"{prefix}_{person:05d}" for person in range(people)]
        tested = np.array([in_test_share(name) for name in names])
        numbers = np.arange(count)
        if part != "all":
            numbers = numbers[tested[numbers % people] == (part == "test")]
        if len(numbers) == 0:
            raise InputError(
                f"rendered: none of the people={people} falls in part '{part}'; ask for more people"
            )
        self._person, self._picture = numbers % people, numbers // people
        # Each person goes through the expressions in turn, from a place of their own.
        stream = zlib.crc32(b"expression")
        first = _uniform(seed, stream, self._person, 0 * self._person) * len(EXPRESSIONS)
        self._expression = (self._picture + first.astype(np.int64)) % len(EXPRESSIONS)

        factors = sample_factors(seed, self._person, self._picture, self._expression)
        poses = torch.stack([factors["yaw"], factors["pitch"], factors["roll"]], dim=1)
        landmarks = project_landmarks(factors, size)
        records = []
        for person, picture, expression, pose, points in zip(
            self._person.tolist(),
            self._picture.tolist(),
            self._expression.tolist(),
            poses.unbind(),
            landmarks.unbind(),
            strict=True,
        ):
            labels = {"expression": expression, "pose": pose, "landmarks": points}
            key = f"{names[person]}/{picture:04d}"
            recipe = f"{_RECIPE} {key} {seed} {size}".encode()
            records.append(FaceRecord(key, recipe, names[person], labels))
        test_people = [person for person in range(people) if tested[person]]
        super().__init__(
            "rendered",
            part,
            records,
            held_out_people=frozenset(names[person] for person in test_people),
            test=partial(RenderedFaces, count, people, "test", size, seed),
        )
        self.pairs = _pairs(seed, test_people, names, count, people)

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        """Render face `index`: uint8 RGB [size, size, 3], whatever `at_least` says."""
        return np.ascontiguousarray(self.render_batch([index])[0].permute(1, 2, 0).numpy())

    def read_many(
        self, indices: Sequence[int], at_least: int | None = None, workers: int = 4
    ) -> list[np.ndarray | BadPicture]:
        """Render the faces `indices` at once."""
        return list(self.render_batch(indices).permute(0, 2, 3, 1).contiguous().numpy())

    def factors(self, indices: Sequence[int] | np.ndarray | Tensor) -> dict[str, Tensor]:
        """Factors of the faces `indices`, float32 [N] each, for `render_faces`.

        Raises:
            IndexError: an index is not below the set's length.
        """
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        return sample_factors(
            self.seed, self._person[chosen], self._picture[chosen], self._expression[chosen]
        )

    def render_batch(self, indices: Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """Render the faces `indices` at once: uint8 [N, 3, size, size], the pixels of `read`.

        Raises:
            IndexError: an index is not below the set's length.
        """
        return render_faces(self.factors(indices), self.size)


def _pairs(
    seed: int, test_people: list[int], names: list[str], count: int, people: int
) -> list[FacePair]:
    pictures = {p: count // people + (p < count % people) for p in test_people}
    several = [p for p in test_people if pictures[p] > 1]
    if len(several) < 2 * FOLDS:
        return []

    def draw(name: str, first: int, second: np.ndarray) -> np.ndarray:
        return _uniform(seed, zlib.crc32(name.encode()), np.array(first), second)

    several = [several[i] for i in draw("folds", 0, np.array(several)).argsort()]
    pairs = []
    for fold in range(FOLDS):
        members = several[fold::FOLDS]
        for person in members:
            numbers = np.arange(pictures[person])
            # A circle through the person's pictures: each is in two pairs (in one, of two).
            order = draw("order", person, numbers).argsort()
            who, which = draw("other", person, numbers), draw("picture", person, numbers)
            for i in range(len(order) if len(order) > 2 else 1):
                other = members[int(who[i] * (len(members) - 1))]
                other = members[-1] if other == person else other
                first = f"{names[person]}/{order[i]:04d}"
                same = f"{names[person]}/{order[(i + 1) % len(order)]:04d}"
                different = f"{names[other]}/{int(which[i] * pictures[other]):04d}"
                pairs.append(FacePair(first, same, True, fold))
                pairs.append(FacePair(first, different, False, fold))
    return pairs


class _Egg(NamedTuple):
    """Where rays meet the head."""

    t: Tensor  # along the ray, positive away from the camera
    x: Tensor  # of the hit, in the egg's own frame, where it is a unit sphere but for the taper
    y: Tensor
    z: Tensor
    lowest: Tensor  # of the surface's function along the ray: negative where the ray hits


class _Ball(NamedTuple):
    """Where rays meet an ellipsoid; coordinates are in its frame, where it is the unit sphere."""

    t: Tensor
    x: Tensor
    y: Tensor
    z: Tensor
    closest: Tensor  # squared distance of the ray from the centre: below 1 where it hits
    exit_y: Tensor  # y where the ray leaves


class _Head:
    """Shapes of N heads, computed from their factors; every number is [N, 1, 1]."""

    def __init__(self, factors: dict[str, Tensor]) -> None:
        f = {name: value[:, None, None] for name, value in factors.items()}
        self.factors = f
        self.rotation = pose_rotation(factors["yaw"], factors["pitch"], factors["roll"])
        self.zoom = f["zoom"]
        pull, stretch, tight = f["lip_corner_pull"], f["lip_stretch"], f["lip_tighten"]
        jaw, part, sneer = f["jaw_drop"], f["lips_part"], f["upper_lip_raise"]
        depress, wrinkle = f["lip_corner_depress"], f["nose_wrinkle"]

        # The egg: the crown stays, the chin goes down with the jaw.
        self.half_width, self.half_depth = f["head_width"], f["head_depth"]
        self.taper = f["chin_taper"]
        self.egg_y = -0.06 * jaw
        self.half_height = 1 + 0.06 * jaw

        self.eye_x, self.eye_y = f["eye_spacing"], 0.04
        self.eye_w = f["eye_width"]
        squint = 1 - 0.45 * f["lid_tighten"]
        self.lid_up = (
            f["eye_height"] * (1 + 0.75 * f["lid_raise"]) * squint * (1 - 0.45 * f["lid_droop"])
        )
        self.lid_low = (
            f["eye_height"]
            * 0.75
            * (1 + 0.35 * f["lid_raise"])
            * squint
            * (1 - 0.65 * f["cheek_raise"])
        )
        self.lid_slope = f["eye_tilt"] - 0.04 * f["lid_droop"]
        self.iris = 0.072

        raised, lowered = f["inner_brow_raise"], f["brow_lower"]
        self.brow_from = f["eye_spacing"] - f["eye_width"] * (1.05 + 0.25 * lowered)
        self.brow_length = f["eye_width"] * 2.3
        self.brow_in = 0.14 * raised - 0.14 * lowered - 0.05 * wrinkle
        self.brow_out = 0.12 * f["outer_brow_raise"] + 0.02 * lowered - 0.05 * raised
        self.brow_y = self.eye_y + f["brow_height"] - 0.02 * lowered

        self.tip_y = self.eye_y - f["nose_length"] + 0.05 * wrinkle
        self.nose_w = f["nose_width"] * (1 + 0.15 * pull + 0.2 * wrinkle)

        self.mouth_w = f["mouth_width"] * (
            1 + 0.38 * pull + 0.30 * stretch - 0.22 * tight - 0.22 * jaw * (1 - stretch)
        )
        self.mouth_y = f["mouth_height"] - 0.06 * jaw + 0.02 * sneer
        self.lift = 0.17 * pull - 0.14 * depress - 0.05 * stretch
        self.arch = 0.05 * sneer
        self.gap_up = 0.02 * part + 0.05 * jaw + 0.05 * sneer
        self.gap_low = 0.05 * part * (1 + 0.9 * pull) + 0.20 * jaw
        thick = f["lip_fullness"] * (1 - 0.65 * tight) * (1 - 0.25 * pull)
        self.lip_up, self.lip_low = 0.8 * thick, 1.1 * thick

        # Nose: an ellipsoid from the root to the tip, and a wider one around the tip.
        root_y = self.eye_y + 0.08
        self.root_z = self._skin_z(root_y) - 0.02
        self.tip_z = self._skin_z(self.tip_y) + f["nose_depth"] - 0.09

    def _skin_z(self, y: Tensor | float) -> Tensor:
        """Depth of the egg's skin on its midline."""
        local = (y - self.egg_y) / self.half_height
        return self.half_depth * ((1 - local * local) / (1 - self.taper * local)).sqrt()

    # The shapes that rays meet: maps from head coordinates to the frame in which each is round.

    def egg_frame(self) -> tuple[Tensor, Tensor]:
        """The matrix [N, 3, 3] and the offset [N, 3] of the egg's frame."""
        return _frame(0.0, self.egg_y, 0.0, self.half_width, self.half_height, self.half_depth)

    def nose_frames(self) -> list[tuple[Tensor, Tensor]]:
        """Frames of the bridge and the tip."""
        dy, dz = self.eye_y + 0.08 - self.tip_y, self.root_z - self.tip_z
        length = (dy * dy + dz * dz).sqrt()
        middle_y, middle_z = self.tip_y + 0.5 * dy, self.tip_z + 0.5 * dz
        bridge = _frame(
            0.0,
            middle_y,
            middle_z,
            0.045 + 0.4 * self.nose_w,
            0.60 * length,
            0.085,
            tilt=(dy / length, dz / length),
        )
        tip = _frame(0.0, self.tip_y, self.tip_z, self.nose_w, 0.085, 0.125)
        return [bridge, tip]

    def ear_frames(self) -> list[tuple[Tensor, Tensor]]:
        """Frames of the picture-left and the picture-right ear of a frontal face."""
        size = self.factors["ear_size"]
        x = self.half_width * 0.99
        return [_frame(side * x, -0.04, -0.06, 0.55 * size, size, 0.45 * size) for side in (-1, 1)]

    def hair_frame(self) -> tuple[Tensor, Tensor]:
        """Frame of the shell that the hair is cut from."""
        volume, length = self.factors["hair_volume"], self.factors["hair_length"]
        radius_y = 1.0 + 0.12 * volume + 0.26 * length
        return _frame(
            0.0,
            1.04 + 0.20 * volume - radius_y,
            -0.07,
            self.half_width * (1.07 + 0.20 * volume + 0.06 * length),
            radius_y,
            self.half_depth * (1.04 + 0.14 * volume) + 0.07,
        )

    # The curves of the face, as heights over the head's frontal plane.

    def lids(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """Upper and lower lid at e, from -1 at an eye's inner corner to 1 at the outer one."""
        bow = 1 - e * e
        middle = self.eye_y + self.lid_slope * e
        return middle + self.lid_up * bow, middle - self.lid_low * bow

    def brow(self, s: Tensor) -> Tensor:
        """Middle of a brow at s, from 0 at its inner end to 1 at the outer one."""
        arch = 4 * self.factors["brow_arch"] * s * (1 - s)
        return self.brow_y + arch + self.brow_in * (1 - s) + (self.brow_out - 0.03) * s

    def lips(self, m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Outer and inner upper lip, inner and outer lower lip at m, -1 to 1 between corners."""
        m2 = m * m
        bow = 1 - m2
        line = self.mouth_y + self.lift * (m2 - 0.35) + self.arch * bow
        upper = line + self.gap_up * bow
        lower = line - self.gap_low * bow
        full = bow * (0.55 + 0.45 * bow)
        return upper + self.lip_up * full, upper, lower, lower - self.lip_low * full

    def landmarks(self) -> Tensor:
        """[N, 68, 3]: points of the curves and surfaces above, in the head's frame."""
        count, device = len(self.zoom), self.zoom.device

        def row(*values: float) -> Tensor:
            return torch.tensor(values, device=device)[None, None].expand(count, 1, -1)

        # Jaw: from the egg's axis outwards, in a plane that moves forward towards the chin.
        angle = torch.linspace(-1.52, 1.52, 17, device=device)[None, None].expand(count, 1, -1)
        forward = 0.05 + 0.40 * angle.cos() ** 2
        zero = torch.zeros_like(angle)
        egg = _cast_egg((zero, zero, forward), (-angle.sin(), angle.cos(), zero), self.taper + zero)
        jaw = [egg.x * self.half_width, egg.y * self.half_height + self.egg_y]
        jaw_z = egg.z * self.half_depth

        s = row(1.0, 0.75, 0.5, 0.25, 0.0)
        brow_x, brow_y = self.brow_from + self.brow_length * s, self.brow(s)
        nose_x = torch.cat([row(0, 0, 0, 0), self.nose_w * row(-0.9, -0.45, 0, 0.45, 0.9)], dim=2)
        top = self.eye_y + 0.04
        bridge_y = top + (self.tip_y + 0.02 - top) * row(0, 1 / 3, 2 / 3, 1)
        base = self.tip_y - 0.045 - row(-0.02, 0.005, 0.015, 0.005, -0.02)
        nose_y = torch.cat([bridge_y, base], dim=2)
        e = row(1.0, 0.4, -0.4, -1.0, -0.4, 0.4)
        up, low = self.lids(e)
        eye_x = self.eye_x + self.eye_w * e
        eye_y = torch.cat([up[..., :4], low[..., 4:]], dim=2)
        m = row(-1, -0.6, -0.25, 0, 0.25, 0.6, 1, 0.6, 0.25, 0, -0.25, -0.6)
        outer_up, _, _, outer_low = self.lips(m)
        inner = row(-0.85, -0.35, 0, 0.35, 0.85, 0.35, 0, -0.35)
        _, inner_up, inner_low, _ = self.lips(inner)
        lips_x = self.mouth_w * torch.cat([m, inner], dim=2)
        lips_y = [outer_up[..., :7], outer_low[..., 7:], inner_up[..., :5], inner_low[..., 5:]]

        other_eye = [3, 2, 1, 0, 5, 4]
        x = torch.cat(
            [-brow_x, brow_x.flip(2), nose_x, -eye_x, eye_x[..., other_eye], lips_x], dim=2
        )
        y = torch.cat([brow_y, brow_y.flip(2), nose_y, eye_y, eye_y[..., other_eye], *lips_y], 2)
        z = self._surface_z(x, y)
        points = [
            torch.cat(pair, dim=2)[:, 0] for pair in zip([*jaw, jaw_z], [x, y, z], strict=True)
        ]
        return torch.stack(points, dim=-1)

    def _surface_z(self, x: Tensor, y: Tensor) -> Tensor:
        """Depth of the foremost surface over (x, y): the head, or the nose where it stands out."""
        points = torch.stack([x, y, torch.zeros_like(x)], dim=-1)[:, 0]
        ahead = points.new_tensor([0.0, 0.0, -1.0])

        def rays(frame: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
            matrix, offset = frame
            start = points @ matrix.transpose(1, 2) + offset[:, None]
            direction = (matrix @ ahead)[:, None].expand_as(start)
            return (
                tuple(v[:, None] for v in start.unbind(-1)),
                tuple(v[:, None] for v in direction.unbind(-1)),
            )

        depth = -_cast_egg(*rays(self.egg_frame()), self.taper).t
        for frame in self.nose_frames():
            ball = _cast_ball(*rays(frame))
            depth = torch.where(ball.closest < 1, torch.maximum(depth, -ball.t), depth)
        return depth


def _frame(
    x: Tensor | float,
    y: Tensor | float,
    z: Tensor | float,
    rx: Tensor | float,
    ry: Tensor | float,
    rz: Tensor | float,
    tilt: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The map that makes a unit sphere of the ellipsoid at (x, y, z) with these radii.

    Args:
        tilt: (y, z) of the unit vector along which `ry` is measured; upright where None.

    Returns:
        matrix [N, 3, 3] and offset [N, 3]: local = matrix @ head + offset.
    """
    numbers = [v for v in (x, y, z, rx, ry, rz) if isinstance(v, Tensor)]
    like = numbers[0]
    x, y, z, rx, ry, rz = (
        (v if isinstance(v, Tensor) else torch.full_like(like, v)).flatten()
        for v in (x, y, z, rx, ry, rz)
    )
    c, s = (v.flatten() for v in tilt) if tilt else (torch.ones_like(x), torch.zeros_like(x))
    zero = torch.zeros_like(x)
    rows = [1 / rx, zero, zero, zero, c / ry, s / ry, zero, -s / rz, c / rz]
    matrix = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    offset = torch.stack([-x / rx, -(c * y + s * z) / ry, -(c * z - s * y) / rz], dim=-1)
    return matrix, offset


_Axes = tuple[Tensor, ...]


def _cast_egg(start: _Axes, step: _Axes, taper: Tensor) -> _Egg:
    """First hit of the rays start + t step on (x² + z²)(1 - taper y) + y² = 1.

    The function is a cubic in t. Its least value says whether the ray hits; the root before that
    starts from the parabola there and is polished by two Newton steps.
    """
    (x, y, z), (dx, dy, dz) = start, step
    r2, r1, r0 = dx * dx + dz * dz, 2 * (x * dx + z * dz), x * x + z * z
    g1 = taper * dy
    g0 = 1 - taper * y
    c3 = -g1 * r2
    c2 = g0 * r2 - g1 * r1 + dy * dy
    c1 = g0 * r1 - g1 * r0 + 2 * (y * dy)
    c0 = g0 * r0 + y * y - 1
    root = (c2 * c2 - 3 * (c3 * c1)).clamp_(min=0).sqrt_()
    middle = -c1 / (c2 + root)
    lowest = ((c3 * middle + c2) * middle + c1) * middle + c0
    t = middle - ((-lowest).clamp_(min=0) / root).sqrt_()
    hit = lowest < 0
    for _ in range(2):
        value = ((c3 * t + c2) * t + c1) * t + c0
        slope = ((3 * t) * c3 + 2 * c2) * t + c1
        t = torch.where(hit, t - value / slope.clamp_(max=-0.02), t)
    return _Egg(t, x + t * dx, y + t * dy, z + t * dz, lowest)


def _cast_ball(start: _Axes, step: _Axes) -> _Ball:
    """First hit of the rays start + t step on the unit sphere (the closest point of misses)."""
    (x, y, z), (dx, dy, dz) = start, step
    a = dx * dx + dy * dy + dz * dz
    middle = (x * dx + y * dy + z * dz).div_(a).neg_()
    closest = (x * x + y * y + z * z).sub_(middle * middle * a)
    half = ((1 - closest).clamp_(min=0) / a).sqrt_()
    t = middle - half
    return _Ball(t, x + t * dx, y + t * dy, z + t * dz, closest, y + (middle + half) * dy)


def _render(factors: dict[str, Tensor], size: int) -> Tensor:
    """Pictures uint8 [N, 3, S, S] of complete factors.

    Per-pixel arithmetic is +, -, ×, ÷, √, comparison, each its own exactly rounded operation, so
    that a pixel is the same whatever is computed beside it.
    """
    head = _Head(factors)
    f, rotation = head.factors, head.rotation
    device = rotation.device
    grid = (torch.arange(size, device=device) * 2 + 1).float() / size - 1
    across = (grid - factors["shift_x"][:, None]) / factors["zoom"][:, None]
    down = (-grid - factors["shift_y"][:, None]) / factors["zoom"][:, None]
    pixel = 2 / (size * f["zoom"])  # a pixel's side at the head's centre

    def rays(frame: tuple[Tensor, Tensor]) -> tuple[_Axes, _Axes]:
        """Rays in a shape's frame: at t = 0 in the plane through the head's centre."""
        matrix, offset = frame
        matrix = _product(matrix, rotation.transpose(1, 2))
        start, step = [], []
        for i in range(3):
            rate_x, rate_y = matrix[:, i, 0, None], matrix[:, i, 1, None]
            columns = rate_x * across
            rows = rate_y * down
            base = offset[:, i, None, None]
            plane = columns[:, None, :] + rows[:, :, None]
            start.append(plane + base)
            step.append(plane.mul_(1 / CAMERA_DISTANCE).sub_(matrix[:, i, 2, None, None]))
        return tuple(start), tuple(step)

    azimuth, elevation = (
        factors[k].double() * (math.pi / 180) for k in ("light_azimuth", "light_elevation")
    )
    light = torch.stack(
        [azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()], dim=-1
    ).float()
    light = _product(rotation.transpose(1, 2), light[..., None])[..., 0]  # in the head's frame

    def lit(matrix: Tensor, normal: _Axes) -> Tensor:
        """Brightness of a surface from its normal in the shape's frame."""
        to_light = _product(matrix, light[..., None])
        metric = _product(matrix, matrix.transpose(1, 2))
        nx, ny, nz = normal
        across_light = (
            nx * to_light[:, 0, :, None]
            + ny * to_light[:, 1, :, None]
            + nz * to_light[:, 2, :, None]
        )
        length = nx * nx * metric[:, 0, 0, None, None]
        length += ny * ny * metric[:, 1, 1, None, None]
        length += nz * nz * metric[:, 2, 2, None, None]
        cosine = across_light.div_(length.sqrt_())
        return (
            cosine.mul_(0.75).add_(0.25).clamp_(min=0).mul_(1.15 - f["ambient"]).add_(f["ambient"])
        )

    def cover(closest: Tensor, radius: Tensor | float) -> Tensor:
        """Share of a pixel covered by a round shape, from a ray's squared distance."""
        return (1 - closest).mul_(0.5 * radius / pixel).add_(0.5).clamp_(0, 1)

    skin = _palette(_SKIN, factors["melanin"])
    red = torch.tensor([0.0, 0.05, 0.04], device=device)
    skin = skin - (factors["redness"][:, None] * red)[..., None, None]
    hair = _palette(_HAIR, factors["hair_tone"])

    # Far things first: background, clothes and neck, the back of the hair.
    picture = _background(head, across, down, grid)
    neck = _neck(head, across, down, pixel)
    picture = _over(picture, skin * (0.62 * f["ambient"] + 0.12)[:, None], neck)

    hair_frame = head.hair_frame()
    shell = _cast_ball(*rays(hair_frame))
    shell_cover = cover(shell.closest, head.half_width) * f["hair_cover"]
    cut = 0.16 - 1.25 * f["hair_length"]
    cut_local = cut * hair_frame[0][:, 1, 1, None, None] + hair_frame[1][:, 1, None, None]
    behind = _edge(cut_local - shell.exit_y, pixel) * shell_cover
    picture = _over(picture, hair * 0.55, behind)

    egg_frame = head.egg_frame()
    egg = _cast_egg(*rays(egg_frame), head.taper)
    head_cover = (egg.lowest * (-0.5 * head.half_width / pixel)).add_(0.5).clamp_(0, 1)
    head_t = torch.where(egg.lowest < 0, egg.t, 9.0)

    for frame in head.ear_frames():
        ear = _cast_ball(*rays(frame))
        alpha = cover(ear.closest, 0.5 * f["ear_size"])
        alpha *= (ear.t < head_t).float()
        shade = lit(frame[0], (ear.x, ear.y, ear.z)) * (0.72 + 0.28 * ear.closest)
        picture = _over(picture, skin * shade[:, None], alpha)
        head_cover = head_cover * (1 - alpha)

    # The head's skin, and the face on it.
    g = 1 - head.taper * egg.y
    bulge = head.taper * (egg.x * egg.x + egg.z * egg.z)
    shade = lit(egg_frame[0], (2 * egg.x * g, 2 * egg.y - bulge, 2 * egg.z * g))
    u = egg.x * head.half_width
    v = egg.y * head.half_height + head.egg_y
    face = _face(head, skin, hair, u, v, egg.z > 0, shade, pixel)
    picture = _over(picture, face, head_cover)

    # The nose: where it stands out of the face, blending in where it leaves the skin.
    for number, frame in enumerate(head.nose_frames()):
        ball = _cast_ball(*rays(frame))
        alpha = cover(ball.closest, head.nose_w)
        alpha *= (head_t - ball.t).mul_(1 / 0.045).clamp_(0, 1)
        shade = lit(frame[0], (ball.x, ball.y, ball.z))
        if number == 1:  # nostrils, on the underside of the tip
            beside = (ball.x.abs() - 0.42) / 0.26
            under = (ball.y + 0.72) / 0.26
            shade = shade * (1 - 0.65 * (1 - beside * beside - under * under).clamp_(0, 1))
        picture = _over(picture, skin * shade[:, None], alpha)

    picture = _glasses(head, picture, rays, head_t, pixel)

    # Front of the hair: the shell but for the opening before the face, and below the cut.
    radius_x = 1 / hair_frame[0][:, 0, 0, None, None]
    radius_y = 1 / hair_frame[0][:, 1, 1, None, None]
    hair_x = shell.x * radius_x
    hair_y = (shell.y - hair_frame[1][:, 1, None, None]) * radius_y
    open_x = hair_x / (head.half_width * 0.93)
    open_y = (hair_y - 0.12 - f["parting"] * hair_x).clamp_(min=0) / (f["hairline"] - 0.12)
    outside = (open_x * open_x + open_y * open_y - 1) * 0.3
    outside = torch.where(shell.z > 0.05, outside, 1.0)
    alpha = _edge(-torch.minimum(outside, hair_y - cut), pixel) * shell_cover
    longitude = shell.x / (shell.x.abs() + shell.z.abs() + 0.05)
    strand = ((longitude * 14 + 40).remainder_(2) - 1).abs_().mul_(0.18).add_(0.85)
    shade = lit(hair_frame[0], (shell.x, shell.y, shell.z)) * strand
    picture = _over(picture, hair * shade[:, None], alpha)

    warm = torch.tensor([0.06, 0.0, -0.06], device=device) * factors["warmth"][:, None]
    picture = picture * ((1 + warm) * factors["exposure"][:, None])[..., None, None]
    picture += _noise(factors, size) * f["noise"][:, None]
    return (picture * 255).add_(0.5).clamp_(0, 255).to(torch.uint8)


def _face(
    head: _Head,
    skin: Tensor,
    hair: Tensor,
    u: Tensor,
    skin_v: Tensor,
    front: Tensor,
    shade: Tensor,
    pixel: Tensor,
) -> Tensor:
    """Colours [N, 3, S, S] of the head's skin at (u, skin_v) of the frontal plane."""
    f = head.factors
    v = torch.where(front, skin_v, 9.0)  # no second face on the back of the head
    au = u.abs()

    # Relief that darkens or lightens the skin.
    ex = (au - head.eye_x) / head.eye_w
    ey = v - head.eye_y
    tone = 1 - 0.16 * _bump(ex * ex * 0.35 + (ey - 0.06) * (ey - 0.06) / 0.034)
    folded = 0.10 + 0.32 * f["lip_corner_pull"] + 0.40 * f["nose_wrinkle"]
    along = (head.tip_y - v) / (head.tip_y - head.mouth_y)
    fold_x = head.nose_w * 1.15 + (head.mouth_w * 1.18 - head.nose_w * 1.15) * along
    fold = (au - fold_x) / 0.045
    tone -= folded * _bump(fold * fold + (along - 0.5) * (along - 0.5) * 2.2)
    frown = (au - 0.055) / 0.030
    between = (v - head.brow_y + 0.01) / 0.12
    tone -= 0.42 * f["brow_lower"] * _bump(frown * frown + between * between)
    wrinkle = (v - head.eye_y + 0.02) / 0.035
    beside = (au - 0.13) / 0.07
    tone -= 0.40 * f["nose_wrinkle"] * _bump(wrinkle * wrinkle + beside * beside)
    pouch = (v - head.eye_y + 0.15 - 0.02 * f["cheek_raise"]) / 0.035
    tone -= (0.05 + 0.22 * f["cheek_raise"]) * _bump(pouch * pouch + ex * ex * 0.8)
    chin = (v - head.mouth_y + 0.17 + head.gap_low) / 0.05
    tone -= 0.14 * _bump(chin * chin + au * au / 0.03)
    brow_wrinkle = ((v - head.brow_y - head.brow_in - 0.06).remainder(0.11) - 0.055).abs() / 0.022
    raised = 0.5 * (f["inner_brow_raise"] + f["outer_brow_raise"])
    forehead = (v - head.brow_y - 0.28) / 0.16
    tone -= (
        0.20
        * raised
        * _bump(brow_wrinkle * brow_wrinkle)
        * _bump(forehead * forehead + au * au / 0.2)
    )

    # Mouth.
    m = (u / head.mouth_w).clamp(-1, 1)
    outer_up, inner_up, inner_low, outer_low = head.lips(m)
    beyond = au - head.mouth_w
    mouth = _edge(torch.maximum(torch.maximum(v - outer_up, outer_low - v), beyond), pixel)
    inside = torch.maximum(v - inner_up, inner_low - v)
    line = 0.016 + 0.010 * f["lip_tighten"]
    open_mouth = _edge(torch.maximum(inside - line, beyond - 0.01), pixel)
    bared = (1 - 0.85 * f["jaw_drop"]) * 0.085 + 0.02
    biting = torch.maximum(torch.maximum(inside + 0.006, inner_up - bared - v), beyond)
    biting = _edge(biting, pixel) * _edge(0.02 - head.gap_up - head.gap_low, pixel)
    tongue = ((v - inner_low) / (0.02 + 0.55 * head.gap_low)).clamp_(0, 1)
    tongue = (1 - tongue) * (0.75 * f["jaw_drop"])

    # Eyes.
    up, low = head.lids(ex.clamp(-1, 1))
    lid = torch.maximum(v - up, low - v)
    corner = (ex.abs() - 1) * head.eye_w
    eye = _edge(torch.maximum(lid, corner), pixel)
    shift = f["gaze"] * head.eye_w
    ix = au - head.eye_x - torch.where(u < 0, -shift, shift)
    iris_2 = ix * ix + ey * ey
    iris = _edge((iris_2 - head.iris**2) * (0.5 / head.iris), pixel) * eye
    pupil = _edge((iris_2 - 0.032**2) * (0.5 / 0.032), pixel) * eye
    lash = _edge(torch.maximum((v - up).abs() - 0.020, corner - 0.015), pixel)

    # Hair on the face.
    s = ((au - head.brow_from) / head.brow_length).clamp(-0.2, 1.2)
    thick = f["brow_thickness"] * (1.1 - 0.5 * s)
    ends = torch.maximum(-s, s - 1) * head.brow_length
    brow = _edge(torch.maximum((v - head.brow(s)).abs() - thick, ends), pixel)
    jaw_line = u * u / 0.22 + (skin_v - 0.02) * (skin_v - 0.02) / 0.34
    beard = (
        ((jaw_line - 0.85) * 1.8).clamp_(0, 1) * ((0.12 - skin_v) * 2.2).clamp_(0, 1) * f["beard"]
    )
    above = (v - outer_up - 0.055) / 0.055
    moustache = _bump((above * above + u * u / (0.05 + head.mouth_w * head.mouth_w)) * 0.55)
    whiskers = torch.maximum(beard * 0.85, moustache * f["moustache"] * 1.2)

    tone = tone * shade
    face = _over(skin * tone[:, None], hair * shade[:, None], whiskers.clamp_(max=1))
    lips = _palette(_LIPS, f["lip_tone"].flatten()) * (0.35 + 0.65 * skin)
    face = _over(face, lips * shade[:, None], mouth)
    dark = open_mouth * (1 - biting) * (1 - tongue)
    white = torch.maximum(eye, biting)
    soft_shade = shade * 0.6 + 0.4
    face = _over(face, _colour(_WHITE, u.device) * soft_shade[:, None], white)
    face = _over(face, _palette(_IRIS, f["iris_tone"].flatten()) * soft_shade[:, None], iris)
    face = _over(face, _colour(_DARK, u.device), torch.maximum(torch.maximum(pupil, lash), dark))
    return _over(face, hair * (0.75 * shade)[:, None], brow)


def _glasses(
    head: _Head,
    picture: Tensor,
    rays: Callable[[tuple[Tensor, Tensor]], tuple[_Axes, _Axes]],
    head_t: Tensor,
    pixel: Tensor,
) -> Tensor:
    """Lay rims and a bridge, in a plane before the eyes, over the picture."""
    f = head.factors
    if not bool((f["glasses"] > 0).any()):
        return picture
    zero = torch.zeros_like(f["glasses"])
    (x, y, z), (dx, dy, dz) = rays(_frame(zero, 0.0, 0.0, 1.0, 1.0, 1.0))
    plane = head._skin_z(head.eye_y) + 0.02
    t = (plane - z) / dz
    x, y = (x + t * dx).abs_(), y + t * dy - head.eye_y + 0.02
    rim_x, rim_y = (x - head.eye_x) / (head.eye_w + 0.06), y / 0.155
    ring = ((rim_x * rim_x + rim_y * rim_y).sqrt_() - 1).abs_() * 0.16 - 0.016
    inner = head.eye_x - head.eye_w - 0.06
    bridge = torch.maximum((y - 0.03).abs_() - 0.014, x - inner)
    arm = torch.maximum((y - 0.05).abs_() - 0.014, (x - head.half_width * 0.86).abs_() - 0.08)
    alpha = _edge(torch.minimum(torch.minimum(ring, bridge), arm), pixel)
    alpha *= f["glasses"] * (t < head_t + 0.02).float()
    return _over(picture, _colour((0.13, 0.12, 0.13), picture.device), alpha)


def _background(head: _Head, across: Tensor, down: Tensor, grid: Tensor) -> Tensor:
    f = head.factors
    hue = _palette(_HUES, f["background_hue"].flatten())
    value = f["background_value"][:, None]
    colour = (0.55 + 0.45 * hue) * value
    slope = f["gradient_x"] * grid[None, None, :] - f["gradient_y"] * grid[None, :, None]
    picture = colour * (1 + slope[:, None])
    clothes = _palette(_HUES, f["clothes_hue"].flatten()) * (0.25 + 0.55 * f["ambient"][:, None])
    x, y = across[:, None, :] / 1.25, (down[:, :, None] + 2.0) / 0.85
    inside = _edge((x * x + y * y - 1) * 0.5, 2 / (len(grid) * f["zoom"]))
    return _over(picture, clothes, inside)


def _neck(head: _Head, across: Tensor, down: Tensor, pixel: Tensor) -> Tensor:
    """Cover of the neck: a column that leans halfway to where the chin is."""
    chin = -head.rotation[:, 0, 1, None, None] * 0.6
    x = across[:, None, :] - chin * (1 + 0.35 * (down[:, :, None] + 1).clamp(-1, 0))
    side = x.abs() - 0.40 * (head.half_width / 0.75)
    return _edge(torch.maximum(side, down[:, :, None] + 0.3), pixel) * _edge(
        x * x * 1.1 - (down[:, :, None] + 1.42), pixel
    )


def _over(picture: Tensor, colour: Tensor, alpha: Tensor) -> Tensor:
    """`colour` laid over `picture` where `alpha` [N, S, S] says."""
    return (colour - picture).mul_(alpha[:, None]).add_(picture)


def _edge(distance: Tensor, pixel: Tensor) -> Tensor:
    """Cover 1 inside (negative distance) to 0 outside, over a pixel's width."""
    return (distance / pixel).neg_().add_(0.5).clamp_(0, 1)


def _bump(squared: Tensor) -> Tensor:
    """1 where `squared` is 0, falling smoothly to 0 where it is 1."""
    bump = (1 - squared).clamp_(min=0)
    return bump.mul_(bump)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product of [N, I, 3] and [N, 3, J] as a written-out sum: the same in any batch."""
    return (
        a[..., 0, None] * b[..., None, 0, :]
        + a[..., 1, None] * b[..., None, 1, :]
        + a[..., 2, None] * b[..., None, 2, :]
    )


def _colour(rgb: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(rgb, device=device)[None, :, None, None]


def _palette(colours: Sequence[Sequence[float]], place: Tensor) -> Tensor:
    """Colour [N, 3, 1, 1] at `place` [N], 0 to 1 along evenly spaced `colours`."""
    table = torch.tensor(colours, device=place.device)
    at = place.clamp(0, 1) * (len(table) - 1)
    low = at.long().clamp(max=len(table) - 2)
    share = (at - low)[:, None]
    return (table[low] * (1 - share) + table[low + 1] * share)[..., None, None]


@lru_cache(maxsize=4)
def _noise_pool(length: int, device: torch.device) -> Tensor:
    """Nearly normal numbers, mean 0 and variance 1."""
    parts = np.stack([_uniform(0, stream, np.arange(length), np.zeros(1)) for stream in range(4)])
    pool = (parts.sum(axis=0) - 2) * math.sqrt(3)
    return torch.from_numpy(pool.astype(np.float32)).to(device)


def _noise(factors: dict[str, Tensor], size: int) -> Tensor:
    """Noise [N, 3, S, S]: each face takes a stretch of one pool, from its own offset."""
    pool = _noise_pool(_NOISE + 3 * size * size, factors["noise"].device)
    offset = (factors["noise_offset"].clamp(0, 1) * (_NOISE - 1)).long()
    return pool.unfold(0, 3 * size * size, 1)[offset].unflatten(1, (3, size, size))


def _uniform(
    seed: int, stream: int | np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Numbers in [0, 1), float64, each a hash of (seed, stream, first, second) (SplitMix64).

    Broadcasts its arguments, whole numbers from 0.
    """
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for word in (seed, stream, first, second):
            state = (state ^ np.asarray(word).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _complete(factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_size(size: int) -> None:
    if not _is_int(size) or not 8 <= size <= _MAX_SIZE:
        raise InputError(
            f"rendered: size must be a whole number of pixels from 8 to {_MAX_SIZE}, not {size!r}"
        )
