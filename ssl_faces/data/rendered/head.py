"""The head: a tapered ellipsoid, ellipsoids for nose, ears and hair, and the face's curves."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_faces.data.rendered.camera import pose_rotation
from ssl_faces.data.rendered.shapes import cast_ball, cast_egg, frame_of


class Head:
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
        return frame_of(0.0, self.egg_y, 0.0, self.half_width, self.half_height, self.half_depth)

    def nose_frames(self) -> list[tuple[Tensor, Tensor]]:
        """Frames of the bridge and the tip."""
        dy, dz = self.eye_y + 0.08 - self.tip_y, self.root_z - self.tip_z
        length = (dy * dy + dz * dz).sqrt()
        middle_y, middle_z = self.tip_y + 0.5 * dy, self.tip_z + 0.5 * dz
        bridge = frame_of(
            0.0,
            middle_y,
            middle_z,
            0.045 + 0.4 * self.nose_w,
            0.60 * length,
            0.085,
            tilt=(dy / length, dz / length),
        )
        tip = frame_of(0.0, self.tip_y, self.tip_z, self.nose_w, 0.085, 0.125)
        return [bridge, tip]

    def ear_frames(self) -> list[tuple[Tensor, Tensor]]:
        """Frames of the picture-left and the picture-right ear of a frontal face."""
        size = self.factors["ear_size"]
        x = self.half_width * 0.99
        return [
            frame_of(side * x, -0.04, -0.06, 0.55 * size, size, 0.45 * size) for side in (-1, 1)
        ]

    def hair_frame(self) -> tuple[Tensor, Tensor]:
        """Frame of the shell that the hair is cut from."""
        volume, length = self.factors["hair_volume"], self.factors["hair_length"]
        radius_y = 1.0 + 0.12 * volume + 0.26 * length
        return frame_of(
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
        egg = cast_egg((zero, zero, forward), (-angle.sin(), angle.cos(), zero), self.taper + zero)
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

        depth = -cast_egg(*rays(self.egg_frame()), self.taper).t
        for frame in self.nose_frames():
            ball = cast_ball(*rays(frame))
            depth = torch.where(ball.closest < 1, torch.maximum(depth, -ball.t), depth)
        return depth
