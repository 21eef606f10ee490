"""The head: a tapered ellipsoid, ellipsoids for nose, muzzle, ears and hair, the face's curves."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_faces.rendered.camera import pose_rotation
from ssl_faces.rendered.shapes import Frame, Rays, cast_ball, cast_egg, frame

FAR = 9.0
"""Depth added where there is no skin, in half head heights."""


class Head:
    """Shapes of N heads, computed from their complete factors; every number is [N, 1, 1]."""

    def __init__(self, factors: dict[str, Tensor]) -> None:
        f = {name: value[:, None, None] for name, value in factors.items()}
        self.factors = f
        self.rotation = pose_rotation(factors["yaw"], factors["pitch"], factors["roll"])
        self.zoom, self.distance = f["zoom"], f["camera_distance"]
        pull, stretch, tight = f["lip_corner_pull"], f["lip_stretch"], f["lip_tighten"]
        jaw, part, sneer = f["jaw_drop"], f["lips_part"], f["upper_lip_raise"]
        depress, wrinkle = f["lip_corner_depress"], f["nose_wrinkle"]
        male = 2 * f["masculinity"] - 1
        self.aged = ((f["age"] - 25) / 50).clamp(0, 1)

        # The egg: the crown stays, the chin goes down with the jaw. Jowls and a man's jaw are wide.
        self.half_width, self.half_depth = f["head_width"], f["head_depth"]
        self.taper = f["chin_taper"] * (1 - 0.2 * male) * (1 - 0.35 * self.aged)
        self.egg_y = -0.06 * jaw
        self.half_height = 1 + 0.06 * jaw

        self.eye_x, self.eye_y = f["eye_spacing"], 0.04
        self.eye_w = f["eye_width"]
        squint = 1 - 0.45 * f["lid_tighten"]
        height = f["eye_height"] * (1 - 0.08 * male) * (1 - 0.15 * self.aged)
        self.lid_up = height * (1 + 0.75 * f["lid_raise"]) * squint * (1 - 0.45 * f["lid_droop"])
        self.lid_low = (
            height * 0.75 * (1 + 0.35 * f["lid_raise"]) * squint * (1 - 0.65 * f["cheek_raise"])
        )
        self.lid_slope = f["eye_tilt"] - 0.04 * f["lid_droop"] - 0.02 * self.aged
        self.iris = 0.072

        raised, lowered = f["inner_brow_raise"], f["brow_lower"]
        self.brow_from = f["eye_spacing"] - f["eye_width"] * (1.05 + 0.25 * lowered)
        self.brow_length = f["eye_width"] * 2.3
        self.brow_in = 0.14 * raised - 0.14 * lowered - 0.05 * wrinkle
        self.brow_out = 0.12 * f["outer_brow_raise"] + 0.02 * lowered - 0.05 * raised
        self.brow_y = self.eye_y + f["brow_height"] - 0.02 * lowered - 0.015 * male
        self.brow_thick = f["brow_thickness"] * (1 + 0.35 * male)

        self.tip_y = self.eye_y - f["nose_length"] + 0.05 * wrinkle
        self.nose_w = f["nose_width"] * (1 + 0.12 * male + 0.15 * pull + 0.2 * wrinkle)

        self.mouth_w = f["mouth_width"] * (
            1 + 0.38 * pull + 0.30 * stretch - 0.22 * tight - 0.22 * jaw * (1 - stretch)
        )
        self.mouth_y = f["mouth_height"] - 0.06 * jaw + 0.02 * sneer
        self.lift = 0.17 * pull - 0.14 * depress - 0.05 * stretch
        self.arch = 0.05 * sneer
        self.gap_up = 0.02 * part + 0.05 * jaw + 0.05 * sneer
        self.gap_low = 0.05 * part * (1 + 0.9 * pull) + 0.20 * jaw
        full = f["lip_fullness"] * (1 - 0.2 * male) * (1 - 0.35 * self.aged)
        thick = full * (1 - 0.65 * tight) * (1 - 0.25 * pull)
        self.lip_up, self.lip_low = 0.8 * thick, 1.1 * thick

        # Nose: an ellipsoid from the root to the tip, and a wider one around the tip.
        root_y = self.eye_y + 0.08
        self.root_z = self.skin_z(root_y) - 0.02
        self.tip_z = self.skin_z(self.tip_y) + f["nose_depth"] - 0.09

    def skin_z(self, y: Tensor | float) -> Tensor:
        """Depth of the egg's skin on its midline."""
        local = (y - self.egg_y) / self.half_height
        return self.half_depth * ((1 - local * local) / (1 - self.taper * local)).sqrt()

    # Shapes.

    def egg(self) -> Frame:
        return frame((0.0, self.egg_y, 0.0), (self.half_width, self.half_height, self.half_depth))

    def muzzle(self) -> list[Frame]:
        """Mounds of lips and chin on the egg."""
        lips_y = self.mouth_y - 0.5 * self.gap_low
        lips = frame(
            (0.0, lips_y, self.skin_z(lips_y) - 0.13 + 0.4 * self.lip_low),
            (0.30 + 0.15 * self.mouth_w, 0.22 + 0.5 * self.gap_low, 0.16),
        )
        chin_y = self.mouth_y - 0.27 - 0.6 * self.gap_low
        chin_z = self.skin_z(chin_y) - 0.09 + 0.06 * self.factors["chin_depth"]
        chin = frame((0.0, chin_y, chin_z), (0.24, 0.13, 0.14))
        return [lips, chin]

    def nose(self) -> list[Frame]:
        """The bridge and the tip."""
        dy, dz = self.eye_y + 0.08 - self.tip_y, self.root_z - self.tip_z
        length = (dy * dy + dz * dz).sqrt()
        middle_y, middle_z = self.tip_y + 0.5 * dy, self.tip_z + 0.5 * dz
        bridge = frame(
            (0.0, middle_y, middle_z),
            (0.045 + 0.4 * self.nose_w, 0.60 * length, 0.085),
            (dy / length, dz / length),
        )
        return [bridge, frame((0.0, self.tip_y, self.tip_z), (self.nose_w, 0.085, 0.125))]

    def ears(self) -> list[Frame]:
        """The picture-left and the picture-right ear of a frontal face."""
        size = self.factors["ear_size"]
        x = self.half_width * 0.99
        return [
            frame((side * x, -0.04, -0.06), (0.55 * size, size, 0.45 * size)) for side in (-1, 1)
        ]

    def hair(self) -> Frame:
        """The shell of the hair, close to the skull for short hair."""
        volume, length = self.factors["hair_volume"], self.factors["hair_length"]
        body = volume * (0.35 + 0.65 * length.clamp(max=0.6))
        radius_y = 1.0 + 0.12 * volume + 0.26 * length
        return frame(
            (0.0, 1.04 + 0.16 * volume - radius_y, -0.07),
            (
                self.half_width * (1.04 + 0.24 * body + 0.06 * length),
                radius_y,
                self.half_depth * (1.03 + 0.14 * body) + 0.07,
            ),
        )

    def skin(self, rays: Rays) -> Tensor:
        """Depth t of the skin along rays (`FAR` more where they miss): the egg, smoothly raised by
        the mounds of `muzzle`."""
        t, lowest = cast_egg(*self.egg().rays(rays), self.taper)
        t = t + FAR * (lowest >= 0)
        for mound in self.muzzle():
            t = raised(t, *cast_ball(*mound.rays(rays)))[0]
        return t

    # Curves of the face in the frontal plane.

    def lids(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """Upper and lower lid at e, from -1 at an eye's inner corner to 1 at the outer one."""
        bow = 1 - e * e
        middle = self.lid_slope * e + self.eye_y
        return torch.addcmul(middle, bow, self.lid_up), middle.addcmul_(bow, -self.lid_low)

    def brow(self, s: Tensor) -> Tensor:
        """Middle of a brow at s, from 0 at its inner end to 1 at the outer one."""
        # arch s (1 - s) + inner end (1 - s) + outer end s
        arch = 4 * self.factors["brow_arch"]
        slope = arch + self.brow_out - 0.03 - self.brow_in
        return (s * -arch).add_(slope).mul_(s).add_(self.brow_y + self.brow_in)

    def lips(self, m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Outer and inner upper lip, inner and outer lower lip at m, -1 to 1 between corners."""
        bow = 1 - m * m
        # The line that bends with the corners is a parabola, as the lips' inner edges are.
        line, corner = self.mouth_y + 0.65 * self.lift, self.arch - self.lift
        upper = bow * (corner + self.gap_up) + line
        lower = bow * (corner - self.gap_low) + line
        full = (bow * 0.45).add_(0.55).mul_(bow)
        outer = torch.addcmul(upper, full, self.lip_up)
        return outer, upper, lower, torch.addcmul(lower, full, self.lip_low, value=-1)


def raised(t: Tensor, mound: Tensor, closest: Tensor) -> tuple[Tensor, Tensor]:
    """Depth of a skin at `t` with a mound at `mound`, for rays of squared distance `closest` from
    its centre; and the mound's share of the surface, 0 to 1."""
    out = (t - mound).clamp_(min=0).mul_(torch.lt(closest, 1, out=torch.empty_like(t)))
    share = out / (out + 0.05)
    return torch.addcmul(t, out, share, value=-1), share
