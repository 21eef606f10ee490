"""Labels of rendered faces, and their visibility in the images."""

import math

import numpy as np
import pytest
import torch

from ssl_faces.data.faces import EXPRESSIONS
from ssl_faces.rendered import (
    ACTION_UNITS,
    AFFECT,
    EXPRESSION_UNITS,
    FACTORS,
    GROUPS,
    OCCLUDERS,
    RenderedFaces,
    affect,
    groups,
    project_landmarks,
    render_faces,
    sample_factors,
)
from tests.support.rendered import plain


@pytest.fixture(scope="module")
def faces():
    return RenderedFaces(700, 350, "all", size=32, nuisances="all", counterparts=("neutral",))


def test_affect_lies_on_the_line_from_neutral_to_the_full_expression():
    full = torch.ones(7)
    valence, arousal = affect(np.arange(7), full)
    for i, name in enumerate(EXPRESSIONS):
        assert (float(valence[i]), float(arousal[i])) == pytest.approx(AFFECT[name], abs=1e-6)
    for share in (0.0, 0.3, 0.75):
        some = affect(torch.arange(7), full * share)
        assert torch.allclose(some[0], valence * share)
        assert torch.allclose(some[1], arousal * share)
    # The quadrants of Russell's circumplex (1980).
    assert AFFECT["happy"] > (0, 0) < AFFECT["surprise"]
    assert all(AFFECT[n][0] < 0 < AFFECT[n][1] for n in ("angry", "fear", "disgust"))
    assert max(AFFECT["sad"]) < 0


def test_every_sample_has_labels_that_agree_with_its_factors(faces):
    factors = faces.factors(range(len(faces)))
    marks = project_landmarks(factors, 32)
    for i in range(0, len(faces), 50):
        sample = faces[i]
        name = EXPRESSIONS[sample["expression"]]
        assert sample["units"].tolist() == [float(factors[unit][i]) for unit in ACTION_UNITS]
        assert (sample["intensity"] == 0) == (name == "neutral")
        assert sample["valence"] == pytest.approx(AFFECT[name][0] * sample["intensity"], abs=1e-6)
        on = {u for u, x in zip(ACTION_UNITS, sample["units"], strict=True) if x > 0.1}
        assert on <= set(EXPRESSION_UNITS[name])
        assert torch.allclose(sample["landmarks"], marks[i])
        assert sample["landmarks_3d"].shape == (68, 3)
        assert sample["visible"].dtype == torch.bool
        assert sample["age"] == pytest.approx(float(factors["age"][i]))
        assert sample["scale"] == pytest.approx(float(factors["zoom"][i]) * 16, rel=1e-6)
        assert sample["counterparts"]["neutral"].shape == (3, 32, 32)
        assert torch.equal(sample["counterparts"]["neutral"], sample["image"]) == (
            name == "neutral"
        )


def test_groups_are_all_there_and_are_of_the_person(faces):
    found = groups(faces.factors(range(700)))
    assert found.keys() == GROUPS.keys()
    for name, names in GROUPS.items():
        share = found[name].bincount(minlength=len(names)) / 700
        assert len(share) == len(names)
        assert share.min() > 0.05, name
        assert torch.equal(found[name][:350], found[name][350:]), name
    assert faces.class_names["age_band"][found["age_band"][0]] in GROUPS["age_band"]
    edges = groups(
        {n: torch.full((4,), factor.default) for n, factor in FACTORS.items()}
        | {"age": torch.tensor([34.9, 35.0, 54.9, 55.0])}
    )
    assert edges["age_band"].tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("age", 20.0, 78.0), ("melanin", 0.1, 0.9), ("masculinity", 0.0, 1.0), ("glasses", 0.0, 1.0)],
)
def test_groups_are_visible(name, low, high):
    one, other = (render_faces(plain(1, **{name: value})).int() for value in (low, high))
    changed = (one - other).abs().sum(1) > 30
    assert changed.float().mean() > 0.02  # of all pixels


