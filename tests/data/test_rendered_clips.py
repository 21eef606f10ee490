"""Rendered clips: neutral, an expression, neutral again; one person, one scene, a moving head."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssl_faces.data.faces import EXPRESSIONS
from ssl_faces.data.store.cached import pack
from ssl_faces.data.store.stored_faces import StoredFaces
from ssl_faces.pairs.pairing import PairBatches
from ssl_faces.rendered import ACTION_UNITS, FACTORS, RenderedClips, minimum_jerk
from ssl_faces.rendered.clips import LEAST_INTENSITY, LONGEST, SHORTEST, SWAYS, Timing
from ssl_faces.rendered.labels import AFFECT

FRAMES = 25


@pytest.fixture(scope="module")
def clips():
    return RenderedClips(12, 12, FRAMES, 12.5, "all", size=32)


def of_clip(clips, clip):
    return clips.factors(range(clip * FRAMES, (clip + 1) * FRAMES))


def test_minimum_jerk_has_the_boundary_conditions_that_define_it():
    at = np.linspace(0, 1, 100_001)
    way = minimum_jerk(at)
    speed = np.gradient(way, at)
    assert (way[0], way[-1]) == (0, 1)
    assert abs(speed[[0, -1]]).max() < 1e-4
    assert abs(np.gradient(speed, at)[[1, -2]]).max() < 1e-2
    assert speed.max() == pytest.approx(15 / 8, rel=1e-6)  # known peak of the profile
    assert (np.diff(way) >= 0).all()
    # Its sixth derivative is 0: a polynomial of the fifth degree.
    assert abs(np.diff(minimum_jerk(np.linspace(0, 1, 12)), 6)).max() < 1e-9


@given(st.integers(0, 2**40), st.integers(0, 10**6), st.floats(0.2, 60))
def test_expressions_rise_stay_and_fall_within_the_clip(seed, person, seconds):
    timing = Timing(seed, np.array([person]), np.array([0]), seconds)
    lasts = float(timing.end[0] - timing.start[0])
    assert min(SHORTEST, seconds) - 1e-9 <= lasts <= min(LONGEST, seconds) + 1e-9
    assert timing.start >= 0
    assert timing.end <= seconds + 1e-9
    assert timing.start < timing.apex < timing.fade < timing.end
    strength = np.array([float(timing.strength(np.array([t]))[0]) for t in (0, timing.apex[0])])
    assert strength[0] == 0
    assert strength[1] == pytest.approx(1)
    time = np.linspace(0, seconds, 200)
    course = np.concatenate([timing.strength(np.array([t])) for t in time])
    peak = int(course.argmax())
    assert (np.diff(course[: peak + 1]) >= -1e-12).all()
    assert (np.diff(course[peak:]) <= 1e-12).all()


def test_a_clip_begins_and_ends_neutral_and_peaks_between(clips):
    for clip in range(12):
        units = torch.stack([of_clip(clips, clip)[unit] for unit in ACTION_UNITS], dim=1)
        assert not units[[0, -1]].any()
        assert units.amax(0).max() > 0.3
        records = clips.records[clip * FRAMES : (clip + 1) * FRAMES]
        intensities = np.array([r.labels["intensity"] for r in records])
        classes = {r.labels["expression"] for r in records}
        assert len(classes) == 2
        assert EXPRESSIONS.index("neutral") in classes
        shown = EXPRESSIONS[(classes - {EXPRESSIONS.index("neutral")}).pop()]
        for record, intensity, frame in zip(records, intensities, range(FRAMES), strict=True):
            known = record.labels
            expected = "neutral" if intensity < LEAST_INTENSITY else shown
            assert EXPRESSIONS[known["expression"]] == expected
            assert known["valence"] == pytest.approx(AFFECT[shown][0] * intensity, abs=1e-6)
            assert known["arousal"] == pytest.approx(AFFECT[shown][1] * intensity, abs=1e-6)
            assert (known["clip"], known["frame"]) == (clip, frame)
            assert known["landmarks_3d"].shape == (68, 3)
        # All units go together: each frame's are one share of the peak's.
        peak = int(intensities.argmax())
        share = torch.from_numpy(intensities / intensities[peak]).float()
        assert torch.allclose(units, share[:, None] * units[peak], atol=1e-5)


def test_only_face_pose_gaze_and_noise_move(clips):
    moving = {*ACTION_UNITS, *SWAYS, "noise_offset"}
    still = [name for name in FACTORS if name not in moving]
    for clip in range(12):
        factors = of_clip(clips, clip)
        assert all(torch.equal(factors[n], factors[n][:1].expand(FRAMES)) for n in still)
        for name, sway in SWAYS.items():
            steps = factors[name].diff()
            assert factors[name].amax() - factors[name].amin() > 0
            assert steps.abs().max() < sway * 0.4  # smooth: a small part of its reach a frame
    base = torch.stack([of_clip(clips, clip)["head_width"][0] for clip in range(12)])
    assert len(base.unique()) == 12


def test_turning_heads_go_through_independent_poses():
    """Unlike swaying ones, whose frames stay near the pose of the clip."""
    count = 200
    poses = {}
    for head in ("sway", "turn"):
        clips = RenderedClips(count, count, 9, 4.0, "all", size=16, head=head)
        factors = clips.factors(range(9 * count))
        yaw = factors["yaw"].view(count, 9).numpy()
        assert abs(yaw).max() <= 60 + 18 * (head == "sway")
        poses[head] = np.corrcoef(yaw[:, 0], yaw[:, -1])[0, 1]
        steady = [unit for unit in ACTION_UNITS if factors[unit].any()]
        poses[f"{head} units"] = torch.stack([factors[unit] for unit in steady])
    assert abs(poses["turn"]) < 0.2
    assert poses["sway"] > 0.6
    assert torch.equal(poses["sway units"], poses["turn units"])
    keys = {clips.records[i].key for i in range(9)}
    assert not keys & {RenderedClips(count, count, 9, 4.0, "all", size=16).records[0].key}
    test = RenderedClips(40, 40, 4, head="turn").test_part()
    assert test.records.head == "turn"


def test_frames_are_the_same_from_any_batch_and_copy(clips):
    whole = clips.render_batch(range(60))
    copy = pickle.loads(pickle.dumps(clips))
    for i in (0, 24, 25, 59):
        assert torch.equal(copy.render_batch([i])[0], whole[i])
        assert torch.equal(clips[i]["image"], whole[i])
    changes = (whole[1:].int() - whole[:-1].int()).abs().float().flatten(1).mean(1)
    within = torch.tensor([i % FRAMES != FRAMES - 1 for i in range(59)])
    assert changes[within].max() < changes[~within].min()  # neighbours look alike, clips don't


def test_parts_share_no_person_and_keep_whole_clips():
    parts = [RenderedClips(40, 20, 8, part=part, size=16) for part in ("train", "test", "all")]
    train, test, everything = parts
    assert not set(train.people) & set(test.people)
    assert len(train) + len(test) == len(everything) == 320
    assert all(len(part) % 8 == 0 for part in parts)
    place = {record.key: i for i, record in enumerate(everything.records)}
    assert len(place) == 320
    chosen = list(range(0, len(test), 7))
    where = [place[test.records[i].key] for i in chosen]
    assert torch.equal(test.render_batch(chosen), everything.render_batch(where))
    assert train.held_out_people == frozenset(test.people)
    found = train.test_part()
    assert [r.key for r in found.records] == [r.key for r in test.records]


def test_pairs_of_pretraining_are_frames_of_one_clip(clips, tmp_path):
    images = clips.render_batch(range(len(clips))).numpy()
    of_picture = {picture.tobytes(): i // FRAMES for i, picture in enumerate(images)}
    faces = StoredFaces([pack(clips, clips.size, tmp_path)])
    batches = list(PairBatches(faces, batch_size=20, flip_share=0.0, seed=1))
    assert batches
    for batch in batches:
        for first, second in batch["pairs"].numpy():
            assert of_picture[first.tobytes()] == of_picture[second.tobytes()]
