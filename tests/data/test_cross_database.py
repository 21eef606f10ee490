"""Two face sets as one across databases: who is on which side, over which classes, and read how."""

import numpy as np
import pytest

from ssl_faces.data import (
    EXPRESSIONS,
    W300LP,
    AffectNet,
    CKPlus,
    ClassFolders,
    FaceRecord,
    FaceSet,
    Fer2013,
    FERPlus,
    UTKFace,
    cross_database,
)
from tests.support.layouts import (
    affectnet_csv,
    ckplus,
    fer_folders,
    ferplus,
    keys,
    put_picture,
    utkface,
    w300lp,
)
from tests.support.refusals import message_of


def labels(faces, side):
    """Class by key of the pictures of a side, by the joined set's own names."""
    names = faces.class_names["expression"]
    return {
        r.key.removeprefix(f"{side}/"): names[r.labels["expression"]]
        for r in faces.records
        if r.key.startswith(f"{side}/")
    }


def own_labels(faces):
    names = faces.class_names["expression"]
    return {r.key: names[r.labels["expression"]] for r in faces.records if r.labels}


def test_fer2013_to_ckplus(tmp_path):
    fer = Fer2013(fer_folders(tmp_path / "fer"), "all")
    ck = CKPlus(ckplus(tmp_path / "ck"), "all")
    faces = cross_database(fer, ck)
    assert (faces.title, faces.name) == ("FER-2013 -> CK+", "fer2013-to-ckplus")
    assert faces.split == "training part of FER-2013 -> all of CK+, 7 classes"
    assert faces.folds is None
    assert faces.class_names["expression"] == EXPRESSIONS
    assert labels(faces, "train") == own_labels(Fer2013(tmp_path / "fer", "train"))
    assert labels(faces, "test") == own_labels(ck), "what has no label is on neither side"
    test = faces.test_part()
    assert keys(test) == [f"test/{key}" for key in own_labels(ck)]
    assert {r.person for r in test.records} == {f"test/{r.person}" for r in ck.records if r.labels}
    for i in (0, 6, 7, len(faces) - 1):
        side, _, key = faces.records[i].key.partition("/")
        source = fer if side == "train" else ck
        row = keys(source).index(key)
        np.testing.assert_array_equal(faces.read(i), source.read(row))
        assert faces.content_hash(i) == source.content_hash(row)
        assert faces.version(i) == source.version(row)
    np.testing.assert_array_equal(test.read(5), faces.read(12))
    many = faces.read_many([9, 0, 8, -1])
    for i, picture in zip((9, 0, 8, len(faces) - 1), many, strict=True):
        np.testing.assert_array_equal(picture, faces.read(i))


def test_a_set_in_folds_is_learnt_from_whole(tmp_path):
    ck = CKPlus(ckplus(tmp_path / "ck"), "all")
    fer = Fer2013(fer_folders(tmp_path / "fer"), "all")
    faces = cross_database(ck, fer)
    assert faces.split == "all of CK+ -> all of FER-2013, 7 classes"
    assert labels(faces, "train") == own_labels(ck)
    assert labels(faces, "test") == own_labels(fer)
    assert set(faces.people) == {f"train/{r.person}" for r in ck.records if r.labels}


def test_classes_are_matched_by_name_and_others_left_out(tmp_path):
    plus = FERPlus(ferplus(tmp_path / "fer"), "all")
    affect = AffectNet(affectnet_csv(tmp_path / "affect"), "all")
    for names in (("sad", "happy", "fear"), ("bored", "happy", "sad")):
        for i, name in enumerate(names):
            put_picture(tmp_path / f"{names[0]}-first" / name / "1.png", 30 * i)
    three = ClassFolders(tmp_path / "sad-first")
    wide = cross_database(plus, affect)
    assert wide.class_names["expression"] == EXPRESSIONS
    assert wide.split.endswith("7 classes, without contempt")
    assert "contempt" not in labels(wide, "train").values()
    narrow = cross_database(plus, three)
    assert narrow.class_names["expression"] == ("fear", "happy", "sad")
    assert labels(narrow, "test") == {f"{n}/1.png": n for n in ("fear", "happy", "sad")}
    assert set(labels(narrow, "train").values()) == {"fear", "happy", "sad"}
    assert sorted({r.labels["expression"] for r in narrow.records}) == [0, 1, 2]
    assert narrow.split == (
        "training part of FERPlus -> all of sad-first, 3 classes, without angry, disgust, neutral, "
        "surprise, contempt"
    )
    assert all(set(r.labels) == {"expression"} for r in wide.records), "no other label"
    boxed = cross_database(affect, plus).records
    assert [r.box for r in boxed[:3]] == [r.box for r in affect.records[:3]]


def test_people_of_one_name_in_two_sets_are_two(tmp_path):
    def faces(name):
        paths = [put_picture(tmp_path / name / f"{k}.png", 20 * k) for k in range(2)]
        records = [FaceRecord(p.name, p, "Ann", {"expression": k}) for k, p in enumerate(paths)]
        return FaceSet(name, "all", records)

    both = cross_database(faces("one"), faces("two"))
    assert both.people == ["test/Ann", "train/Ann"]
    assert both[0]["person"] != both[2]["person"]


def test_sets_that_do_not_serve(tmp_path):
    fer = Fer2013(fer_folders(tmp_path / "fer"), "all")
    ck = CKPlus(ckplus(tmp_path / "ck"), "all")
    utk = UTKFace(utkface(tmp_path / "utk"), "all")
    assert "UTKFace has no picture with the label expression to test on" in message_of(
        cross_database, fer, utk
    )
    assert "UTKFace has no picture with the label expression to learn from" in message_of(
        cross_database, utk, fer
    )
    nobody = CKPlus(ckplus(tmp_path / "few", people=4), "train")
    assert "CK+ has no picture with the label expression to test on" in message_of(
        cross_database, fer, nobody
    )
    assert "FER-2013 and FER-2013 have the same pictures" in message_of(cross_database, fer, fer)
    plus = FERPlus(ferplus(tmp_path / "plus"), "all")
    assert "FER-2013 and FERPlus have the same pictures" in message_of(cross_database, fer, plus)
    poses = W300LP(w300lp(tmp_path / "lp"), "all")
    other = FaceSet("other", "all", poses.records)
    assert "its label pose has no classes" in message_of(cross_database, poses, other, "pose")
    assert len(cross_database(fer, ck)) > 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cat", "dog"), "has the classes owl, rat of category and one cat, dog: no class is in"),
        (("cat", "owl"), "has the classes owl, rat of category and one cat, owl: only one class"),
    ],
)
def test_classes_of_which_too_few_are_in_both(tmp_path, names, message):
    for folder, those in (("one", names), ("two", ("owl", "rat"))):
        for i, name in enumerate(those):
            for k in range(9):
                put_picture(tmp_path / folder / name / f"{k}.png", 50 * i + k)
    sets = [ClassFolders(tmp_path / folder) for folder in ("two", "one")]
    assert message in message_of(cross_database, *sets, "category")
