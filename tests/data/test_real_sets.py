"""Real faces: exact counts, true labels, disjoint parts; none of a test is trained on."""

import csv
from collections import Counter

import numpy as np
import pytest

from ssl_faces.data import EXPRESSIONS, LFW, Fer2013, UTKFace, YouTubeKeypoints, in_test_share
from ssl_faces.pairs.module import FaceData
from tests.support.noise_sets import digest

SETS = {"fer2013": Fer2013, "lfw": LFW, "UTKFace": UTKFace, "youtube_keypoints": YouTubeKeypoints}


@pytest.fixture(scope="module")
def parts(real_data):
    """Every set in its three parts."""
    return {
        name: {part: kind(real_data / name, part) for part in ("train", "test", "all")}
        for name, kind in SETS.items()
    }


def test_fer2013_counts(parts):
    fer = parts["fer2013"]
    assert (len(fer["train"]), len(fer["test"])) == (28_709, 3_589)
    classes = Counter(EXPRESSIONS[r.labels["expression"]] for r in fer["train"].records)
    # The owner's figures for Training.
    assert classes == {
        "angry": 3995,
        "disgust": 436,
        "fear": 4097,
        "happy": 7215,
        "neutral": 4965,
        "sad": 4830,
        "surprise": 3171,
    }
    assert all(f"/{EXPRESSIONS[r.labels['expression']]}/" in r.key for r in fer["all"].records)


def test_lfw_counts(parts):
    lfw = parts["lfw"]["test"]
    assert isinstance(lfw, LFW)
    assert len(parts["lfw"]["all"]) == 6_688
    assert len(parts["lfw"]["all"].people) == 3_469
    assert len(lfw.pairs) == 2_700
    assert lfw.missing_pairs == []
    assert Counter((p.fold, p.same) for p in lfw.pairs) == {
        (fold, same): 270 for fold in range(5) for same in (True, False)
    }


def test_utkface_counts(real_data, parts):
    utk = parts["UTKFace"]["all"]
    assert sum(1 for _ in (real_data / "UTKFace").glob("*.jpg")) == 20_767
    assert len(utk) == 20_767 - 3
    assert sorted(skipped.key for skipped in utk.skipped) == [
        "39_1_20170116174525125.jpg.chip.jpg",
        "61_1_20170109142408075.jpg.chip.jpg",
        "61_1_20170109150557335.jpg.chip.jpg",
    ]
    assert {r.labels["gender"] for r in utk.records} == {0, 1}
    assert {r.labels["race"] for r in utk.records} == {0, 1, 2, 3, 4}
    assert min(r.labels["age"] for r in utk.records) == 1
    assert max(r.labels["age"] for r in utk.records) == 116


def test_youtube_counts_and_landmarks(parts):
    youtube = parts["youtube_keypoints"]["all"]
    assert len(youtube) == 3_462
    assert len(youtube.people) == 347
    assert youtube.skipped == []
    landmarks = np.stack([r.labels["landmarks"].numpy() for r in youtube.records])
    yaw, pitch, roll = np.stack([r.labels["pose"].numpy() for r in youtube.records]).T
    left_eye, right_eye = landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)
    eyes, mouth, nose = (left_eye + right_eye) / 2, landmarks[:, 48:60].mean(1), landmarks[:, 30]
    # iBUG order, and the sign convention of the class's docstring.
    assert (left_eye[:, 0] < right_eye[:, 0]).mean() > 0.99
    assert (eyes[:, 1] < mouth[:, 1]).mean() > 0.99
    tilt = np.degrees(np.arctan2(*(right_eye - left_eye).T[::-1]))
    assert np.corrcoef(roll, tilt)[0, 1] > 0.9
    assert np.corrcoef(yaw, nose[:, 0] - eyes[:, 0])[0, 1] < -0.8
    assert np.corrcoef(pitch, (nose - eyes)[:, 1] / (mouth - eyes)[:, 1])[0, 1] > 0.8


