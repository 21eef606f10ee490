"""Pose, landmarks, expressions and shapes of rendered faces lie where labels and rays say."""

import numpy as np
import torch

from ssl_faces.rendered import (
    ACTION_UNITS,
    EXPRESSION_UNITS,
    FACTORS,
    mirrored,
    project_landmarks,
    render_faces,
    sample_factors,
)
from ssl_faces.rendered.paint import edge_, saw_, strip_, wave
from ssl_faces.rendered.shapes import Frame, Grid, Rays, cast_ball, first_root, product
from ssl_faces.rendered.stage import Stage
from tests.support.rendered import CALM, FRONTAL, drawn, one_thread

__all__ = ["one_thread"]


def test_positive_yaw_looks_left_positive_pitch_down_positive_roll_clockwise():
    nose, eyes, chin = 30, slice(36, 48), 8

    def points(**pose):
        return project_landmarks(drawn(20, **(FRONTAL | pose)), 100)

    straight, left = points(), points(yaw=40.0)
    nose_beside_eyes = left[:, nose, 0] - left[:, eyes, 0].mean(1)
    assert (nose_beside_eyes < -3).all()
    assert ((straight[:, nose, 0] - straight[:, eyes, 0].mean(1)).abs() < 0.01).all()
    down = points(pitch=20.0)
    assert (down[:, nose, 1] - down[:, eyes, 1].mean(1) > 3).all()
    assert (down[:, nose, 1] > straight[:, nose, 1] + 3).all()
    leaning = points(roll=20.0)
    assert (leaning[:, 42:48, 1].mean(1) > leaning[:, 36:42, 1].mean(1) + 3).all()
    assert (leaning[:, chin, 0] < straight[:, chin, 0] - 3).all()


def test_landmarks_mirror_with_the_picture():
    factors = drawn(20, each=2)
    ours, theirs = project_landmarks(factors, 64), project_landmarks(mirrored(factors), 64)
    theirs[..., 0] = 63 - theirs[..., 0]
    pairs = [*((i, 16 - i) for i in range(17)), *((17 + i, 26 - i) for i in range(10))]
    pairs += [(i, i) for i in range(27, 31)] + [(31 + i, 35 - i) for i in range(5)]
    pairs += [(36 + i, 45 - i) for i in range(4)] + [(40, 47), (41, 46), (46, 41), (47, 40)]
    pairs += [(42 + i, 39 - i) for i in range(4)]
    pairs += [(48 + i, 54 - i) for i in range(7)] + [(55 + i, 59 - i) for i in range(5)]
    pairs += [(60 + i, 64 - i) for i in range(5)] + [(65 + i, 67 - i) for i in range(3)]
    assert sorted(a for a, _ in pairs) == sorted(b for _, b in pairs) == list(range(68))
    for ours_at, theirs_at in pairs:
        assert (ours[:, ours_at] - theirs[:, theirs_at]).abs().max() < 1e-3


def changed(factors, size, **change):
    """Weight [N, S, S] of the pixels that a change of factors changes."""
    values = {k: torch.as_tensor(v).expand(len(factors["yaw"])) for k, v in change.items()}
    other = render_faces(factors | values, size).float()
    return (render_faces(factors, size).float() - other).abs().sum(1)


def centroid(weight):
    """Weighted mean pixel (x, y) of each [S, S]: [N, 2]."""
    grid = torch.arange(weight.shape[-1], dtype=torch.float32)
    total = weight.sum((1, 2))
    return torch.stack(
        [(weight * grid).sum((1, 2)) / total, (weight * grid[:, None]).sum((1, 2)) / total], 1
    )


def test_eyes_are_where_the_landmarks_say_at_any_pose():
    size = 128
    straight_ahead = {**CALM, "glasses": 0.0, "hair_cover": 0.0, "lid_raise": 1.0}
    factors = drawn(25, **straight_ahead)
    factors["yaw"] = factors["yaw"] * 0.4  # so that neither iris is hidden by the nose
    weight = changed(factors | {"iris_tone": torch.zeros(25)}, size, iris_tone=1.0)
    eyes = project_landmarks(factors, size)[:, 36:48].unflatten(1, (2, 6)).mean(2)
    apart = (eyes[:, 1] - eyes[:, 0]).norm(dim=1)
    grid = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="xy"), -1)
    for eye in range(2):
        near = (grid - eyes[:, eye, None, None]).norm(dim=-1) < 0.4 * apart[:, None, None]
        assert ((weight * near).sum((1, 2)) > 0).all()
        assert (centroid(weight * near) - eyes[:, eye]).norm(dim=1).max() < 2.0
    assert factors["yaw"].abs().max() > 15
    assert factors["pitch"].abs().max() > 15
    assert factors["roll"].abs().max() > 15


