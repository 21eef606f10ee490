"""Every data set on small made-up copies of its owner's layout: one contract."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import torch

from ssl_faces.data import (
    AFLW2000,
    CFP,
    CPLFW,
    EXPRESSIONS,
    LFW,
    SFEW,
    W300LP,
    AffectNet,
    AffectNet8,
    Biwi,
    CFPFrontal,
    CKPlus,
    ClassFolders,
    FaceRecord,
    FaceSet,
    Fer2013,
    FERPlus,
    OuluCasia,
    RafDb,
    UTKFace,
    YouTubeKeypoints,
    find_face_sets,
)
from ssl_faces.data.sets.recognised import REGISTRY
from tests.support import layouts as made
from tests.support.layouts import keys


def spelt(names, at):
    """The class by the folder `at` of the key."""
    table = names if isinstance(names, dict) else {name: name.lower() for name in names}
    return lambda record: table[record.key.split("/")[at]]


def digits(record):
    return int("".join(c for c in record.key.rpartition("/")[2] if c.isdigit()))


def ferplus_truth(record):
    return str(made.FERPLUS_ROWS[digits(record)][3])


def ckplus_truth(record):
    person, number, frame = record.key.split("/")
    assert frame[-5] in "1456", "the first frame and the last three"
    place = (int(person[1:]) + int(number)) % 6
    return "neutral" if frame[-5] == "1" else tuple(made.OULU.values())[place]


def oulu_truth(record):
    person, name, frame = record.key.split("/")
    number, last = int(frame[:3]), 4 + (int(person[1:]) + list(made.OULU).index(name)) % 3
    assert number == 0 or number > last - 3
    return "neutral" if number == 0 else made.OULU[name]


def affect(record):
    i = digits(record)
    return {"valence": i / 22 - 0.5, "arousal": i / -44}


def utk(record):
    return dict(zip(("age", "gender", "race"), map(int, record.key.split("_")[:3]), strict=True))


@dataclass(frozen=True)
class Layout:
    """A layout and what must be found in it.

    Attributes:
        parts: the number of images of train, test and all.
        shows: the expression of a record, where the set has some.
        numbers: other labels of a record, to compare.
        skipped: how many images `all` skips.
    """

    kind: type[FaceSet]
    make: Callable[[Path], object]
    parts: tuple[int, int, int]
    split: str
    labels: set[str] = field(default_factory=lambda: {"expression"})
    shows: Callable[[FaceRecord], str] | None = None
    numbers: Callable[[FaceRecord], dict[str, float]] | None = None
    skipped: int = 0


FER, PRIVATE = "Training -> PublicTest", "Training -> PrivateTest"
BYTES = "by the pictures' bytes, a fifth for the test"
FOLDS, WHOLE = "10 folds by person", "10 folds by person, whole frames"
ALIGNED, ALIGNED_VAL = "Train_Aligned_Faces", "Val_Aligned_Faces"
AFFECT = {"expression", "valence", "arousal"}
in_usage, in_side = spelt(EXPRESSIONS, 1), spelt(made.SFEW_CLASSES, -2)
kaggle = partial(made.fer_folders, usages=("train", "test", "val"))
plus = made.ferplus_folders
lfw_pairs_of_two = partial(made.lfw, pairs=made.TWO_FOLDS)


def raf(record):
    return made.RAF_CLASSES[digits(record) % 7]


def affectnet(record, classes=made.AFFECT_CLASSES):
    return classes[digits(record) % 11]


def oulu(place, split):
    make = partial(made.oulucasia, place=f"{place}/Strong", people=4)
    return Layout(OuluCasia, make, (0, 96, 96), split, shows=oulu_truth)


def sfew(train, val, split):
    return Layout(SFEW, partial(made.sfew, train=train, val=val), (21, 7, 28), split, shows=in_side)


LAYOUTS = [
    Layout(Fer2013, made.fer_folders, (7, 7, 14), FER, shows=in_usage),
    Layout(Fer2013, kaggle, (7, 7, 14), "train -> test", shows=in_usage),
    Layout(FERPlus, made.ferplus, (0, 2, 11), PRIVATE, shows=ferplus_truth, skipped=4),
    Layout(FERPlus, plus, (9, 2, 11), PRIVATE, shows=ferplus_truth, skipped=4),
    Layout(FERPlus, partial(plus, home="data"), (9, 2, 11), PRIVATE, skipped=4),
    Layout(FERPlus, partial(plus, home="images"), (9, 2, 11), PRIVATE, skipped=4),
    Layout(RafDb, made.rafdb, (10, 4, 14), "train -> test", shows=raf),
    Layout(RafDb, partial(made.rafdb, nested=True), (10, 4, 14), "train -> test", shows=raf),
    *(
        Layout(AffectNet, make, (14, 7, 21), split, AFFECT, affectnet, affect, skipped=12)
        for make in (made.affectnet_csv, made.affectnet_arrays)
        for split in ("training -> validation",)
    ),
    Layout(
        *(AffectNet8, made.affectnet_csv, (0, 8, 24), "training -> validation"),
        shows=partial(affectnet, classes=(*made.AFFECT_CLASSES, "contempt")),
        skipped=9,
    ),
    sfew("Train", "Val", "Train -> Val, whole frames"),
    sfew(ALIGNED, ALIGNED_VAL, "Train -> Val"),
    sfew(ALIGNED, f"{ALIGNED_VAL}_new", "Train -> Val"),
    sfew(f"Train/{ALIGNED}", f"Val/{ALIGNED_VAL}", "Train -> Val"),
    Layout(CKPlus, made.ckplus, (24, 76, 100), FOLDS, shows=ckplus_truth, skipped=1),
    oulu("OriginalImg/VL", WHOLE),
    oulu("B_OriginalImg/VL", WHOLE),
    oulu("B_OriginalImg/B_OriginalImg/OriginalImg/VL", WHOLE),
    oulu("VL", WHOLE),
    oulu("PreProcess Img/VL_Acropped", FOLDS),
    oulu("PreProcess_Img/VL_Acropped", FOLDS),
    Layout(LFW, lfw_pairs_of_two, (4, 6, 10), "", set(), skipped=2),
    Layout(CPLFW, made.cplfw, (1, 40, 41), "", set()),
    Layout(CFP, made.cfp, (0, 20, 20), "", set()),
    Layout(CFP, made.cfp_tables, (10, 10, 20), "", set()),
    Layout(CFPFrontal, made.cfp_tables, (0, 6, 6), "", set()),
    Layout(UTKFace, made.utkface, (51, 9, 60), BYTES, {"age", "gender", "race"}, numbers=utk),
    Layout(YouTubeKeypoints, made.youtube, (46, 14, 60), "by person", {"pose", "landmarks"}),
    Layout(W300LP, made.w300lp, (24, 0, 24), "", {"pose"}),
    Layout(AFLW2000, made.aflw2000, (0, 5, 5), "", {"pose"}),
    Layout(Biwi, made.biwi, (22, 6, 28), "by recording", {"pose"}),
    Layout(ClassFolders, made.class_folders, (34, 6, 40), BYTES, shows=spelt(("happy", "Sad"), 0)),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind.__name__)
def test_a_layout_is_recognised_listed_and_split(layout, tmp_path):
    root = tmp_path / "data" / "set"
    layout.make(root)
    (train,) = [f for f in find_face_sets(root.parent) if type(f) is layout.kind]
    kind = layout.kind
    again, test, both = (kind(root, part) for part in ("train", "test", "all"))
    assert (train.place, keys(train)) == (root, keys(again))
    assert (len(train), len(test), len(both)) == layout.parts
    assert both.split == layout.split
    assert len(both.skipped) == layout.skipped
    assert len(set(keys(both))) == len(both), "keys are unique"
    assert not set(keys(train)) & set(keys(test))
    assert {*keys(train), *keys(test)} <= set(keys(both))
    part = both.test_part()
    assert both.has_test_part == (part is not None) == (layout.kind is not W300LP)
    assert part is None or keys(part) == keys(test)
    # By person, where people are known: those of the test are held out by every part.
    held_out = train.held_out_people
    assert held_out == test.held_out_people == both.held_out_people
    assert set(test.people) <= held_out
    assert not set(train.people) & held_out
    carried = {label for faces in (train, test, both) for r in faces.records for label in r.labels}
    assert carried == layout.labels <= {*REGISTRY[type(train).__dict__["name"]].labels}
    for record in both.records:
        if layout.shows is not None and record.labels:
            names = both.class_names["expression"]
            assert names[record.labels["expression"]] == layout.shows(record)
        if layout.numbers is not None:
            expected = layout.numbers(record)
            assert {k: record.labels[k] for k in expected} == pytest.approx(expected)
    if both.folds is not None:
        fold_of = {r.person: int(f) for r, f in zip(both.records, both.folds, strict=True)}
        tested = sorted({str(r.person) for r in both.records if r.labels})
        assert [fold_of[person] for person in tested] == [i % 10 for i in range(len(tested))]
        assert {fold_of[p] for p in train.people} <= {-1}
    for pair in getattr(both, "pairs", []):
        assert {*pair[:2]} <= set(keys(test))
    faces = pickle.loads(pickle.dumps(both))
    for i in range(0, len(both), 7):
        sample = faces[i]
        assert sample["image"].dtype == torch.uint8
        assert sample["image"].shape[0] == 3
        assert set(sample) - {"image", "key", "person"} == set(both.records[i].labels)
        person = both.records[i].person
        assert person is None or both.people[sample["person"]] == person


def test_every_registered_set_has_a_layout_here():
    assert {layout.kind for layout in LAYOUTS} == {
        kind for kind in REGISTRY.values() if kind.__module__.startswith("ssl_faces.")
    }
