"""The face on the skin: relief, mouth, eyes, brows and beard in the frontal plane."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_faces.rendered.head import FAR, raised
from ssl_faces.rendered.paint import (
    DARK,
    IRIS,
    LIPS,
    WHITE,
    bump,
    colour_of,
    edge_,
    over_,
    palette,
    saw_,
    strip_,
)
from ssl_faces.rendered.shapes import Solid, first_root, product
from ssl_faces.rendered.stage import Stage, Window, nearest


class Skin:
    """Intersections of rays with the head's skin.

    Attributes:
        maps: [N, 3, S, S]: depth along the rays (`FAR` more where they miss the head), coverage of
            each pixel by the head, and brightness.
    """

    def __init__(self, stage: Stage, solids: list[Solid], skin: Tensor, hair: Tensor) -> None:
        """`solids` are the head's egg and the mounds of its muzzle."""
        self.stage, self.skin, self.hair = stage, skin, hair
        self.maps = torch.stack(self._egg(solids[0]), dim=1)
        self._raise_muzzle(solids[1:])

    def _egg(self, egg: Solid) -> tuple[Tensor, Tensor, Tensor]:
        """Depth, cover and shade of the egg (x² + z²)(1 - taper y) + y² = 1 in its own frame."""
        stage, head = self.stage, self.stage.head
        grid, taper = stage.pixels(), head.taper[:, 0]
        start, step = egg.start, egg.step
        wide, high, deep = (r[:, 0] for r in head.egg().radii)
        # x², y² and z² along the rays by power of t, from the second down.
        one = torch.stack([step, 2 * start, start])
        other = torch.stack([step, step, start])
        x2, y2, z2 = product(one, other).unbind(1)
        y2[2, :, 5] -= 1
        r2, r1, r0, c2, c1, c0 = grid.forms(torch.cat([x2 + z2, y2]))
        upright = torch.zeros_like(start[1])
        upright[:, 2] = 1
        g0, g1 = grid.planes(torch.stack([upright - taper * start[1], -taper * step[1]]))
        c2.addcmul_(g0, r2).addcmul_(g1, r1)
        c1.addcmul_(g0, r1).addcmul_(g1, r0)
        c0.addcmul_(g0, r0)
        t, lowest = first_root(g1 * r2, c2, c1, c0)
        del c2, c1, c0
        # Half the gradient at the hit: x g and z g across, and y - taper (x² + z²) / 2.
        g0.addcmul_(g1, t)
        r0.addcmul_(r1.addcmul_(r2, t), t)
        n2, n1, n0 = grid.forms(x2 / (wide * wide) + z2 / (deep * deep))
        n0.addcmul_(n1.addcmul_(n2, t), t)
        across = [
            v[0] * (stage.light[:, :1] / wide) + v[2] * (stage.light[:, 2:] / deep)
            for v in (start, step)
        ]
        y, dy, cosine, slope = grid.planes(torch.stack([start[1], step[1], *across]))
        y.addcmul_(dy, t).addcmul_(r0, head.taper * -0.5)
        cosine.addcmul_(slope, t).mul_(g0)
        cosine.addcmul_(y, (stage.light[:, 1:2] / high)[..., None])
        length = n0.mul_(g0).mul_(g0).addcmul_(y.mul_(y), (1 / (high * high))[..., None])
        shade = stage.brightness(cosine.div_(length.sqrt_()))
        missed = torch.ge(lowest, 0, out=g0)
        cover = lowest.mul_(stage.steep * (0.5 * head.half_width)).add_(0.5).clamp_(0, 1)
        return t.add_(missed, alpha=FAR), cover, shade

    def _raise_muzzle(self, mounds: list[Solid]) -> None:
        stage = self.stage
        lips, chin = frames = stage.head.muzzle()
        middle = [(one + other) * 0.5 for one, other in zip(lips.centre, chin.centre, strict=True)]
        down, back = lips.centre[1] - chin.centre[1], lips.centre[2] - chin.centre[2]
        reach = torch.maximum(lips.radii[0], lips.radii[1])
        reach = reach + 0.5 * (down * down + back * back).sqrt()
        window = stage.window(middle[0], middle[1], middle[2], reach)
        grid = stage.pixels(window)
        maps = window.take(self.maps)
        depth, cover, shade = maps.unbind(1)
        for frame, mound in zip(frames, mounds, strict=True):
            hit = mound.hit(grid)
            higher, share = raised(depth, hit.t, hit.closest)
            depth.copy_(higher)
            shade.lerp_(stage.lit(mound, grid, hit.t), share)
            torch.maximum(cover, stage.cover(hit.closest, frame.radii[1]), out=cover)
        window.put(self.maps, maps)

    def lay(self, picture: Tensor) -> None:
        """Draw the skin and the face."""
        _, cover, shade = self.maps.unbind(1)
        over_(picture, self.skin, cover, shade)
        self._lay_beard(picture)
        self._lay_forehead(picture)
        for side in (-1, 1):
            self._lay_eye(picture, side)
        self._lay_mouth(picture)

    def _place(self, window: Window) -> tuple[Tensor, ...]:
        """Places (u, v) in the head's frontal plane, depth z in front of the ears, cover and shade;
        v is far away behind the ears."""
        depth, cover, shade = window.take(self.maps).unbind(1)
        u, v, z = self.stage.places(self.stage.pixels(window), nearest(depth))
        behind = torch.le(z, 0, out=depth)
        return u, v.add_(behind, alpha=FAR), z, cover, shade

    def _lay_beard(self, picture: Tensor) -> None:
        head, f = self.stage.head, self.stage.head.factors
        if not bool(((f["beard"] > 0) | (f["moustache"] > 0)).any()):
            return
        window = self.stage.window(0.0, -0.5, 0.25, 0.95)
        u, v, z, cover, shade = self._place(window)
        u2 = u * u
        jaw_line = (v - 0.02).square_().mul_(1.8 / 0.34).add_(u2 * (1.8 / 0.22))
        beard = jaw_line.sub_(0.85 * 1.8).clamp_(0, 1)
        beard.mul_((v * -2.2).add_(0.12 * 2.2).clamp_(0, 1)).mul_(f["beard"] * 0.85)
        outer_up = head.lips((u / head.mouth_w).clamp_(-1, 1))[0]
        above = (v - outer_up).sub_(0.055).mul_(0.55**0.5 / 0.055).square_()
        above.addcmul_(u2, 0.55 / (0.05 + head.mouth_w * head.mouth_w))
        moustache = bump(above).mul_(f["moustache"] * 1.2)
        alpha = torch.maximum(beard, moustache, out=beard).clamp_(max=1)
        alpha.mul_(z.mul_(5).clamp_(0, 1))  # thins out towards the ears
        alpha.mul_(cover)
        window.put(picture, over_(window.take(picture), self.hair, alpha, shade))

    def _lay_forehead(self, picture: Tensor) -> None:
        """Wrinkles of raised brows and of age."""
        head, f = self.stage.head, self.stage.head.factors
        depth = (
            0.10 * (f["inner_brow_raise"] + f["outer_brow_raise"]) + 0.20 * head.aged * head.aged
        )
        window = self.stage.window(0.0, head.brow_y + 0.28, 0.75, 0.48)
        u, v, _, cover, _ = self._place(window)
        first = (head.brow_y + head.brow_in + 0.06) / 0.11 + 0.5
        wrinkle = saw_((v / 0.11).sub_(first)).mul_(0.11 / 0.022).square_()
        forehead = v.sub_(head.brow_y + 0.28).mul_(1 / 0.16).square_()
        forehead.add_(u.square_().mul_(1 / 0.2))
        tone = bump(wrinkle).mul_(bump(forehead)).mul_(depth).mul_(cover)
        window.put(picture, window.take(picture).mul_((1 - tone)[:, None]))

    def _lay_eye(self, picture: Tensor, side: int) -> None:
        """Draw the eye, brow and folds of a side (-1: the image's left, of a frontal face)."""
        stage, head, f = self.stage, self.stage.head, self.stage.head.factors
        steep, aged = stage.steep, head.aged
        window = stage.window(side * head.eye_x, head.eye_y + 0.11, 0.8 * head.half_depth, 0.42)
        u, v, behind, cover, shade = self._place(window)
        u.mul_(side)
        cover.mul_(torch.gt(u, 0, out=behind))
        ex = (u - head.eye_x).mul_(1 / head.eye_w)
        ey = v - head.eye_y
        ex2, ey2 = ex * ex, ey * ey

        hollow = (ey - 0.06).square_().mul_(1 / 0.034).add_(ex2 * 0.35)
        tone = bump(hollow).mul_(0.16)
        frown = (u - 0.055).mul_(1 / 0.030).square_()
        frown.add_((v - (head.brow_y - 0.01)).mul_(1 / 0.12).square_())
        tone.addcmul_(bump(frown), 0.42 * f["brow_lower"])
        wrinkle = (ey + 0.02).mul_(1 / 0.035).square_()
        wrinkle.add_((u - 0.13).mul_(1 / 0.07).square_())
        tone.addcmul_(bump(wrinkle), 0.40 * f["nose_wrinkle"])
        pouch = (ey + (0.15 - 0.02 * f["cheek_raise"])).mul_(1 / 0.035).square_()
        bag = 0.05 + 0.22 * f["cheek_raise"] + 0.18 * aged
        tone.addcmul_(bump(pouch.add_(ex2 * 0.8)), bag)
        # Crow's feet fan out from the outer corner.
        fan = (u - (head.eye_x + head.eye_w)).mul_(0.25 * 0.8).clamp_(min=0.004 * 0.8)
        feet = saw_((ey - 0.02).div_(fan).sub_(0.5)).mul_(0.8 / 0.16).square_()
        out = (ex - 1.45).mul_(1 / 0.45).square_().add_(ey2 * (1 / 0.012))
        crows = 0.26 * aged + 0.14 * f["cheek_raise"]
        tone.addcmul_(bump(feet).mul_(bump(out)), crows)

        up, low = head.lids(ex.clamp(-1, 1))
        corner = ex.abs().sub_(1).mul_(head.eye_w)
        above = v - up
        eye = torch.maximum(torch.maximum(above, low.sub_(v), out=low), corner, out=low)
        eye = edge_(eye, steep).mul_(cover)
        ix = u - (head.eye_x + side * f["gaze"] * head.eye_w)
        iris_2 = ey2.addcmul_(ix, ix)
        iris = edge_((iris_2 - head.iris**2).mul_(0.5 / head.iris), steep).mul_(eye)
        pupil = edge_((iris_2 - 0.032**2).mul_(0.5 / 0.032), steep).mul_(eye)
        # Where the lid's edge ends, a line is less dark.
        crease = strip_(above - 0.045, 0.008, steep).mul_(edge_(corner + 0.02, steep)).mul_(0.35)
        lash = strip_(above, 0.017, steep).mul_(edge_(corner.sub_(0.015), steep))
        dark = torch.maximum(torch.maximum(lash, crease, out=lash).mul_(cover), pupil, out=lash)
        glint = (ey - 0.024).square_().add_(ix.sub_(0.022).square_()).sub_(0.013**2)
        glint = edge_(glint.mul_(1 / 0.026), steep).mul_(eye)
        s = u.sub_(head.brow_from).mul_(1 / head.brow_length).clamp_(-0.2, 1.2)
        thick = s * (-0.5 * head.brow_thick) + 1.1 * head.brow_thick
        ends = (s - 0.5).abs_().sub_(0.5).mul_(head.brow_length)
        brow = strip_(v.sub_(head.brow(s)), thick, steep)
        brow.mul_(edge_(ends, steep)).mul_(cover)

        # White with the iris over it, both as bright as the skin around.
        device = u.device
        skin = (1 - tone.mul_(cover)).mul_(1 - eye)
        white = eye.mul_(1 - iris)
        skin.mul_(1 - iris)
        soft = shade * 0.6 + 0.4
        part = window.take(picture).mul_(skin[:, None])
        part.addcmul_(colour_of(WHITE, device), white.mul_(soft)[:, None])
        part.addcmul_(palette(IRIS, stage.factors["iris_tone"]), iris.mul_(soft)[:, None])
        over_(part, colour_of(DARK, device), dark)
        over_(part, colour_of(WHITE, device), glint)
        window.put(picture, over_(part, self.hair, brow, shade.mul_(0.75)))

    def _lay_mouth(self, picture: Tensor) -> None:
        """Draw the mouth, its folds and the hollow below."""
        stage, head, f = self.stage, self.stage.head, self.stage.head.factors
        steep, aged = stage.steep, head.aged
        reach = (head.mouth_w * 1.2).clamp(min=0.36) + 0.12 + 0.6 * head.gap_low
        middle = head.mouth_y - 0.3 * head.gap_low
        window = stage.window(0.0, middle, head.skin_z(middle) - 0.05, reach)
        u, v, _, cover, shade = self._place(window)
        au = u.abs()

        folded = 0.10 + 0.32 * f["lip_corner_pull"] + 0.40 * f["nose_wrinkle"] + 0.30 * aged
        along = (head.tip_y - v).mul_(1 / (head.tip_y - head.mouth_y))
        fold_x = along * (head.mouth_w * 1.18 - head.nose_w * 1.15) + head.nose_w * 1.15
        fold = fold_x.sub_(au).mul_(1 / 0.045).square_()
        fold.add_(along.sub_(0.5).square_().mul_(2.2))
        tone = bump(fold).mul_(folded.clamp(max=0.6))
        chin = (v - (head.mouth_y - 0.17 - head.gap_low)).mul_(1 / 0.05).square_()
        tone.add_(bump(chin.add_((u * u).mul_(1 / 0.03))).mul_(0.14))
        # Lines from the corners of the mouth down to the jowls.
        jowl = (v * 0.15).add_(au).sub_(head.mouth_w * 1.12 + 0.15 * head.mouth_y)
        jowl = jowl.mul_(1 / 0.035).square_()
        jowl.add_((v - (head.mouth_y - 0.12)).mul_(1 / 0.12).square_())
        tone.addcmul_(bump(jowl), 0.30 * aged)

        m = u.mul_(1 / head.mouth_w).clamp_(-1, 1)
        outer_up, inner_up, inner_low, outer_low = head.lips(m)
        beyond = au.sub_(head.mouth_w)
        mouth = torch.maximum(v - outer_up, outer_low.sub_(v), out=outer_low)
        mouth = edge_(torch.maximum(mouth, beyond, out=mouth), steep).mul_(cover)
        # The line between closed lips thins out towards the corners.
        line = 0.016 + 0.010 * f["lip_tighten"]
        half = (inner_up - inner_low).mul_(0.5).add_(line).addcmul_(m.square_(), -0.85 * line)
        open_mouth = strip_((inner_up + inner_low).mul_(0.5).neg_().add_(v), half, steep)
        open_mouth.mul_(edge_(beyond - 0.01, steep)).mul_(cover)
        bared = (1 - 0.85 * f["jaw_drop"]) * 0.085 + 0.02
        above, below = v - inner_up, inner_low - v
        biting = torch.maximum(above, below).add_(0.006)
        torch.maximum(biting, above.neg_().sub_(bared), out=biting)
        biting = edge_(torch.maximum(biting, beyond, out=biting), steep)
        biting.mul_(edge_(0.02 - head.gap_up - head.gap_low, steep)).mul_(cover)
        tongue = below.mul_(-1 / (0.02 + 0.55 * head.gap_low)).clamp_(0, 1)
        tongue = (1 - tongue).mul_(0.75 * f["jaw_drop"])

        # Lips with teeth over them.
        skin = (1 - tone.mul_(cover)).mul_(1 - mouth)
        hole = 1 - biting
        lips = palette(LIPS, stage.factors["lip_tone"]) * (0.35 + 0.65 * self.skin)
        part = window.take(picture).mul_(skin.mul_(hole)[:, None])
        part.addcmul_(lips, mouth.mul_(hole).mul_(shade)[:, None])
        teeth = biting.mul_(shade.mul_(0.6).add_(0.4))
        part.addcmul_(colour_of(WHITE, u.device), teeth[:, None])
        dark = open_mouth.mul_(hole).mul_(1 - tongue)
        window.put(picture, over_(part, colour_of(DARK, u.device), dark))
