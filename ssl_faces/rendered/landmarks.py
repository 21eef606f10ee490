"""The 68 landmarks of rendered faces: in 3D, in pixels, and their visibility."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ssl_faces.rendered.camera import camera
from ssl_faces.rendered.factors import check_size, complete_factors
from ssl_faces.rendered.head import Head
from ssl_faces.rendered.shapes import Rays, cast_ball, cast_egg

HIDDEN_BY = 0.03
"""A surface hides a point if it is nearer by this much, in half head heights."""


def landmarks_3d(factors: Mapping[str, Tensor]) -> Tensor:
    """The 68 landmarks in iBUG order, in the head's frame (not posed): float32 [N, 68, 3].

    Jaw points lie on the frontal outline of the head, moved forward from the ears to the chin; they
    do not depend on the pose. Errors as in `render_faces`.
    """
    with torch.no_grad():
        return _points(Head(complete_factors(factors)))


def project_landmarks(factors: Mapping[str, Tensor], size: int = 64) -> Tensor:
    """The 68 landmarks in pixels: float32 [N, 68, 2], x then y; hidden points are included.

    The centre of the top left pixel is (0, 0). Errors as in `render_faces`.
    """
    check_size(size)
    complete = complete_factors(factors)
    with torch.no_grad():
        return camera(complete, size).project(_points(Head(complete))).float()


def visible_landmarks(factors: Mapping[str, Tensor]) -> Tensor:
    """Whether each landmark lies within the image and is not hidden by the head's skin or nose:
    bool [N, 68]. Hair, glasses and occluders are ignored. Errors as in `render_faces`."""
    complete = complete_factors(factors)
    with torch.no_grad():
        head = Head(complete)
        points = _points(head)
        eye = head.rotation[:, 2] * complete["camera_distance"][:, None]
        rays = _through(points, eye)
        t = head.skin(rays)
        for part in head.nose():
            nose, closest = cast_ball(*part.rays(rays))
            t = torch.where(closest < 1, torch.minimum(t, nose), t)
        away = (points - eye[:, None]).norm(dim=-1)
        pixels = camera(complete, 8).project(points)
        inside = ((pixels > -0.5) & (pixels < 7.5)).all(-1)
        return (t[:, 0] * away > -HIDDEN_BY) & inside


def _through(points: Tensor, eye: Tensor) -> Rays:
    """Rays from the eye [N, 3] through points [N, P, 3]: t = -1 at the eye, 0 at the point."""
    step = points - eye[:, None]
    x, y, z = (v[:, None] for v in points.unbind(-1))
    dx, dy, dz = (v[:, None] for v in step.unbind(-1))
    return Rays((x, y, z), (dx, dy, dz))


def _points(head: Head) -> Tensor:
    """[N, 68, 3]: points of the head's curves and surfaces, in its frame."""
    count, device = len(head.zoom), head.zoom.device

    def row(*values: float) -> Tensor:
        return torch.tensor(values, device=device)[None, None].expand(count, 1, -1)

    # Jaw: from the egg's axis outwards, in a plane that moves forward towards the chin.
    angle = torch.linspace(-1.52, 1.52, 17, device=device)[None, None].expand(count, 1, -1)
    forward = 0.05 + 0.40 * angle.cos() ** 2
    zero = torch.zeros_like(angle)
    across, down = -angle.sin(), angle.cos()
    t, _ = cast_egg((zero, zero, forward), (across, down, zero), head.taper + zero)
    jaw = [t * across * head.half_width, t * down * head.half_height + head.egg_y]
    jaw_z = forward * head.half_depth

    s = row(1.0, 0.75, 0.5, 0.25, 0.0)
    brow_x, brow_y = head.brow_from + head.brow_length * s, head.brow(s)
    nose_x = torch.cat([row(0, 0, 0, 0), head.nose_w * row(-0.9, -0.45, 0, 0.45, 0.9)], dim=2)
    top = head.eye_y + 0.04
    bridge_y = top + (head.tip_y + 0.02 - top) * row(0, 1 / 3, 2 / 3, 1)
    base = head.tip_y - 0.045 - row(-0.02, 0.005, 0.015, 0.005, -0.02)
    nose_y = torch.cat([bridge_y, base], dim=2)
    e = row(1.0, 0.4, -0.4, -1.0, -0.4, 0.4)
    up, low = head.lids(e)
    eye_x = head.eye_x + head.eye_w * e
    eye_y = torch.cat([up[..., :4], low[..., 4:]], dim=2)
    m = row(-1, -0.6, -0.25, 0, 0.25, 0.6, 1, 0.6, 0.25, 0, -0.25, -0.6)
    outer_up, _, _, outer_low = head.lips(m)
    inner = row(-0.85, -0.35, 0, 0.35, 0.85, 0.35, 0, -0.35)
    _, inner_up, inner_low, _ = head.lips(inner)
    lips_x = head.mouth_w * torch.cat([m, inner], dim=2)
    lips_y = [outer_up[..., :7], outer_low[..., 7:], inner_up[..., :5], inner_low[..., 5:]]

    other_eye = [3, 2, 1, 0, 5, 4]
    x = torch.cat([-brow_x, brow_x.flip(2), nose_x, -eye_x, eye_x[..., other_eye], lips_x], dim=2)
    y = torch.cat([brow_y, brow_y.flip(2), nose_y, eye_y, eye_y[..., other_eye], *lips_y], 2)
    z = _surface_z(head, x, y)
    points = [torch.cat(pair, dim=2)[:, 0] for pair in zip([*jaw, jaw_z], [x, y, z], strict=True)]
    return torch.stack(points, dim=-1)


def _surface_z(head: Head, x: Tensor, y: Tensor) -> Tensor:
    """Depth of the foremost surface over (x, y): the skin, or the nose where it stands out."""
    zero = torch.zeros_like(x)
    rays = Rays((x, y, zero), (zero, zero, zero - 1))
    depth = -head.skin(rays)
    for part in head.nose():
        nose, closest = cast_ball(*part.rays(rays))
        depth = torch.where(closest < 1, torch.maximum(depth, -nose), depth)
    return depth
