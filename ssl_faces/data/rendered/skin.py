"""The face on the head's skin: relief, mouth, eyes, brows and beard in the frontal plane."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_faces.data.rendered.head import raised
from ssl_faces.data.rendered.paint import (
    DARK,
    IRIS,
    LIPS,
    WHITE,
    bump,
    colour_of,
    edge,
    over_,
    palette,
    strip,
)
from ssl_faces.data.rendered.shapes import Rays, cast_ball, cast_egg
from ssl_faces.data.rendered.stage import Stage, Window


class Skin:
    """The head's skin, met by rays.

    Attributes:
        depth: [N, S, S], along the rays; 9 where they miss the head.
        cover: [N, S, S], share of each pixel that is head.
        shade: [N, S, S], its brightness.
    """

    def __init__(self, stage: Stage, rays: Rays, skin: Tensor, hair: Tensor) -> None:
        self.stage, self.skin, self.hair = stage, skin, hair
        head = stage.head
        frame = head.egg()
        egg = cast_egg(*frame.rays(rays), head.taper)
        self.cover = (egg.lowest * (-0.5 * head.half_width / stage.pixel)).add_(0.5).clamp_(0, 1)
        self.depth = torch.where(egg.lowest < 0, egg.t, 9.0)
        g = (head.taper * egg.y).neg_().add_(1).mul_(2)
        bulge = (egg.x * egg.x).add_(egg.z * egg.z).mul_(head.taper)
        normal = frame.normal(egg.x * g, (egg.y * 2).sub_(bulge), egg.z * g)
        self.shade = stage.lit(normal)
        # Along rays past the head its nearest point is as good as skin, for the cover's fringe.
        self._nearest = egg.t
        self._raise_muzzle()

    def _raise_muzzle(self) -> None:
        stage = self.stage
        lips, chin = stage.head.muzzle()
        middle = [(one + other) * 0.5 for one, other in zip(lips.centre, chin.centre, strict=True)]
        down, back = lips.centre[1] - chin.centre[1], lips.centre[2] - chin.centre[2]
        reach = torch.maximum(lips.radii[0], lips.radii[1])
        reach = reach + 0.5 * (down * down + back * back).sqrt()
        window = stage.window(middle[0], middle[1], middle[2], reach)
        rays = stage.rays(window)
        depth, shade, cover, nearest = (
            window.take(maps) for maps in (self.depth, self.shade, self.cover, self._nearest)
        )
        for mound in (lips, chin):
            ball = cast_ball(*mound.rays(rays))
            depth, share = raised(depth, ball)
            lit = stage.lit(mound.normal(ball.x, ball.y, ball.z))
            shade += lit.sub_(shade).mul_(share)
            cover = torch.maximum(cover, stage.cover(ball.closest, mound.radii[1]))
            nearest = torch.where(share > 0, depth, nearest)
        window.put(self.depth, depth)
        window.put(self.shade, shade)
        window.put(self.cover, cover)
        window.put(self._nearest, nearest)

    def lay(self, picture: Tensor) -> None:
        """The skin and all that is on it."""
        over_(picture, self.skin, self.cover, self.shade)
        self._lay_beard(picture)
        self._lay_forehead(picture)
        for side in (-1, 1):
            self._lay_eye(picture, side)
        self._lay_mouth(picture)

    def _place(self, window: Window) -> tuple[Tensor, Tensor, Tensor]:
        """Place (u, v) of the skin in the head's frontal plane, and its depth before the ears; v
        is 9 behind them."""
        (x, y, z), (dx, dy, dz) = self.stage.rays(window)
        t = window.take(self._nearest)
        u, v, depth = (t * dx).add_(x), (t * dy).add_(y), (t * dz).add_(z)
        return u, torch.where(depth > 0, v, 9.0), depth

    def _lay_beard(self, picture: Tensor) -> None:
        head, f = self.stage.head, self.stage.head.factors
        if not bool(((f["beard"] > 0) | (f["moustache"] > 0)).any()):
            return
        window = self.stage.window(0.0, -0.5, 0.25, 0.95)
        u, v, depth = self._place(window)
        jaw_line = u * u / 0.22 + (v - 0.02) * (v - 0.02) / 0.34
        beard = ((jaw_line - 0.85) * 1.8).clamp_(0, 1) * ((0.12 - v) * 2.2).clamp_(0, 1)
        outer_up = head.lips((u / head.mouth_w).clamp(-1, 1))[0]
        above = (v - outer_up - 0.055) / 0.055
        across = u * u / (0.05 + head.mouth_w * head.mouth_w)
        moustache = bump((above * above + across) * 0.55) * f["moustache"] * 1.2
        alpha = torch.maximum(beard * f["beard"] * 0.85, moustache).clamp_(max=1)
        alpha *= (depth * 5).clamp_(0, 1)  # thins out towards the ears
        alpha *= window.take(self.cover)
        part = over_(window.take(picture), self.hair, alpha, window.take(self.shade))
        window.put(picture, part)

    def _lay_forehead(self, picture: Tensor) -> None:
        """Wrinkles of raised brows and of age."""
        head, f = self.stage.head, self.stage.head.factors
        depth = (
            0.10 * (f["inner_brow_raise"] + f["outer_brow_raise"]) + 0.20 * head.aged * head.aged
        )
        window = self.stage.window(0.0, head.brow_y + 0.28, 0.75, 0.48)
        u, v, _ = self._place(window)
        wrinkle = ((v - head.brow_y - head.brow_in - 0.06).remainder(0.11) - 0.055) / 0.022
        forehead = (v - head.brow_y - 0.28) / 0.16
        tone = depth * bump(wrinkle * wrinkle) * bump(forehead * forehead + u * u / 0.2)
        self._darken(picture, window, tone)

    def _darken(self, picture: Tensor, window: Window, tone: Tensor) -> None:
        part = window.take(picture)
        window.put(picture, part.mul_((1 - tone * window.take(self.cover))[:, None]))

    def _lay_eye(self, picture: Tensor, side: int) -> None:
        """The eye on one side (-1: the picture's left, of a frontal face), its brow and folds."""
        stage, head, f = self.stage, self.stage.head, self.stage.head.factors
        pixel, aged = stage.pixel, head.aged
        window = stage.window(side * head.eye_x, head.eye_y + 0.11, 0.8 * head.half_depth, 0.42)
        u, v, _ = self._place(window)
        cover = window.take(self.cover).mul_((u * side > 0).float())
        u = u * side
        ex = (u - head.eye_x) / head.eye_w
        ey = v - head.eye_y

        tone = bump(ex * ex * 0.35 + (ey - 0.06) * (ey - 0.06) / 0.034).mul_(0.16)
        frown = (u - 0.055) / 0.030
        between = (v - head.brow_y + 0.01) / 0.12
        tone += bump(frown * frown + between * between) * (0.42 * f["brow_lower"])
        wrinkle = (ey + 0.02) / 0.035
        beside = (u - 0.13) / 0.07
        tone += bump(wrinkle * wrinkle + beside * beside) * (0.40 * f["nose_wrinkle"])
        pouch = (ey + 0.15 - 0.02 * f["cheek_raise"]) / 0.035
        bag = 0.05 + 0.22 * f["cheek_raise"] + 0.18 * aged
        tone += bump(pouch * pouch + ex * ex * 0.8) * bag
        # Crow's feet fan out from the outer corner.
        fan = (ey - 0.02) / (0.25 * (u - head.eye_x - head.eye_w)).clamp(min=0.004)
        feet = (fan.remainder(0.8) - 0.4) / 0.16
        out = (ex - 1.45) / 0.45
        crows = 0.26 * aged + 0.14 * f["cheek_raise"]
        tone += bump(feet * feet) * bump(out * out + ey * ey / 0.012) * crows
        part = window.take(picture).mul_((1 - tone * cover)[:, None])

        up, low = head.lids(ex.clamp(-1, 1))
        corner = (ex.abs() - 1) * head.eye_w
        eye = edge(torch.maximum(torch.maximum(v - up, low - v), corner), pixel).mul_(cover)
        ix = u - head.eye_x - side * f["gaze"] * head.eye_w
        iris_2 = ix * ix + ey * ey
        iris = edge((iris_2 - head.iris**2) * (0.5 / head.iris), pixel) * eye
        pupil = edge((iris_2 - 0.032**2) * (0.5 / 0.032), pixel) * eye
        lash = strip(v - up, 0.017, pixel) * edge(corner - 0.015, pixel) * cover
        crease = strip(v - up - 0.045, 0.008, pixel) * edge(corner + 0.02, pixel) * cover * 0.35
        s = ((u - head.brow_from) / head.brow_length).clamp(-0.2, 1.2)
        thick = head.brow_thick * (1.1 - 0.5 * s)
        ends = torch.maximum(-s, s - 1) * head.brow_length
        brow = strip(v - head.brow(s), thick, pixel) * edge(ends, pixel) * cover

        shade = window.take(self.shade)
        soft = shade * 0.6 + 0.4
        device = u.device
        dark = colour_of(DARK, device)
        over_(part, colour_of(WHITE, device), eye, soft)
        over_(part, palette(IRIS, stage.factors["iris_tone"]), iris, soft)
        over_(part, dark, torch.maximum(torch.maximum(pupil, lash), crease))
        glint_x, glint_y = ix - 0.022, ey - 0.024
        glint = edge((glint_x * glint_x + glint_y * glint_y - 0.013**2) / 0.026, pixel) * eye
        over_(part, colour_of(WHITE, device), glint)
        window.put(picture, over_(part, self.hair, brow, shade.mul_(0.75)))

    def _lay_mouth(self, picture: Tensor) -> None:
        """The mouth, the folds beside it and the hollow below."""
        stage, head, f = self.stage, self.stage.head, self.stage.head.factors
        pixel, aged = stage.pixel, head.aged
        reach = (head.mouth_w * 1.2).clamp(min=0.36) + 0.12 + 0.6 * head.gap_low
        middle = head.mouth_y - 0.3 * head.gap_low
        window = stage.window(0.0, middle, head.skin_z(middle) - 0.05, reach)
        u, v, _ = self._place(window)
        au = u.abs()
        cover = window.take(self.cover)

        folded = 0.10 + 0.32 * f["lip_corner_pull"] + 0.40 * f["nose_wrinkle"] + 0.30 * aged
        along = (head.tip_y - v) / (head.tip_y - head.mouth_y)
        fold_x = head.nose_w * 1.15 + (head.mouth_w * 1.18 - head.nose_w * 1.15) * along
        fold = (au - fold_x) / 0.045
        tone = bump(fold * fold + (along - 0.5) * (along - 0.5) * 2.2) * folded.clamp(max=0.6)
        chin = (v - head.mouth_y + 0.17 + head.gap_low) / 0.05
        tone += bump(chin * chin + au * au / 0.03).mul_(0.14)
        # Lines from the corners of the mouth down to the jowls.
        jowl = (au - head.mouth_w * 1.12 - 0.15 * (head.mouth_y - v)) / 0.035
        down = (v - head.mouth_y + 0.12) / 0.12
        tone += bump(jowl * jowl + down * down) * (0.30 * aged)
        part = window.take(picture).mul_((1 - tone * cover)[:, None])

        m = (u / head.mouth_w).clamp(-1, 1)
        outer_up, inner_up, inner_low, outer_low = head.lips(m)
        beyond = au - head.mouth_w
        mouth = edge(torch.maximum(torch.maximum(v - outer_up, outer_low - v), beyond), pixel)
        mouth *= cover
        inside = torch.maximum(v - inner_up, inner_low - v)
        # The line between closed lips thins out towards the corners.
        line = (0.016 + 0.010 * f["lip_tighten"]) * (1 - 0.85 * m * m)
        middle, half = (inner_up + inner_low) * 0.5, (inner_up - inner_low) * 0.5 + line
        open_mouth = strip(v - middle, half, pixel) * edge(beyond - 0.01, pixel) * cover
        bared = (1 - 0.85 * f["jaw_drop"]) * 0.085 + 0.02
        biting = torch.maximum(torch.maximum(inside + 0.006, inner_up - bared - v), beyond)
        biting = edge(biting, pixel) * edge(0.02 - head.gap_up - head.gap_low, pixel) * cover
        tongue = ((v - inner_low) / (0.02 + 0.55 * head.gap_low)).clamp_(0, 1)
        tongue = (1 - tongue) * (0.75 * f["jaw_drop"])

        shade = window.take(self.shade)
        lips = palette(LIPS, stage.factors["lip_tone"]) * (0.35 + 0.65 * self.skin)
        over_(part, lips, mouth, shade)
        over_(part, colour_of(WHITE, u.device), biting, shade * 0.6 + 0.4)
        dark = open_mouth * (1 - biting) * (1 - tongue)
        window.put(picture, over_(part, colour_of(DARK, u.device), dark))