def test_lips_are_where_the_landmarks_say():
    size = 128
    factors = drawn(25, **CALM, lip_tone=0.0, lip_tighten=0.0, lip_fullness=0.06)
    factors["yaw"] = factors["yaw"] * 0.4
    weight = changed(factors, size, lip_tone=1.0) > 0
    outer = project_landmarks(factors, size)[:, 48:60]
    for i in range(25):
        lip_pixels = weight[i].nonzero().flip(1).float()  # x, y
        assert (lip_pixels > outer[i].amin(0) - 2.5).all()
        assert (lip_pixels < outer[i].amax(0) + 2.5).all()
        middles = outer[i, [2, 3, 4, 8, 9, 10]]
        assert torch.cdist(middles, lip_pixels).amin(1).max() < 2.5


def test_jaw_landmarks_are_near_the_outline():
    size = 128
    factors = drawn(30, **FRONTAL, hair_cover=0.0, background_value=0.3)
    person = changed(factors, size, background_value=0.6) == 0
    jaw = project_landmarks(factors, size)[:, [3, 4, 12, 13]]
    for i in range(30):
        for point, (x, y) in enumerate(jaw[i].tolist()):
            columns = person[i, round(y)].nonzero()[:, 0]
            outline = columns.min() if point < 2 else columns.max()
            assert abs(outline - x) < 5