@pytest.mark.parametrize("name", SETS)
def test_parts_are_disjoint_and_whole(parts, name):
    train, test, both = (parts[name][part] for part in ("train", "test", "all"))
    in_train, in_test = ({r.key for r in faces.records} for faces in (train, test))
    assert not in_train & in_test
    assert in_train | in_test == {r.key for r in both.records}
    assert len(both) == len({r.key for r in both.records}), "keys are unique"
    assert not set(train.people) & set(test.people)
    assert not set(train.people) & train.held_out_people
    hashes = [{f.content_hash(i) for i in range(0, len(f), 9)} for f in (train, test)]
    assert name == "fer2013" or not hashes[0] & hashes[1]
    side = {"fer2013": 48, "lfw": 112, "UTKFace": 96, "youtube_keypoints": 128}[name]
    for i in range(0, len(both), len(both) // 50):
        image = both[i]["image"]
        assert image.shape == (3, side, side)
        assert image.float().std() > 1, both.records[i].key


@pytest.fixture(scope="module")
def real(real_data):
    data = FaceData(real_data)
    data.prepare_data()
    data.setup()
    return data


def test_real_faces_that_are_trained_on_are_in_no_test(real_data, real):
    """Against the test parts as the owners' files give them, read without the face sets."""
    rows = real.trained_on()
    hashes = {row[2] for row in rows}
    keys = {}
    for name, key, _ in rows:
        keys.setdefault(name, set()).add(key)
    assert set(keys) == {"cfp", "fer2013", "lfw", "utkface", "youtube_keypoints"}

    public = [p for p in (real_data / "fer2013" / "PublicTest").rglob("*") if p.is_file()]
    assert len(public) == 3_589
    assert not hashes & {digest(path) for path in public}
    assert all(key.startswith("Training/") for key in keys["fer2013"])

    pairs_file = next((real_data / "lfw").rglob("pairs.txt"))
    fields = [line.split() for line in pairs_file.read_text().splitlines()[1:]]
    people = {name for line in fields for name in line if not name.isdigit()}
    with (real_data / "youtube_keypoints" / "labels.csv").open(newline="") as stream:
        listed = {row["image"]: row["person"] for row in csv.DictReader(stream)}
    tested = {person for person in listed.values() if in_test_share(person)}
    assert people & set(listed.values()), "the two sets do share people"
    assert len(people) > 1_000
    assert len(tested) > 50
    assert not {key.partition("/")[0] for key in keys["lfw"]} & (people | tested)
    assert not {listed[key] for key in keys["youtube_keypoints"]} & (people | tested)
    lfw_tests = [p for p in pairs_file.parent.rglob("*.jpg") if p.parent.name in people]
    assert len(lfw_tests) > 4_000
    assert not hashes & {digest(path) for path in lfw_tests}
    frames = real_data / "youtube_keypoints" / "images"
    assert not hashes & {digest(frames / key) for key, who in listed.items() if who in tested}

    utk = {path.name: digest(path) for path in (real_data / "UTKFace").glob("*.jpg")}
    test_part = {found for found in utk.values() if in_test_share(found)}
    assert len(test_part) > 3_500
    assert not hashes & test_part
    assert all(not in_test_share(utk[key]) for key in keys["utkface"])

    listed_people = (real_data / "cfp" / "train_people.txt").read_text().split()
    assert {key.partition("/")[0] for key in keys["cfp"]} == set(listed_people)


def test_real_faces_are_counted(real):
    """49,101 of the 62,860 pictures that are there with PublicTest left out."""
    assert len(real.trained_on()) == 49_101
    counts = {
        d["name"]: (
            d["pictures"],
            d["left_out_as_copies_of_test_pictures"],
            d["left_out_as_pictures_of_test_people"],
            d["left_out_as_near_copies_of_test_pictures"],
            d["skipped"],
        )
        for d in real.description
    }
    assert counts == {
        "cfp": (2_254, 0, 0, 0, 0),
        "fer2013": (27_185, 351, 0, 1_173, 0),
        "lfw": (1_607, 2, 14, 4, 0),
        "utkface": (16_306, 0, 0, 311, 3),
        "youtube_keypoints": (1_749, 0, 1_119, 0, 0),
    }