def test_people_change_between_their_pictures_with_wide_nuisances():
    """All else is as with `all`; the age stays within 15 years of the person's."""
    number = np.arange(800)
    every, wide = (
        sample_factors(1, number % 40, number // 40, number % 7, level).factors
        for level in ("all", "wide")
    )
    changed = {name for name in FACTORS if not torch.equal(every[name], wide[name])}
    assert changed == {"age", "glasses", "beard", "moustache", "fringe", "parting"}
    by_person = wide["age"].view(20, 40)
    assert (wide["age"] - every["age"]).abs().max() <= 15
    assert by_person.std(0).min() > 1
    assert wide["age"].min() >= FACTORS["age"].low
    assert wide["age"].max() <= FACTORS["age"].high
    assert wide["glasses"].view(20, 40).std(0).mean() > 0.2


def test_nuisances_grow_from_level_to_level_and_leave_people_and_expressions():
    number = np.arange(600)
    levels = ("none", "mild", "all")
    drawn = {k: sample_factors(1, number % 60, number // 60, number % 7, k) for k in levels}
    kept = [n for n, factor in FACTORS.items() if factor.of == "person"] + list(ACTION_UNITS)
    for level in levels:
        for name in kept:
            assert torch.equal(drawn[level].factors[name], drawn["none"].factors[name])
        assert torch.equal(drawn[level].intensity, drawn["none"].intensity)
    spread = {
        level: {n: float(v.std()) for n, v in drawn[level].factors.items() if n not in kept}
        for level in levels
    }
    for name in ("light_azimuth", "exposure", "noise", "zoom", "shift_x"):
        assert spread["none"][name] < spread["mild"][name] < spread["all"][name], name
    for name in ("occluder", "clutter", "blur", "resolution", "jpeg_quality", "camera_distance"):
        assert spread["none"][name] == spread["mild"][name] == 0 < spread["all"][name], name
    many = np.arange(8000)
    factors = sample_factors(1, many, 0 * many, many % 7, "all").factors
    kinds = factors["occluder"].long().bincount(minlength=len(OCCLUDERS)) / len(many)
    assert kinds[0] == pytest.approx(0.92, abs=0.015)
    assert kinds[1:].numpy() == pytest.approx(0.02, abs=0.008)
    yaw = factors["yaw"]
    assert yaw.min() < -85
    assert yaw.max() > 85
    # Of a triangular draw to the power 1.6: beyond 60° lie (1 - (2/3)^(1/1.6))^2 of the faces.
    assert (yaw.abs() > 60).float().mean() == pytest.approx(0.0501, abs=0.012)


@pytest.mark.parametrize("kind", range(1, len(OCCLUDERS)))
def test_occluders_hide_some_of_the_face(kind):
    given = {"occluder_x": 0.0, "occluder_y": -0.1, "occluder_hue": 0.4, "occluder_angle": 20.0}
    open_face = render_faces(plain(1, **given)).int()
    hidden = render_faces(plain(1, **given, occluder=float(kind))).int()
    share = ((open_face - hidden).abs().sum(1) > 20).float().mean()
    assert 0.02 < share < 0.6
    # Changes of eyes and mouth below the occluder are hidden.
    other = {"iris_tone": 1.0, "lip_tone": 1.0, "jaw_drop": 0.4}
    changed = (render_faces(plain(1, **given, **other, occluder=float(kind))).int() - hidden).abs()
    uncovered = (render_faces(plain(1, **given, **other)).int() - open_face).abs()
    assert changed.sum() < uncovered.sum() * (1.01 if kind == 3 else 0.95)


def test_blur_and_noise_are_as_strong_as_they_say():
    flat = plain(1, background_value=0.5, gradient_x=0.0, gradient_y=0.0, background_hue=0.5)
    clean = render_faces(flat, 128).float() / 255
    noisy = render_faces(flat | plain(1, noise=0.04, noise_offset=0.3), 128).float() / 255
    corner = (noisy - clean)[:, :, :24, :24]
    assert corner.std() == pytest.approx(0.04, rel=0.1)
    assert abs(float(corner.mean())) < 0.004
    # A blurred edge: its slope is that of the Gaussian's integral.
    bar = plain(1, occluder=4.0, occluder_angle=0.0, occluder_y=0.9, occluder_x=0.0)
    bar |= plain(1, zoom=0.3, shift_y=-0.4, background_value=1.0, occluder_hue=0.0)
    sigma = 0.02
    column = render_faces(bar | flat | plain(1, blur=sigma), 128)[0, 1, :, 4].float()
    sharp = render_faces(bar | flat, 128)[0, 1, :, 4].float()
    offsets = torch.arange(-8, 9)
    weights = torch.tensor([math.exp(-0.5 * (float(o) / (sigma * 128)) ** 2) for o in offsets])
    padded = torch.nn.functional.pad(sharp[None, None], (8, 8), mode="replicate")
    expected = torch.nn.functional.conv1d(padded, (weights / weights.sum())[None, None])[0, 0]
    assert (sharp.max() - sharp.min()) > 20
    assert (column - expected).abs().max() <= 1.5


def test_jpeg_loses_more_at_lower_quality():
    given = plain(1, noise=0.05, noise_offset=0.2)
    clean = render_faces(given).float()
    errors = [
        (render_faces(given | plain(1, jpeg_quality=float(q))).float() - clean).abs().mean()
        for q in (95, 50, 10)
    ]
    assert 0 < errors[0] < errors[1] < errors[2]
