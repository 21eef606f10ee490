"""Where rays meet the head's round shapes, held against rays followed one by one."""

import numpy as np
import torch

from ssl_faces.rendered import sample_factors
from ssl_faces.rendered.paint import edge_, saw_, strip_, wave
from ssl_faces.rendered.shapes import Frame, Grid, Rays, cast_ball, first_root, product
from ssl_faces.rendered.stage import Stage

SIZE = 24


def stage_of(count):
    number = np.arange(count)
    return Stage(sample_factors(3, number, 0 * number, number % 7, "all").factors, SIZE)


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
