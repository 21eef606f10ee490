"""Test beds without faces: images with an exogenous variable that is independent of the class.

Digits under large rotations and shapes at several scales, as Arnaud, Dapogny, Bailly have them
(THIN, 2020); here scikit-learn's bundled digits, and shapes drawn on the spot, so that nothing need
be downloaded. Each picture has the label `category` (what it shows) and `exogenous` (the bin of its
angle or scale): tasks `classes` and `exogenous`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageDraw

from linear_probe.sources.names import TEST_BED_NAMES
from ssl_faces.data.faces import FaceRecord, FaceSet, Part, in_test_share

SIDE = 32
TURNS = 4
"""Angles that each drawn digit is shown at."""
LARGEST_ANGLE = 90
ANGLE_BINS = 6
SHAPES = ("circle", "square", "triangle", "pentagon", "hexagon", "star", "cross", "ring")
SHAPES_COUNT = 4000
RADII = (4.0, 14.0)
"""Pixels from a shape's middle to its corners, the smallest and the largest."""
SCALE_BINS = 4
_FINER = 4  # shapes are drawn so much larger, then made smaller


class RotatedDigits(FaceSet):
    """scikit-learn's 1,797 handwritten digits, each at `TURNS` angles of up to `LARGEST_ANGLE`
    degrees to either side, drawn evenly; `SIDE` px.

    `exogenous` is the angle in `ANGLE_BINS` bins of equal width. A drawing stands where a person
    does elsewhere: all its turns are on one side of a split, and drawn together in the bootstrap.
    (A 6 is never turned so far that it is a 9.)
    """

    title = "rotated digits"
    split = "by drawing, a fifth for the test"
    class_names = MappingProxyType(
        {
            "category": tuple(map(str, range(10))),
            "exogenous": tuple(
                f"{low:.0f} to {low + 2 * LARGEST_ANGLE / ANGLE_BINS:.0f}°"
                for low in np.linspace(-LARGEST_ANGLE, LARGEST_ANGLE, ANGLE_BINS, endpoint=False)
            ),
        }
    )

    def __init__(self, part: Part = "all") -> None:
        kept = [r for r in _digits() if _is_in(r.person or "", part)]
        super().__init__("digits", part, kept, test=partial(RotatedDigits, "test"))


class ScaledShapes(FaceSet):
    """Drawn shapes (`SHAPES`) of radii from `RADII`, even in the logarithm; `SIDE` px.

    Place, turn, grey and background are drawn too, and noise lies over all. `exogenous` is the
    radius in `SCALE_BINS` bins, each by the same factor larger than the one before.
    """

    title = "scaled shapes"
    split = "by picture, a fifth for the test"
    class_names = MappingProxyType(
        {
            "category": SHAPES,
            "exogenous": tuple(
                f"radius {low:.1f} px on" for low in np.geomspace(*RADII, SCALE_BINS + 1)[:-1]
            ),
        }
    )

    def __init__(self, part: Part = "all") -> None:
        kept = [r for r in _shapes() if _is_in(r.key, part)]
        super().__init__("shapes", part, kept, test=partial(ScaledShapes, "test"))


TEST_BEDS: dict[str, Callable[[], FaceSet]] = dict(
    zip(TEST_BED_NAMES, (RotatedDigits, ScaledShapes), strict=True)
)
"""By what `--data` calls them."""


def _is_in(name: str, part: Part) -> bool:
    return part == "all" or in_test_share(name) == (part == "test")


@cache
def _digits() -> list[FaceRecord]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    draw = np.random.default_rng(0)
    records = []
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        # Of 8x8 pixels: 22 px leave room for the corners of all turns.
        small = Image.fromarray((image * 255 / 16).round().astype(np.uint8))
        whole = Image.new("L", (SIDE, SIDE))
        whole.paste(small.resize((22, 22), Image.Resampling.BICUBIC), (5, 5))
        for turn in range(TURNS):
            share = draw.random()
            turned = whole.rotate((2 * share - 1) * LARGEST_ANGLE, Image.Resampling.BICUBIC)
            labels = {"category": int(digit), "exogenous": int(share * ANGLE_BINS)}
            person = f"drawing {number:04d}"
            records.append(FaceRecord(f"{person}/{turn}", np.asarray(turned), person, labels))
    return records


@cache
def _shapes() -> list[FaceRecord]:
    draw = np.random.default_rng(0)
    records = []
    for number in range(SHAPES_COUNT):
        shape, share = int(draw.integers(len(SHAPES))), draw.random()
        radius = RADII[0] * (RADII[1] / RADII[0]) ** share
        room = SIDE / 2 - radius
        middle = SIDE / 2 + draw.uniform(-room, room, 2)
        ground, ink = draw.uniform(0, 100), draw.uniform(150, 255)
        whole = Image.new("L", (SIDE * _FINER, SIDE * _FINER), round(ground))
        _draw(whole, SHAPES[shape], middle * _FINER, radius * _FINER, draw.uniform(0, 360), ink)
        pixels = np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
        noisy = (pixels + draw.normal(0, 10, pixels.shape)).clip(0, 255).round().astype(np.uint8)
        labels = {"category": shape, "exogenous": int(share * SCALE_BINS)}
        records.append(FaceRecord(f"{number:05d}", noisy, labels=labels))
    return records


def _draw(
    on: Image.Image, shape: str, middle: np.ndarray, radius: float, turn: float, ink: float
) -> None:
    """Draw a shape; `turn` in degrees."""
    pen, grey = ImageDraw.Draw(on), round(ink)
    if shape in ("circle", "ring"):
        box = (*(middle - radius), *(middle + radius))
        if shape == "circle":
            pen.ellipse(box, fill=grey)
        else:
            pen.ellipse(box, outline=grey, width=max(1, round(0.4 * radius)))
        return
    angles, lengths = _corners(shape)
    corners = [
        (
            float(middle[0] + radius * length * math.cos(math.radians(angle + turn))),
            float(middle[1] + radius * length * math.sin(math.radians(angle + turn))),
        )
        for angle, length in zip(angles, lengths, strict=True)
    ]
    pen.polygon(corners, fill=grey)


def _corners(shape: str) -> tuple[Sequence[float], Sequence[float]]:
    """A polygon's corners: degrees around its middle, and how far out, at most 1."""
    if shape == "star":
        return [36.0 * i for i in range(10)], [1.0, 0.45] * 5
    if shape == "cross":
        arm = math.degrees(math.atan(1 / 3))  # a third as wide as long
        inner = math.sqrt(2) / math.sqrt(10)
        return ([90.0 * i + a for i in range(4) for a in (-arm, arm, 45)], [1.0, 1.0, inner] * 4)
    count = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6}[shape]
    return [360.0 / count * i for i in range(count)], [1.0] * count
