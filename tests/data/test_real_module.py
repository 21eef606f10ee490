"""The data module on the real faces: none of them is in a test."""

import csv

import pytest

from ssl_faces.data import in_test_share
from ssl_faces.pairs.module import FaceData
from tests.support.noise_sets import digest


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
