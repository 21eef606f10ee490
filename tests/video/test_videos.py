"""Videos from frames to figures: splits, scores and bad input."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linear_probe.cli import main
from linear_probe.experiments.job_files import run_job
from linear_probe.experiments.video.data import FolderVideos, KeypointVideos, RenderedVideos
from linear_probe.experiments.video.sequences import (
    STATISTICS,
    Sequences,
    check_statistics,
    sequence_statistics,
)
from linear_probe.plans.claims.settings import Claims
from linear_probe.records.record import RECORDS_FILE, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.tasks import MissingData
from ssl_faces import InputError, save_encoder
from ssl_faces.data import in_test_share
from ssl_faces.data.sets.youtube_keypoints import COLUMNS
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.rendered import RenderedClips
from tests.claims.stand_ins import run_all
from tests.support.cells import cells
from tests.support.refusals import error_of
from tests.support.threads import one_thread

ROOT = Path(__file__).parents[2]
VIDEO = ["video", "-c", str(ROOT / "configs/head/video_statistics.yaml"), "--bootstrap", "50"]


_one_thread = pytest.fixture(autouse=True)(one_thread)


@pytest.fixture
def encoder(tmp_path):
    torch.manual_seed(0)
    return str(save_encoder(BackboneEncoder("resnet18", 16, 0.0625), tmp_path / "e", {}))


def write_clips(root, classes, clips, seed, frames=4):
    """Clips of any colours: in the first class they stay, in others they flicker."""
    rng = np.random.default_rng(seed)
    for changes, name in enumerate(classes):
        for clip in range(clips):
            folder = root / name / f"{clip:03d}"
            folder.mkdir(parents=True)
            colours = rng.integers(40, 216, (2, 2, 3))
            for frame in range(frames):
                flicker = rng.integers(-30, 31, colours.shape) * bool(changes)
                pixels = (colours + flicker).repeat(8, axis=0).repeat(8, axis=1)
                noisy = pixels + rng.integers(-2, 3, pixels.shape)
                Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{frame:03d}.png")
    return root


@pytest.fixture
def folders(tmp_path):
    train = write_clips(tmp_path / "train", ["calm", "lively"], 24, 0)
    test = write_clips(tmp_path / "test", ["calm", "lively"], 16, 1)
    return ["--data", "FolderVideos", "--data.train", str(train), "--data.test", str(test)]


def accuracy(out):
    return [r for r in read_records(out / RECORDS_FILE) if r.metric == "accuracy"]


def test_what_only_the_spread_tells_the_mean_does_not(encoder, folders, tmp_path):
    out = tmp_path / "out"
    words = [*VIDEO, *folders, "--encoder", encoder, "--seeds", "[0, 1]", "--out", str(out)]
    assert main(words) == 0
    assert main([*words, "--statistics", '["mean"]']) == 0
    records = accuracy(out)
    assert [r.seed for r in records] == [0, 1, 0, 1]
    several, mean = records[:2], records[2:]
    assert min(r.value for r in several) > 75
    assert max(r.value for r in mean) < 65
    assert several[0].probe == "logistic regression on mean, std, min, max"
    assert (several[0].task, several[0].n) == ("video classes", 32)
    assert "trained on 48 sequences; 4 frames a sequence" in several[0].note
    # Of the same videos and draws: `gap` may compare them.
    assert len({r.sample for r in records}) == 1
    replicates = read_replicates(out / REPLICATES_FILE)
    assert all(len(replicates[r.name]) == 50 for r in records)
    recalls = [r for r in read_records(out / RECORDS_FILE) if r.metric == "mean class recall"]
    assert [r.value for r in recalls] == [r.value for r in records]


def test_frames_and_videos_that_cannot_be_read_are_left_out_and_counted(encoder, folders, tmp_path):
    for place in ("train/calm/003/001.png", *(f"test/lively/002/{i:03d}.png" for i in range(4))):
        (tmp_path / place).write_bytes(place.encode())
    (tmp_path / "train/calm/empty").mkdir()
    out = tmp_path / "out"
    assert main([*VIDEO, *folders, "--encoder", encoder, "--out", str(out)]) == 0
    (record,) = accuracy(out)
    assert record.n == 31
    assert "trained on 48 sequences" in record.note
    assert "5 frames that can't be decoded left out" in record.note
    assert "2 left out without a frame (a video with no face)" in record.note
    with (out / "skipped.csv").open(newline="") as stream:
        reasons = {row["picture"]: row["reason"] for row in csv.DictReader(stream)}
    assert reasons["test/lively/002"] == "a video with no face: none of its 4 frames is left"
    assert reasons["train/calm/empty"] == "a video with no face: its folder holds no picture"
    assert "train/calm/003/001.png" in reasons


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--statistics", "[]"], "statistics: none; give some of"),
        (["--space", "nowhere"], "unknown feature space 'nowhere'"),
        (["--encoder", "nowhere"], "encoder nowhere: no card.json there"),
        (["--seeds", "[]"], "seeds: none given"),
        (["--data.train", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input(more, message, encoder, folders, tmp_path, capsys):
    words = [*VIDEO, "--encoder", encoder, *folders, *more, "--out", str(tmp_path / "out")]
    assert message in error_of(main, capsys, words)
    assert not (tmp_path / "out" / RECORDS_FILE).exists()


def test_a_class_whose_videos_have_no_face_is_told(encoder, folders, tmp_path, capsys):
    for picture in (tmp_path / "train/lively").rglob("*.png"):
        picture.write_bytes(b"none")
    words = [*VIDEO, *folders, "--encoder", encoder, "--out", str(tmp_path / "out")]
    lost = "no training sequence of 'lively' is left (a video with no face: 24 left out)"
    assert lost in error_of(main, capsys, words)


def test_a_frame_outside_of_a_clip_is_told(folders, tmp_path):
    (tmp_path / "train/calm/000/000.png").rename(tmp_path / "train/calm/loose.png")
    with pytest.raises(InputError, match=r"train/calm/loose.png lies in no clip's folder"):
        FolderVideos(str(tmp_path / "train"), str(tmp_path / "test")).sequences(tmp_path)


def test_rendered_videos_are_whole_clips_of_people_on_one_side():
    found = RenderedVideos(clips=120, people=40, frames=8, fps=4).sequences(Path())
    clips = RenderedClips(120, 40, 8, 4.0, "all", nuisances="none")
    people = np.array(found.people)
    assert not {*people[found.folds == 0]} & {*people[found.folds < 0]}
    assert all(in_test_share(person) for person in people[found.folds == 0])
    assert len(set(found.keys)) == len(found) == 120
    peaks = set()
    for rows, key, label in zip(found.frames, found.keys, found.labels, strict=True):
        frames = [clips.records[i] for i in rows.tolist()]
        assert {frame.key.rpartition("/")[0] for frame in frames} == {key}
        strongest = max(frames, key=lambda frame: float(frame.labels["intensity"]))
        peaks.add(strongest.labels["frame"])
        if strongest.labels["intensity"] >= 0.2:
            assert (
                clips.class_names["expression"][strongest.labels["expression"]]
                == (found.class_names[label])
            )
    # They come and go when they will.
    assert len(peaks) > 3


def write_people(root, clips):
    folder = root / "youtube_keypoints"
    (folder / "images").mkdir(parents=True)
    rows = []
    for person, count in clips.items():
        for clip in range(count):
            for frame in range(3):
                name = f"{person}_{clip + 2}{frame}.jpg"
                Image.new("RGB", (16, 16)).save(folder / "images" / name)
                rows.append([name, person, *["1"] * (len(COLUMNS) - 2)])
    with (folder / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return folder


def test_each_clip_of_a_person_is_asked_once_by_the_others(tmp_path):
    write_people(tmp_path, {"Ann_Other": 3, "Bob": 4, "Cy": 1, "Di": 2})
    found = KeypointVideos(str(tmp_path), part="all").sequences(tmp_path)
    assert list(found.class_names) == ["Ann_Other", "Bob", "Di"]
    assert found.names_people
    assert [len(rows) for rows in found.frames] == [3] * 9
    assert [found.faces.records[i].key for i in found.frames[1].tolist()] == [
        f"Ann_Other_3{frame}.jpg" for frame in range(3)
    ]
    asked = [i for _, test in found.splits() for i in test.tolist()]
    assert sorted(asked) == list(range(9))
    for train, test in found.splits():
        assert not {*train.tolist()} & {*test.tolist()}
        chosen = found.validation(train, 0)
        for label in range(3):
            here = found.labels[train] == label
            # One of each who has two, and never the only one.
            assert chosen[here].sum() == (here.sum() > 1)
    drawn = {tuple(found.validation(found.splits()[0][0], seed)) for seed in range(20)}
    assert len(drawn) > 1


def test_names_that_tell_no_clip_and_missing_sets_are_told(tmp_path):
    folder = write_people(tmp_path, {"Ann": 2})
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("Ann_21.jpg", "Ann_x.jpg"))
    (folder / "images" / "Ann_21.jpg").rename(folder / "images" / "Ann_x.jpg")
    with pytest.raises(InputError, match=r"Ann_x.jpg is not called Person_<clip><frame>.jpg"):
        KeypointVideos(str(tmp_path), part="all").sequences(tmp_path)
    write_clips(tmp_path / "other", ["calm", "lively"], 1, 0)
    with pytest.raises(MissingData, match="video identity needs YouTube keypoints, which"):
        KeypointVideos(str(tmp_path / "other")).sequences(tmp_path)


def few(labels, folds, people=None):
    faces = RenderedClips(8, 8, 4, part="all")
    return Sequences(
        *("video expression", faces, "split", [np.arange(3) + i for i in range(len(labels))]),
        *([f"v{i}" for i in range(len(labels))], np.array(labels), ["a", "b", "c"]),
        *(np.array(folds), people),
    )


@pytest.mark.parametrize(
    ("labels", "folds", "message"),
    [
        ([0, 0, 0], [-1, -1, 0], "every training sequence is of 'a', and a classifier needs two"),
        ([0, 1, 2], [-1, -1, 0], "no training sequence of 'c' is left, and test sequences are"),
        ([0, 1], [0, 0], "no sequence left to train on; give more videos"),
        ([0, 1], [-1, -1], "no sequence left to score on; give more videos"),
    ],
)
def test_splits_that_teach_nothing_are_told(labels, folds, message):
    with pytest.raises(InputError, match=f"video expression: .*{message}"):
        few(labels, folds).splits()


def test_too_few_to_choose_on_is_told():
    alone = few([0, 1, 0], [-1, -1, 0], ["p", "p", "q"])
    with pytest.raises(InputError, match="2 training sequences of 1 people or videos, too few"):
        alone.validation(np.array([0, 1]), 0)
    people = few([0, 1, 0, 1], [0, 0, 1, 1], ["a", "b", "a", "b"])
    with pytest.raises(InputError, match="no person has two training sequences"):
        people.validation(np.array([0, 1]), 0)


def test_no_person_validates_and_teaches():
    people = [f"p{i % 10}" for i in range(40)]
    found = few([i % 2 for i in range(40)], [-1] * 40, people)
    validation = found.validation(np.arange(40), 3)
    sides = [{p for p, v in zip(people, validation, strict=True) if v == side} for side in (0, 1)]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]


def test_frames_are_evenly_spaced_from_first_to_last():
    found = replace(few([0], [0]), frames=[np.arange(10, 20)])
    assert found.spaced(4).frames[0].tolist() == [10, 13, 16, 19]
    assert found.spaced(20).frames[0].tolist() == list(range(10, 20))
    assert found.spaced(1).frames[0].tolist() == [10]


def test_untrained_weights_are_of_the_seed(encoder, folders, tmp_path):
    out = tmp_path / "out"
    words = [*VIDEO, *folders, "--encoder", encoder, "--untrained", "true", "--seeds", "[0, 1]"]
    assert main([*words, "--space", "pooled", "--out", str(out)]) == 0
    records = accuracy(out)
    assert {r.encoder for r in records} == {f"{encoder}, untrained"}
    assert len({r.fingerprint for r in records}) == 2


def test_as_arms_of_a_claim_they_share_features(encoder, folders, tmp_path, monkeypatch):
    config = str(ROOT / "configs/head/video_statistics.yaml")
    arguments = {"encoder": encoder, "bootstrap": 50, "data": "FolderVideos"}
    arguments |= {"data.train": folders[3], "data.test": folders[5]}
    arm = {"command": "video", "configs": [config], "arguments": arguments}
    mean = {**arm, "arguments": {**arguments, "statistics": ["mean"]}}
    claim = {"says": "s", "paper": "p", "published": "p", "idea": arm, "without": mean}
    claims = Claims.model_validate(
        {
            "seeds": [0, 1, 2],
            "arguments": {"task": "expression"},
            "smallest": [{"effect": 1.0, "metrics": ["accuracy"], "reason": "a point"}],
            "claims": {"one": claim},
        }
    )
    computed = []
    forward = BackboneEncoder.forward

    def counted(self, images, *rest):
        computed.append(len(images))
        return forward(self, images, *rest)

    monkeypatch.setattr(BackboneEncoder, "forward", counted)

    table = run_all(claims, tmp_path / "claims", run_job)
    row = cells(table)
    assert (row["seeds"], row["verdict"]) == ("3", "supported")
    assert sum(computed) == 4 * 2 * (24 + 16)


def by_loop(frames, statistics):
    """The vector of one sequence, number by number."""
    vector = []
    for name in statistics:
        for column in zip(*frames, strict=True):
            mean = sum(column) / len(column)
            spread = math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))
            of = {"mean": mean, "std": spread, "min": sorted(column)[0], "max": sorted(column)[-1]}
            vector.append(of[name])
    length = math.sqrt(sum(value**2 for value in vector))
    return [value / length for value in vector]


@pytest.mark.parametrize("statistics", [["mean", "std", "min", "max"], ["mean"], ["max", "std"]])
def test_a_loop_says_the_same(statistics):
    features = torch.from_numpy(np.random.default_rng(0).normal(1, 2, (9, 5)))
    sequences = [np.array([0, 1, 2]), np.array([8]), np.array([3, 7, 5, 4])]
    found = sequence_statistics(features, sequences, statistics)
    expected = [by_loop(features[rows].tolist(), statistics) for rows in map(list, sequences)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert found.shape == (3, 5 * len(statistics))


def test_frames_may_come_in_any_order_and_the_whole_vector_has_length_one():
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 3)))
    one = sequence_statistics(features, [np.arange(6)])
    other = sequence_statistics(features, [np.array([5, 2, 0, 1, 4, 3])])
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(1, dtype=torch.float64))
    # Not each statistic: they keep their proportions.
    parts = one.view(len(STATISTICS), 3).norm(dim=1)
    assert parts.max() < 1
    torch.testing.assert_close(one[0, :3] / one[0, 6:9], features.mean(0) / features.amin(0))


def test_what_is_nowhere_stays_nowhere():
    single = sequence_statistics(torch.ones(1, 4), [np.array([0])], ["std"])
    assert (single == 0).all()
    assert sequence_statistics(torch.ones(1, 4), [], ["mean", "max"]).shape == (0, 8)


@pytest.mark.parametrize("statistics", [[], ["median"], ["mean", "mean"]])
def test_bad_statistics(statistics):
    with pytest.raises(InputError, match="give some of mean, std, min, max, each once"):
        check_statistics(statistics)
