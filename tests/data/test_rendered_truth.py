"""The exact labels of rendered faces, compared with independent computations."""

import math

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import EXPRESSIONS
from ssl_faces.rendered import (
    ACTION_UNITS,
    COUNTERPARTS,
    FACTORS,
    camera,
    counterpart,
    landmarks_3d,
    mirrored,
    pose_angles,
    pose_rotation,
    project_landmarks,
    render_faces,
    sample_factors,
    visible_landmarks,
)
from ssl_faces.rendered.head import Head
from ssl_faces.rendered.stage import Stage, Window
from tests.support.rendered import drawn as drawn_faces
from tests.support.rendered import one_thread

__all__ = ["one_thread"]

FRONTAL = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0}


def drawn(count, nuisances="all", expression=None, **fixed):
    shown = np.arange(count) % 7 if expression is None else np.full(count, expression)
    return drawn_faces(count, 1, nuisances, shown, **fixed)


# Camera and pose.


@pytest.mark.parametrize("size", [64, 512])
def test_the_given_camera_projects_3d_landmarks_on_the_2d_ones(size):
    factors = drawn(60)
    points, pixels = landmarks_3d(factors).double().numpy(), project_landmarks(factors, size)
    seen = camera(factors, size)
    for i in range(60):
        turn, _ = cv2.Rodrigues(seen.rotation[i].numpy())
        found, _ = cv2.projectPoints(
            points[i], turn, seen.translation[i].numpy(), seen.intrinsics[i].numpy(), None
        )
        assert np.abs(found[:, 0] - pixels[i].double().numpy()).max() < 1e-4


def test_landmarks_are_where_angles_zoom_and_distance_say():
    factors = drawn(90)
    points = landmarks_3d(factors).double().numpy()
    projected = project_landmarks(factors, 80).numpy()
    for i in range(90):
        f = {name: float(value[i]) for name, value in factors.items()}
        yaw, pitch, roll = (math.radians(f[name]) for name in ("yaw", "pitch", "roll"))
        x, y, z = points[i].T
        y, z = y * math.cos(pitch) - z * math.sin(pitch), y * math.sin(pitch) + z * math.cos(pitch)
        x, z = x * math.cos(yaw) - z * math.sin(yaw), x * math.sin(yaw) + z * math.cos(yaw)
        x, y = x * math.cos(roll) + y * math.sin(roll), y * math.cos(roll) - x * math.sin(roll)
        scale = f["zoom"] / (1 - z / f["camera_distance"])
        across = 40 * (1 + x * scale + f["shift_x"]) - 0.5
        down = 40 * (1 - y * scale - f["shift_y"]) - 0.5
        assert np.abs(projected[i] - np.stack([across, down], 1)).max() < 1e-4


def test_pose_is_recovered_from_the_landmarks_by_pnp():
    factors = drawn(60)
    points, pixels = landmarks_3d(factors).double().numpy(), project_landmarks(factors, 64)
    intrinsics = camera(factors, 64).intrinsics.numpy()
    flip = np.diag([1.0, -1.0, -1.0])  # OpenCV's y is down and its z away
    expected = np.stack([factors[name].numpy() for name in FRONTAL], axis=1)
    assert np.abs(expected[:, 0]).max() > 70
    for i in range(60):
        solved, turn, _ = cv2.solvePnP(
            points[i], pixels[i].double().numpy(), intrinsics[i], None, flags=cv2.SOLVEPNP_SQPNP
        )
        assert solved
        rotation = flip @ cv2.Rodrigues(turn)[0]
        yaw = math.degrees(math.asin(rotation[2, 0]))
        pitch = math.degrees(math.atan2(rotation[2, 1], rotation[2, 2]))
        roll = math.degrees(math.atan2(-rotation[1, 0], rotation[0, 0]))
        assert np.abs(np.array([yaw, pitch, roll]) - expected[i]).max() < 0.1


def test_pose_angles_undo_pose_rotation():
    draw = np.random.default_rng(0)
    angles = torch.from_numpy(draw.uniform((-89, -60, -179), (89, 60, 179), (200, 3)))
    assert (pose_angles(pose_rotation(*angles.T)) - angles).abs().max() < 1e-6


# What can be seen.