def test_expression_changes_the_mouth_and_not_who_it_is():
    size = 64
    well_lit = {"zoom": 0.8, "ambient": 0.8, "exposure": 1.0, "melanin": 0.3, "beard": 0.0}
    factors = drawn(20, **FRONTAL, **well_lit, **dict.fromkeys(ACTION_UNITS, 0.0))
    points = project_landmarks(factors, size)
    low, high = points[:, 48:68].amin(1) - 6, points[:, 48:68].amax(1) + 6
    grid = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="xy"), -1)
    mouth = ((grid > low[:, None, None]) & (grid < high[:, None, None])).all(-1)
    off_face = grid[..., 1] < points[:, 17:27, 1].amin(1)[:, None, None] - 16  # hair, background
    assert off_face.any((1, 2)).all()
    for name in ("happy", "surprise", "sad", "fear", "disgust"):
        weight = changed(factors, size, **EXPRESSION_UNITS[name])
        assert ((weight * mouth).sum((1, 2)) > mouth.sum((1, 2)) * 8).all(), name
        assert (weight * off_face).max() < 40, name  # of 765; the jaw stretches the skull a little
    person = {name for name, factor in FACTORS.items() if factor.of == "person"}
    number = np.arange(40)
    again = sample_factors(3, number // 2, number % 2, number % 2, "all").factors
    assert all(torch.equal(again[name][0::2], again[name][1::2]) for name in person)
    assert not any(
        torch.equal(again[name][0::2], again[name][1::2]) for name in set(FACTORS) - person
    )


def test_smiles_lift_the_corners_and_surprise_opens_the_mouth():
    def points(name):
        factors = drawn(20, **FRONTAL, **dict.fromkeys(ACTION_UNITS, 0.0))
        units = {unit: torch.full((20,), value) for unit, value in EXPRESSION_UNITS[name].items()}
        return project_landmarks(factors | units, 64)

    def corner_drop(p):
        return p[:, [48, 54], 1].mean(1) - p[:, [62, 66], 1].mean(1)

    neutral = points("neutral")
    assert (corner_drop(points("happy")) < corner_drop(neutral) - 2).all()
    assert (corner_drop(points("sad")) > corner_drop(neutral) + 2).all()
    gap = points("surprise")[:, 66, 1] - points("surprise")[:, 62, 1]
    assert (gap > neutral[:, 66, 1] - neutral[:, 62, 1] + 3).all()
    inner_brow = points("angry")[:, [21, 22], 1].mean(1) - neutral[:, [21, 22], 1].mean(1)
    assert (inner_brow > 2).all()


SIDE = 24


def stage_of(count):
    number = np.arange(count)
    return Stage(sample_factors(3, number, 0 * number, number % 7, "all").factors, SIDE)


def rays_of(stage):
    """From each pixel's place in the plane through the head's centre, away from the camera."""
    rotation, distance = stage.head.rotation.double(), stage.head.distance.double()[..., 0]
    camera = rotation[:, 2] * distance
    place = (
        stage.across[:, None, :, None] * rotation[:, None, None, 0]
        + stage.down[:, :, None, None] * rotation[:, None, None, 1]
    )
    step = (place - camera[:, None, None]) / distance[..., None, None]
    return Rays(place.unbind(-1), step.unbind(-1))


def frames_of(stage):
    head = stage.head
    return [*head.muzzle(), *head.nose(), *head.ears(), head.hair()]


def test_a_pixels_forms_are_those_of_its_place():
    draw = torch.Generator().manual_seed(0)
    across, down = torch.randn(3, 7, generator=draw), torch.randn(3, 5, generator=draw)
    one, other = torch.randn(2, 4, 3, 3, generator=draw)
    grid = Grid(across, down)

    def plane(k, terms, i, y, x):
        a, b, c = terms[k, i]
        return a * across[i, x] + b * down[i, y] + c

    planes, forms = grid.planes(one), grid.forms(product(one, other))
    for k in range(4):
        for i, y, x in np.ndindex(3, 5, 7):
            first, second = plane(k, one, i, y, x), plane(k, other, i, y, x)
            assert torch.isclose(planes[k][i, y, x], first, atol=1e-5)
            assert torch.isclose(forms[k][i, y, x], first * second, atol=1e-4)


def test_solids_are_hit_and_lit_where_their_rays_say():
    stage = stage_of(40)
    grid, rays = stage.pixels(), rays_of(stage)
    for frame, solid in zip(frames_of(stage), stage.solids(*frames_of(stage)), strict=True):
        precise = Frame(
            tuple(v.double() for v in frame.centre),
            tuple(v.double() for v in frame.radii),
            frame.tilt and (frame.tilt[0].double(), frame.tilt[1].double()),
        )
        start, step = precise.rays(rays)
        t, closest = cast_ball(start, step)
        hit = solid.hit(grid)
        inside = closest < 0.98  # at the rim the depth is as steep as can be
        assert inside.any()
        assert (hit.t - t)[inside].abs().max() < 1e-3
        assert ((hit.closest - closest) / (1 + closest)).abs().max() < 1e-4
        x, y, z = (a + t * b for a, b in zip(start, step, strict=True))
        assert ((x * x + y * y + z * z)[inside] - 1).abs().max() < 1e-9
        for found, expected in zip(solid.places(grid, slice(0, 3), hit.t), (x, y, z), strict=True):
            assert (found - expected)[inside].abs().max() < 1e-2
        # The normal in the head's frame: the gradient of the ellipsoid's own equation.
        normal = [v / r for v, r in zip((x, y, z), precise.radii, strict=True)]
        if precise.tilt is not None:
            c, s = precise.tilt
            normal = [normal[0], c * normal[1] - s * normal[2], s * normal[1] + c * normal[2]]
        light = [v[:, None, None].double() for v in stage.light.unbind(1)]
        length = sum(n * n for n in normal) ** 0.5
        facing = sum(n * v for n, v in zip(normal, light, strict=True)) / length
        assert (solid.facing(grid, hit.t) - facing)[inside].abs().max() < 1e-2


def test_the_first_root_is_the_least_real_root_of_the_egg():
    draw = np.random.default_rng(0)
    taper, height = draw.uniform(0.1, 0.4, 300), draw.uniform(-0.8, 0.8, 300)
    across, dy = draw.uniform(-0.6, 0.6, 300), draw.uniform(-0.3, 0.3, 300)
    # Rays (x, y + dy t, t): (x² + t²)(1 - taper (y + dy t)) + (y + dy t)² - 1.
    fall, rest = -taper * dy, 1 - taper * height
    cubics = np.stack(
        [fall, rest + dy**2, across**2 * fall + 2 * height * dy, across**2 * rest + height**2 - 1],
        axis=1,
    )
    t, lowest = first_root(*torch.from_numpy(cubics).unbind(1))
    hits = 0
    for place, least, cubic in zip(t.tolist(), lowest.tolist(), cubics, strict=True):
        roots = np.roots(cubic)
        real = np.sort(roots[np.abs(roots.imag) < 1e-9].real)
        near = real[np.abs(real) < 2]
        assert (least < 0) == (len(near) > 0)
        if least < -0.05:
            hits += 1
            assert abs(place - near[0]) < 2e-3
    assert hits > 100


def test_covers_are_shares_of_a_pixel():
    steep = torch.full((1, 1, 1), -10.0)  # pixels of side 0.1
    distance = torch.linspace(-0.4, 0.4, 81)[None, None]
    fine = torch.linspace(-0.05, 0.05, 2001)[:, None, None]
    for half in (0.01, 0.03, 0.2):
        share = ((distance + fine).abs() < half).float().mean(0)
        assert (strip_(distance.clone(), half, steep)[0] - share).abs().max() < 2e-3
    share = (distance + fine < 0).float().mean(0)
    assert (edge_(distance.clone(), steep)[0] - share).abs().max() < 2e-3


def test_waves_rise_from_even_to_odd_numbers():
    at = torch.tensor([-3.0, -2.0, -1.5, -0.25, 0.0, 0.5, 1.0, 1.75, 2.0, 41.0])
    assert wave(at).tolist() == [1.0, 0.0, 0.5, 0.25, 0.0, 0.5, 1.0, 0.25, 0.0, 1.0]
    assert saw_(torch.tensor([-0.75, 0.25, 1.75])).tolist() == [0.25, 0.25, -0.25]
