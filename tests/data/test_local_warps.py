"""Random flows: bumps by a loop over positions, affine maps by closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_faces.common.errors import InputError
from ssl_faces.networks.warp import warp
from ssl_faces.pairs.local_warps import AffineMaps, LocalWarps, bump_flow, then_affine


def test_bumps_as_a_loop_over_positions():
    draw = torch.Generator().manual_seed(0)
    size, faces, bumps = 7, 2, 3
    centres = torch.rand(faces, bumps, 2, generator=draw) * 2 - 1
    shifts = torch.randn(faces, bumps, 2, generator=draw)
    sigmas = torch.rand(faces, bumps, generator=draw) + 0.2
    flow = bump_flow(centres, shifts, sigmas, size)
    assert flow.shape == (faces, 2, size, size)
    for n in range(faces):
        for row in range(size):
            for column in range(size):
                x, y = 2 * column / (size - 1) - 1, 2 * row / (size - 1) - 1
                found = [0.0, 0.0]
                for k in range(bumps):
                    far = (x - centres[n, k, 0].item()) ** 2 + (y - centres[n, k, 1].item()) ** 2
                    share = math.exp(-far / (2 * sigmas[n, k].item() ** 2))
                    found = [f + share * shifts[n, k, i].item() for i, f in enumerate(found)]
                assert flow[n, :, row, column].tolist() == pytest.approx(found, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_default_warps_keep_the_border_and_fold_nothing_in_most_places(seed):
    torch.manual_seed(seed)
    size = 33
    flow = LocalWarps().draw(8, size)
    dx = 1 + flow[:, 0].diff(dim=2) * (size - 1) / 2
    dy = 1 + flow[:, 1].diff(dim=1) * (size - 1) / 2
    assert (dx > 0).float().mean() > 0.99
    assert (dy > 0).float().mean() > 0.99
    length = flow.norm(dim=1)
    # A change to be seen: 1.6 pixels of 48 at least at the largest. Four bumps at most add up.
    assert (length.flatten(1).amax(1) > 0.03).all()
    assert length.max() <= 4 * 0.16
    corners = length[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < 0.2


def test_one_bump_folds_nothing_below_its_bound():
    size = 201
    for share, folds in ((1.6, False), (1.75, True)):
        flow = bump_flow(
            torch.zeros(1, 1, 2),
            torch.tensor([[[share * 0.25, 0.0]]]),
            torch.full((1, 1), 0.25),
            size,
        )
        steps = 1 + flow[:, 0].diff(dim=2) * (size - 1) / 2
        assert bool((steps < 0).any()) == folds


def test_an_affine_map_alone_turns_pictures():
    picture = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    # Look from (x, y) at (-y, x).
    turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    turned = warp(picture, then_affine(torch.zeros(1, 2, 9, 9), turn))
    torch.testing.assert_close(turned, picture.rot90(1, (-2, -1)), atol=1e-5, rtol=0)


def test_a_flow_then_an_affine_map_looks_where_both_lead():
    draw = torch.Generator().manual_seed(0)
    size = 5
    flow, maps = torch.randn(2, 2, size, size, generator=draw), torch.randn(2, 2, 3, generator=draw)
    found = then_affine(flow, maps)
    for n in range(2):
        for row in range(size):
            for column in range(size):
                place = torch.tensor([2 * column / 4 - 1, 2 * row / 4 - 1])
                looked = torch.cat((place + flow[n, :, row, column], torch.ones(1)))
                torch.testing.assert_close(
                    found[n, :, row, column], maps[n] @ looked - place, atol=1e-5, rtol=1e-5
                )
    same = then_affine(flow, torch.eye(2, 3).expand(2, 2, 3))
    torch.testing.assert_close(same, flow, atol=1e-6, rtol=0)


def test_affine_maps_have_the_strengths_asked_for():
    torch.manual_seed(0)
    still = AffineMaps(turn=0, scale=0, shear=0, move=0).draw(5)
    torch.testing.assert_close(still, torch.eye(2, 3).expand(5, 2, 3))
    turned = AffineMaps(turn=30, scale=0, shear=0, move=0).draw(2000)
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0]).rad2deg()
    assert 28 < angle.max() <= 30.001
    assert -30.001 <= angle.min() < -28
    torch.testing.assert_close(torch.linalg.det(turned[:, :, :2]), torch.ones(2000))


def test_draws_follow_from_torchs_seed():
    flows = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        flows.append(LocalWarps().draw(2, 8))
    assert torch.equal(flows[0], flows[1])
    assert not torch.equal(flows[0], flows[2])


def test_strengths_that_can_not_be():
    for settings_, message in (
        ({"shift": (0.3, 0.1)}, "model.local.shift: 0.3 to 0.1; give the smaller number first"),
        ({"sigma": (0.0, 0.1)}, "model.local.sigma: 0; give a number above 0"),
    ):
        with pytest.raises(InputError, match=message):
            LocalWarps(**settings_)
    with pytest.raises(InputError, match=r"model.affine.scale: 1; give a number from 0"):
        AffineMaps(scale=1.0)
    with pytest.raises(InputError, match=r"model.affine.turn: -3; give a number, 0 or more"):
        AffineMaps(turn=-3.0)