def test_visibility_is_that_of_marching_towards_the_camera():
    factors = drawn(40, shift_x=0.0, shift_y=0.0, zoom=0.7, camera_distance=6.0)
    visible = visible_landmarks(factors)
    head = Head(factors)
    points = landmarks_3d(factors).double()
    eye = head.rotation[:, 2].double() * 6.0
    away = torch.nn.functional.normalize(eye[:, None] - points, dim=-1)
    steps = torch.linspace(0.02, 2.2, 220, dtype=torch.float64)
    inside = torch.zeros(40, 68, 220, dtype=torch.bool)
    at = points[:, :, None] + away[:, :, None] * steps[:, None]  # [N, 68, T, 3]
    for number, shape in enumerate([head.egg(), *head.muzzle(), *head.nose()]):
        local = at - torch.stack([c.double() for c in shape.centre], dim=-1)
        x, y, z = local.unbind(-1)
        if shape.tilt is not None:
            c, s = (v.double() for v in shape.tilt)
            y, z = c * y + s * z, c * z - s * y
        x, y, z = (v / r.double() for v, r in zip((x, y, z), shape.radii, strict=True))
        taper = head.taper.double() if number == 0 else 0.0
        inside |= (x * x + z * z) * (1 - taper * y) + y * y < 1
    clear = ~inside.any(-1)
    hidden = inside[..., steps > 0.15].any(-1)  # by something well before the point
    assert clear.float().mean() > 0.4
    assert hidden.float().mean() > 0.1
    # The skin is the smooth blend of these shapes, so that some borderline points differ.
    assert visible[clear].float().mean() > 0.995
    assert visible[hidden].float().mean() < 0.05


def test_points_outside_the_picture_are_not_visible():
    factors = drawn(10, zoom=1.0, shift_x=0.5, shift_y=0.0, **FRONTAL)
    pixels = project_landmarks(factors, 64)
    outside = (pixels < -0.5).any(-1) | (pixels > 63.5).any(-1)
    assert outside.any()
    assert not visible_landmarks(factors)[outside].any()
    assert visible_landmarks(factors)[:, 36:48].any()


def test_a_profile_shows_the_nose_before_all_and_one_eye():
    calm = {**FRONTAL, "shift_x": 0.0, "shift_y": 0.0}
    # At rest: a lip raised in disgust may stand out as far as a short nose.
    factors = drawn(20, "mild", EXPRESSIONS.index("neutral"), **(calm | {"yaw": 90.0}))
    pixels, visible = project_landmarks(factors, 64), visible_landmarks(factors)
    assert (pixels[..., 0].argmin(1) >= 29).all()
    assert (pixels[..., 0].argmin(1) <= 33).all()
    assert not visible[:, 36:40].any()  # the eye on the far side
    assert visible[:, 42:48].float().mean() > 0.9
    # And so the picture: left of the nose's tip is background alone.
    bald = factors | {"hair_cover": torch.zeros(20), "glasses": torch.zeros(20)}
    bald["background_value"] = torch.full((20,), 0.3)
    other = render_faces(bald | {"background_value": torch.full((20,), 0.7)}).int()
    changes = (render_faces(bald).int() - other).abs().sum(1) > 0
    for i in range(20):
        x, y = pixels[i, 30].round().int().tolist()
        assert changes[i, y, : max(0, x - 2)].all()
        assert not changes[i, y, x + 2]


# Pictures.


@pytest.mark.parametrize("nuisances", ["mild", "all"])
def test_the_mirrored_face_is_the_mirrored_picture(nuisances):
    factors = drawn(60, nuisances, noise=0.0, jpeg_quality=0.0)
    picture, mirror = render_faces(factors), render_faces(mirrored(factors))
    assert (mirror.flip(3).int() - picture.int()).abs().max() <= 1
    # Without its pose the picture is another one: the comparison can fail.
    turned = render_faces(mirrored(factors) | {"yaw": factors["yaw"]})
    assert (turned.flip(3).int() - picture.int()).abs().float().mean() > 5


def test_a_picture_twice_the_size_averages_to_the_same():
    factors = drawn(60, "mild", noise=0.0)
    small, large = render_faces(factors, 64).float(), render_faces(factors, 128).float()
    halved = torch.nn.functional.avg_pool2d(large, 2)
    difference = (halved - small).abs().flatten(1)
    assert difference.mean(1).max() < 2.5
    assert difference.mean() < 1.5
    strangers = (halved - small.roll(1, 0)).abs().flatten(1).mean(1)
    assert strangers.min() > 6


@pytest.mark.parametrize("nuisances", ["none", "all"])
def test_no_pixel_depends_on_the_batch(nuisances):
    factors = drawn(70, nuisances)
    whole = render_faces(factors, 40)
    for batch in (1, 9):
        for start in range(0, 70, batch):
            part = {name: value[start : start + batch] for name, value in factors.items()}
            assert torch.equal(render_faces(part, 40), whole[start : start + batch])
    torch.set_num_threads(3)
    try:
        assert torch.equal(render_faces(factors, 40), whole)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


def test_windows_hold_all_of_their_parts(monkeypatch):
    factors = drawn(300, jpeg_quality=0.0)
    # Every factor somewhere within its range, or at one of its ends.
    draw = torch.Generator().manual_seed(0)
    skipped = {"occluder", "jpeg_quality", "resolution", "blur", "hair_cover", "glasses"}
    for name in sorted(FACTORS.keys() - skipped):
        low, high = FACTORS[name].low, FACTORS[name].high
        share = (2 * torch.rand(150, generator=draw) - 0.5).clamp(0, 1)
        factors[name][150:] = low + (high - low) * share
    windowed = render_faces(factors, 48)
    window = Stage.window

    def everything(self, *place):
        top = window(self, *place).top
        return Window(0 * top, 0 * top, self.size)

    monkeypatch.setattr(Stage, "window", everything)
    assert torch.equal(render_faces(factors, 48), windowed)


# Counterparts.


def test_the_neutral_counterpart_of_a_neutral_face_is_the_face():
    neutral = drawn(30, expression=EXPRESSIONS.index("neutral"))
    assert torch.equal(render_faces(counterpart(neutral, "neutral")), render_faces(neutral))
    happy = drawn(30, expression=EXPRESSIONS.index("happy"))
    assert all(torch.equal(happy[n], neutral[n]) for n in FACTORS if n not in ACTION_UNITS)
    assert torch.equal(render_faces(counterpart(happy, "neutral")), render_faces(neutral))
    assert not torch.equal(render_faces(happy), render_faces(neutral))


def test_frontal_counterparts_change_pose_alone():
    factors = drawn(20)
    for kind in ("frontal", "neutral_frontal"):
        found = counterpart(factors, kind)
        for name, value in found.items():
            if name in FRONTAL or (kind == "neutral_frontal" and name in ACTION_UNITS):
                assert not value.any()
            else:
                assert torch.equal(value, factors[name])


def test_the_mean_face_is_one_for_all_people():
    people, same = drawn(20), drawn(1)
    pictures = {n: same[n].expand(20) for n, factor in FACTORS.items() if factor.of == "picture"}
    found = render_faces(counterpart(people | pictures, "mean_face"))
    assert torch.equal(found, found[:1].expand_as(found))
    assert len(render_faces(people | pictures).flatten(1).unique(dim=0)) == 20


def test_the_mean_face_is_the_mean_of_the_people():
    people = np.arange(20_000)
    factors = sample_factors(5, people, 0 * people, 0 * people).factors
    lacking = {"hair_cover", "fringe", "beard", "moustache", "glasses"}
    for name, factor in FACTORS.items():
        if factor.of == "person" and name not in lacking:
            error = 5 * float(factors[name].std()) / math.sqrt(20_000)
            error += 0.002 * (factor.high - factor.low)  # defaults are rounded
            assert abs(float(factors[name].mean()) - factor.default) < error, name
        elif name in lacking:
            commoner = (factors[name] > 0).float().mean() > 0.5
            assert (factor.default > 0) == commoner, name


def test_the_counterpart_of_low_resolution_is_shrunk_and_enlarged():
    factors = drawn(12, "mild", noise=0.0)
    pictures = render_faces(factors, 64).permute(0, 2, 3, 1).numpy()
    found = render_faces(counterpart(factors, "low_resolution"), 64).permute(0, 2, 3, 1).numpy()
    for picture, low in zip(pictures, found, strict=True):
        small = Image.fromarray(picture).resize((16, 16), Image.Resampling.BOX)
        expected = np.asarray(small.resize((64, 64), Image.Resampling.BILINEAR))
        assert np.abs(expected.astype(int) - low).max() <= 3


def test_an_unknown_kind_is_named():
    with pytest.raises(InputError, match="'smiling'; choose one of neutral, frontal"):
        counterpart(drawn(2), "smiling")
    assert len({*COUNTERPARTS}) == 5
