"""Every data set on small made-up copies of its owner's layout: one contract, and what is special
of each."""

from __future__ import annotations

import pickle
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch.utils.data import DataLoader

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
    BadImage,
    Biwi,
    CFPFrontal,
    CKPlus,
    ClassFolders,
    FacePair,
    FaceRecord,
    FaceSet,
    Fer2013,
    FERPlus,
    ImageFolder,
    OuluCasia,
    RafDb,
    UTKFace,
    YouTubeKeypoints,
    find_face_sets,
    in_test_share,
)
from ssl_faces.data.sets.biwi import pose_of
from ssl_faces.data.sets.ferplus import CLASSES, NO_CLASS, NO_MAJORITY, VOTES, majority
from ssl_faces.data.sets.recognised import REGISTRY
from ssl_faces.pairs.module import FaceData
from ssl_faces.rendered import pose_rotation
from tests.support import layouts as made
from tests.support.layouts import keys, put_picture
from tests.support.refusals import message_of


def spelt(names: dict[str, str] | tuple[str, ...], at: int) -> Callable[[FaceRecord], str]:
    """The class by the folder `at` of the key."""
    table = names if isinstance(names, dict) else {name: name.lower() for name in names}
    return lambda record: table[record.key.split("/")[at]]


def digits(record: FaceRecord) -> int:
    return int("".join(c for c in record.key.rpartition("/")[2] if c.isdigit()))


def ferplus_truth(record: FaceRecord) -> str:
    return str(made.FERPLUS_ROWS[digits(record)][3])


def ckplus_truth(record: FaceRecord) -> str:
    person, number, frame = record.key.split("/")
    assert frame[-5] in "1456", "the first frame and the last three"
    place = (int(person[1:]) + int(number)) % 6
    return "neutral" if frame[-5] == "1" else tuple(made.OULU.values())[place]


def oulu_truth(record: FaceRecord) -> str:
    person, name, frame = record.key.split("/")
    number, last = int(frame[:3]), 4 + (int(person[1:]) + list(made.OULU).index(name)) % 3
    assert number == 0 or number > last - 3
    return "neutral" if number == 0 else made.OULU[name]


def affect(record: FaceRecord) -> dict[str, float]:
    i = digits(record)
    return {"valence": i / 22 - 0.5, "arousal": i / -44}


def utk(record: FaceRecord) -> dict[str, float]:
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


def raf(record: FaceRecord) -> str:
    return made.RAF_CLASSES[digits(record) % 7]


def affectnet(record: FaceRecord, classes: Sequence[str] = made.AFFECT_CLASSES) -> str:
    return classes[digits(record) % 11]


def oulu(place: str, split: str) -> Layout:
    make = partial(made.oulucasia, place=f"{place}/Strong", people=4)
    return Layout(OuluCasia, make, (0, 96, 96), split, shows=oulu_truth)


def sfew(train: str, val: str, split: str) -> Layout:
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
def test_a_layout_is_recognised_listed_and_split(layout: Layout, tmp_path: Path) -> None:
    root = tmp_path / "data" / "set"
    layout.make(root)
    (train,) = [f for f in find_face_sets(root.parent) if type(f) is layout.kind]
    kind: Callable[..., FaceSet] = layout.kind
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


def test_every_registered_set_has_a_layout_here() -> None:
    assert {layout.kind for layout in LAYOUTS} == {
        kind for kind in REGISTRY.values() if kind.__module__.startswith("ssl_faces.")
    }


# What is wrong ----------------------------------------------------------------------------------


def rewrite(file: str, *lines: str, head: int = 0) -> Callable[[Path], None]:
    """Write these lines to a file, behind so many of its own."""

    def change(root: Path) -> None:
        kept = (root / file).read_text().splitlines()[:head] if head else []
        (root / file).write_text("\n".join([*kept, *lines]) + "\n")

    return change


def rename(source: str, target: str = "elsewhere") -> Callable[[Path], None]:
    return lambda root: (root / source).rename(root / target) and None


def picture(path: str) -> Callable[[Path], None]:
    return lambda root: put_picture(root / path) and None


def nothing(root: Path) -> None:
    root.mkdir(exist_ok=True)


P0 = made.pixels_text(0)
GOOD = made.youtube_row("Jo_2.jpg", "Jo")
PLUS = made.ferplus_labels()
SWAPPED = [PLUS[11], *PLUS[1:11], PLUS[0], *PLUS[12:]]

fer_row = partial(rewrite, "fer2013.csv", "emotion,pixels,Usage", f"0,{P0},Training")
plus_rows = partial(rewrite, "fer2013new.csv", made.FERPLUS_HEADER)
raf_line = partial(rewrite, "list_patition_label.txt", "train_00000.jpg 1", "")
affect_row = partial(rewrite, "training.csv", head=1)
ck_label = partial(rewrite, "Emotion/S001/001/S001_001_00000006_emotion.txt")
lfw_pairs = partial(rewrite, "pairs.txt")
cplfw_pairs = partial(rewrite, "pairs_CPLFW.txt")
youtube_row = partial(rewrite, "labels.csv", head=2)
one_face = partial(made.youtube, rows=[made.youtube_row("Jo_1.jpg", "Jo")])
no_votes = made.votes()

SAME, OTHER = "Ann\t1\t2", "Ann\t1\tBen\t1"  # lines of LFW's pairs
PARTS = ("train", "test")

Change = Callable[[Path], object]

REFUSALS: list[tuple[type[FaceSet], Change, str, str, list[tuple[Change, str]]]] = [
    # Kind, layout, part, what the messages begin with, and what is changed with the rest of it.
    (Fer2013, nothing, "train", "", [(nothing, "{root} has no folder 'Training'")]),
    (
        *(Fer2013, partial(made.fer_folders, usages=["Training"]), "test", ""),
        [(nothing, "has no folder 'PublicTest'")],
    ),
    (
        *(Fer2013, made.fer_folders, "train", ""),
        [(picture("Training/bored/1.jpg"), "{root}/Training/bored; rename it to one of angry")],
    ),
    (
        *(Fer2013, nothing, "train", "{root}/fer2013.csv, line 3: "),
        [
            (fer_row(f"7,{P0},Training"), "emotion is '7', not a number from 0 to 6"),
            (fer_row(f"happy,{P0},Training"), "emotion is 'happy', not a number from 0 to 6"),
            (fer_row("3,1 2 3,Training"), "pixels must be 2304 numbers"),
            (fer_row(f"3,256 {P0[2:]},Training"), "pixels must be 2304 numbers from 0 to 255"),
            (fer_row(f"3,{P0}"), "2 columns instead of 3"),
            (fer_row(f"3,{P0},Practice"), "unknown Usage 'Practice'"),
        ],
    ),
    (
        *(Fer2013, nothing, "train", "{root}/fer2013.csv"),
        [
            (rewrite("fer2013.csv", "emotion,pixels"), ", line 1: column Usage is missing"),
            (rewrite("fer2013.csv", "emotion\0\0pixels"), " is not a text file"),
        ],
    ),
    (
        *(FERPlus, made.ferplus, "all", ""),
        [
            (rename("fer2013new.csv"), "has no fer2013new.csv"),
            (rename("fer2013.csv"), "whose rows can't be matched to images with other names"),
            (plus_rows(*PLUS[:-1]), "{root}/fer2013new.csv has fewer rows than "),
            (plus_rows(*PLUS, PLUS[0]), "{root}/fer2013new.csv has more rows than "),
            (plus_rows(*SWAPPED), "line 2: Usage is PublicTest, but Training in "),
            (plus_rows(f"Test,a.png,{no_votes}"), "line 2: unknown Usage 'Test'; it must be"),
            (plus_rows(f"Training,a.png,11{no_votes[1:]}"), "neutral is '11', not a number from 0"),
            (plus_rows("Training,a.png,1"), "line 2: 3 columns instead of 12"),
        ],
    ),
    (
        *(OuluCasia, partial(made.oulucasia, people=1), "train", ""),
        [
            (
                picture("OriginalImg/VL/Strong/P001/Bored/000.jpeg"),
                "unknown expression folder {root}/OriginalImg/VL/Strong/P001/Bored; rename it",
            ),
            (rename("OriginalImg/VL"), "{root} has no OriginalImg/VL/Strong/"),
        ],
    ),
    (
        *(SFEW, made.sfew, "train", ""),
        [
            (picture("Train/Bored/a.png"), "sfew: unknown class folder {root}/Train/Bored; rename"),
            (rename("Train"), "{root} has no Train_Aligned_Faces and no Train with class folders"),
        ],
    ),
    (
        RafDb,
        made.rafdb,
        "train",
        "",
        [
            (
                rename("aligned"),
                "{root} has no aligned; give the folder that holds it and list_patition",
            )
        ],
    ),
    (
        *(RafDb, made.rafdb, "train", "{root}/list_patition_label.txt, line 3: "),
        [
            (raf_line(line), f"'{line}'")
            for line in ("train_00001.jpg", "train_00001.jpg 8", "x.jpg 1", "train_1 0 0")
        ],
    ),
    (
        *(AffectNet, made.affectnet_csv, "test", ""),
        [(rename("validation.csv"), "{root} has no val_set; give")],
    ),
    (
        *(AffectNet, made.affectnet_csv, "train", "{root}/training.csv, line 2: "),
        [
            (affect_row("0/a.png,0,0,0,0,,11,0,0"), "expression is '11', not a number from 0"),
            (affect_row("0/a.png,0,0,0,0,,1.5,0,0"), "expression is '1.5', not a whole number"),
            (affect_row("0/a.png,0,0,0,0,,1,x,0"), "valence is 'x', not a number"),
            (affect_row("0/a.png,0,0,0,0,,1,0,-1.5"), "arousal is -1.5, neither from -1 to 1"),
            (affect_row("../a.png,0,0,0,0,,1,0,0"), "subDirectory_filePath is '../a.png'"),
            (affect_row("0/a.png,1,0,0"), "4 columns instead of 9"),
        ],
    ),
    (
        *(CKPlus, partial(made.ckplus, people=5), "train", ""),
        [
            (rename("Emotion", "other"), "{root} has no Emotion; give"),
            *((ck_label(text), "00006_emotion.txt holds") for text in ("9", "", "happy")),
        ],
    ),
    *((LFW, made.lfw, part, "", [(nothing, "{root} has no pairs.txt, which")]) for part in PARTS),
    (LFW, made.album, "all", "", [(nothing, "{root} holds no <Person>/<Person>_NNNN.jpg")]),
    (
        *(LFW, made.lfw, "test", "{root}/pairs.txt"),
        [
            (lfw_pairs(""), ", line 1: must be the number of folds"),
            (lfw_pairs("ten\t300"), ", line 1: must be the number of folds"),
            (lfw_pairs("1\t2\t3"), ", line 1: must be the number of folds"),
            (lfw_pairs("1\t1", SAME), ": 1 pairs, but line 1 promises 2"),
            (lfw_pairs("1\t1", "Ann\t1", OTHER), ", line 2: 'Ann\t1' is not name, number, number"),
            (lfw_pairs("1\t1", "Ann\t1\ttwo", OTHER), ", line 2: 'Ann\t1\ttwo' is not name, numb"),
            (lfw_pairs("1\t1", SAME, OTHER[:-2]), ", line 3: 'Ann\t1\tBen' is not name, number, n"),
            (
                lfw_pairs("1\t1", SAME, "", OTHER[:-1] + "x"),
                ", line 4: 'Ann\t1\tBen\tx' is not nam",
            ),
            (lfw_pairs("1\t1", SAME, "Ann\t1\tAnn\t2"), ", line 3: a pair of different people nam"),
        ],
    ),
    (
        *(CPLFW, made.cplfw, "train", "{root}/pairs_CPLFW.txt"),
        [
            (cplfw_pairs("a_1.jpg 1", "b_1.jpg 1", "c_1.jpg"), ", line 3: 'c_1.jpg' is not"),
            (cplfw_pairs("a_1.jpg 1", "b_1.jpg 1", "c_1.jpg 1"), ": 3 lines, and a pair takes two"),
            (cplfw_pairs("a_1.jpg 1", "b_1.jpg 0"), ", line 2: the two lines of a pair are marked"),
            (cplfw_pairs(), ": 0 lines"),
        ],
    ),
    (CFP, nothing, "train", "", [(nothing, "holds no 001/frontal/01.jpg")]),
    (
        *(CFP, made.cfp, "train", ""),
        [
            (rename("Protocol"), "has neither pairs_FP.csv nor Protocol/Split/FP"),
            (
                rewrite("Protocol/Split/FP/01/same.txt", "1,1", "1,99"),
                "same.txt, line 2: '1,99' is not two numbers",
            ),
            (
                rewrite("Protocol/Pair_list_P.txt", "one image"),
                "Pair_list_P.txt, line 1: 'one image' is not",
            ),
            (
                rewrite("pairs_FP.csv", "first,second,same,fold", "a,b,yes,0"),
                "pairs_FP.csv, line 2: same is 'yes'",
            ),
        ],
    ),
    (UTKFace, made.album, "train", "", [(nothing, "{root} holds no picture named <age>_")]),
    (
        *(YouTubeKeypoints, one_face, "train", ""),
        [
            (rename("labels.csv"), "has no labels.csv"),
            (rename("images"), "has no images;"),
            (
                rewrite("labels.csv", "image,person"),
                "{root}/labels.csv, line 1: column yaw is miss",
            ),
        ],
    ),
    (
        *(YouTubeKeypoints, one_face, "all", "{root}/labels.csv, line 3: "),
        [
            (youtube_row(GOOD + ",7"), "143 columns instead of 142"),
            (youtube_row(GOOD.replace("-2.5", "left")), "pitch is 'left', not a number"),
            (youtube_row(GOOD.replace("67.25", "nan")), "x67 is 'nan', not a number"),
            (youtube_row(GOOD.replace("100.5", "")), "y0 is '', not a number"),
            (youtube_row(GOOD.replace("0.75", "oops")), "reprojection_px is 'oops'"),
            (youtube_row(made.youtube_row("Jo_2.jpg", "")), "image or person is empty"),
            (youtube_row(GOOD.replace("Jo_2", "Jo_1")), "Jo_1.jpg was already given in line 2"),
        ],
    ),
    (
        *(Biwi, made.biwi, "train", ""),
        [(rewrite("03/rgb.cal", "50 0 32"), "rgb.cal is not a camera calibration")],
    ),
    (Biwi, made.album, "train", "", [(nothing, "holds no folder with frame_NNNNN_rgb.png")]),
    (AFLW2000, made.album, "test", "", [(nothing, "holds no picture with a .mat that can be")]),
    (W300LP, made.album, "train", "", [(nothing, "no picture in AFW, HELEN, IBUG, LFPW with its")]),
    (
        *(ClassFolders, partial(made.class_folders, names=("sad", "sadness")), "all", ""),
        [(nothing, "are one expression; put them together")],
    ),
    (ClassFolders, nothing, "all", "", [(nothing, "{root} holds no class folder")]),
]


@pytest.mark.parametrize(
    ("kind", "make", "part", "change", "message"),
    [
        pytest.param(kind, make, part, change, begin + rest, id=f"{kind.__name__}: {rest}")
        for kind, make, part, begin, rows in REFUSALS
        for change, rest in rows
    ],
)
def test_bad_layouts_and_rows_are_named(
    kind: Callable[..., FaceSet],
    make: Change,
    part: str,
    change: Change,
    message: str,
    tmp_path: Path,
) -> None:
    root = tmp_path / "set"
    make(root)
    change(root)
    assert message.replace("{root}", str(root)) in message_of(kind, root, part)
    assert "does not exist" in message_of(kind, root / "gone", part)


biwi_pose = partial(rewrite, "03/frame_00003_pose.txt")


def strange_mat(root: Path) -> None:
    savemat(root / "AFW/P_1_0.mat", {"other": 1})


def large_angle(root: Path) -> None:
    made.put_mat(root / "image00004.jpg", 99.5, 0, 0)


SKIPS: list[tuple[type[FaceSet], Change, Change, str, str]] = [
    (RafDb, made.rafdb, rename("aligned/train_00003_aligned.jpg"), "train_00003.jpg", "missing"),
    (
        *(FERPlus, made.ferplus_folders, rename("FER2013Train/fer0000003.png")),
        *("Training/fer0000003.png", "named in fer2013new.csv, missing on disk"),
    ),
    (
        *(YouTubeKeypoints, made.youtube, rename("images/P3_1.jpg")),
        *("P3_1.jpg", "listed in labels.csv, missing on disk"),
    ),
    (
        *(CPLFW, made.cplfw, rename("images/Ann_0_1.jpg", "gone.txt")),
        *("Ann_0_1.jpg", "named in pairs_CPLFW.txt, missing on disk"),
    ),
    (
        *(CFP, made.cfp_tables, rename("002/profile/02.jpg")),
        *("002/profile/02.jpg", "named in the FP pairs, missing on disk"),
    ),
    (Biwi, made.biwi, biwi_pose("1 2"), "03/frame_00003_rgb.png", "9 numbers"),
    (Biwi, made.biwi, biwi_pose("x"), "03/frame_00003_rgb.png", "else than"),
    (Biwi, made.biwi, biwi_pose("1 " * 12), "03/frame_00003_rgb.png", "no rotation"),
    (W300LP, made.w300lp, rewrite("AFW/P_0_0.mat", "x"), "AFW/P_0_0.jpg", "is not a MATLAB file"),
    (W300LP, made.w300lp, rename("AFW/P_0_1.mat"), "AFW/P_0_1.jpg", "is missing"),
    (W300LP, made.w300lp, strange_mat, "AFW/P_1_0.jpg", "no Pose_Para"),
    (AFLW2000, made.aflw2000, large_angle, "image00004.jpg", "an angle above 99 degrees"),
    (UTKFace, made.utkface, picture("39_1_2017.jpg"), "39_1_2017.jpg", "field is missing"),
    (UTKFace, made.utkface, picture("x_1_0_20.jpg"), "x_1_0_20.jpg", "age 'x' in its name is not"),
    (UTKFace, made.utkface, picture("30_2_0_2017.jpg"), "30_2_0_2017.jpg", "gender '2'"),
    (UTKFace, made.utkface, picture("30_1__2017.jpg"), "30_1__2017.jpg", "race ''"),
]


@pytest.mark.parametrize(("kind", "make", "change", "key", "reason"), SKIPS)
def test_what_can_not_be_used_is_skipped_and_listed(
    kind: Callable[..., FaceSet],
    make: Change,
    change: Change,
    key: str,
    reason: str,
    tmp_path: Path,
) -> None:
    make(tmp_path)
    before = kind(tmp_path, "all")
    change(tmp_path)
    faces = kind(tmp_path, "all")
    assert len(faces.skipped) == len(before.skipped) + 1
    assert reason in dict(faces.skipped)[key]
    assert key not in keys(faces)


# Special of each --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv", "Copy of FER.CSV"])
@pytest.mark.parametrize("give_the_file", [True, False])
def test_fer2013_csv(tmp_path: Path, give_the_file: bool, name: str) -> None:
    """Columns in another order than the owner's, PrivateTest in no part."""
    rows = [f"{i}, Training,{made.pixels_text(i)}" for i in range(7)]
    rows += [f"3,{usage},{made.pixels_text(50)}" for usage in ("PublicTest", "PrivateTest")]
    file = made.fer_csv(tmp_path / name, rows, "emotion, Usage, pixels")
    root = file if give_the_file else tmp_path
    train, test, both = (Fer2013(root, part) for part in ("train", "test", "all"))
    shown = [EXPRESSIONS[s["expression"]] for s in train]
    assert shown == [name.lower() for name in made.OFFICIAL_EMOTIONS]
    expected = (5 + np.arange(48 * 48).reshape(48, 48)) % 256
    for channel in train[5]["image"]:
        np.testing.assert_array_equal(channel.numpy(), expected)
    assert (len(test), test[0]["image"][0, 0, 0]) == (1, 50)
    assert len(set(keys(both))) == len(both) == 8


def test_fer2013_spellings(tmp_path: Path) -> None:
    names = ("Anger", "disgusted", "FEAR", "happiness", "Neutral", "sadness", "Surprised")
    for name in names:
        put_picture(tmp_path / "train" / name / "1.png")
    labels = {r.key: r.labels["expression"] for r in Fer2013(tmp_path).records}
    assert labels == {f"train/{name}/1.png": i for i, name in enumerate(names)}


def test_ferplus_reads_the_images_of_its_rows(tmp_path: Path) -> None:
    for make in (made.ferplus, made.ferplus_folders):
        faces = FERPlus(make(tmp_path / make.__name__), "all")
        assert {s["key"]: int(s["image"][0, 0, 0]) for s in faces} == {
            f"{usage}/fer{i:07d}.png": made.level(i)
            for i, (usage, _, _, shown) in enumerate(made.FERPLUS_ROWS)
            if shown is not None and usage != "PublicTest"
        }
        reasons = sorted(reason.partition(":")[0] for _, reason in faces.skipped)
        assert reasons == ["no face", "no face", "unknown", NO_MAJORITY]


def test_ferplus_with_fer2013_is_two_sets_that_pretraining_sees_once(tmp_path: Path) -> None:
    made.ferplus(tmp_path)
    fer, plus = find_face_sets(tmp_path, "all")
    assert (type(fer), type(plus)) == (Fer2013, FERPlus)
    assert {record.labels["expression"] for record in fer.records} == {EXPRESSIONS.index("happy")}
    # The images are alike but for their brightness.
    more = {"cache": tmp_path / "cache", "leave_out_near_copies": False}
    module = FaceData(tmp_path, size=16, batch_size=2, **more)  # type: ignore[arg-type]
    module.setup()
    assert [(d["name"], d["pictures"]) for d in module.description] == [("fer2013", 12)]


def owners_majority(counts: list[int]) -> int | None:
    """The owner's code (`_process_data`, mode majority, and what is then read), by numbers."""
    raw = [0.0 if count < 1.0 + 1e-9 else float(count) for count in counts]
    emotion = [0.0] * 10
    if max(raw) > 0.5 * sum(raw):
        emotion[int(np.argmax(raw))] = max(raw)
    else:
        emotion[-2] = 1.0
    place = int(np.argmax(emotion))
    return place if place < 8 else None


def test_ferplus_majority_is_the_owners() -> None:
    rng = np.random.default_rng(0)
    outcomes = set()
    for spread in (0.1, 0.3, 1.0, 3.0):
        for shares in rng.dirichlet([spread] * 10, 400):
            counts = rng.multinomial(10, shares).tolist()
            place = owners_majority(counts)
            name = majority(dict(zip(made.VOTE_COLUMNS, counts, strict=True)))
            if place is None:
                assert name in {*NO_CLASS.values(), NO_MAJORITY}
            else:
                assert name == made.FERPLUS_CLASSES[place]
            outcomes.add(name)
    assert outcomes == {*VOTES.values(), *NO_CLASS.values(), NO_MAJORITY}
    assert (*EXPRESSIONS, "contempt") == CLASSES


def test_oulucasia_prefers_the_cropped_faces(tmp_path: Path) -> None:
    made.oulucasia(tmp_path, people=2)
    made.oulucasia(tmp_path, "PreProcess Img/VL_Acropped/Strong", people=3)
    assert len(OuluCasia(tmp_path, "all").people) == 3


def test_affectnet_cuts_faces_out(tmp_path: Path) -> None:
    uncut, cut = (AffectNet(made.affectnet_csv(tmp_path, boxes)) for boxes in (False, True))
    assert uncut.read(0).shape == (40, 60, 3)
    assert cut.read(3, at_least=8).shape == (20, 20, 3)
    assert (cut.read(3) == 103).all()
    assert cut.content_hash(3) == uncut.content_hash(3), "a copy is a copy, however it is cut"
    assert cut.version(3) != uncut.version(3)
    reasons = {item.reason for item in uncut.skipped}
    kinds = ("contempt", "none", "uncertain", "no face")
    assert reasons == {f"labelled {kind}: none of the seven" for kind in kinds}


def test_affectnet_never_unpickles(tmp_path: Path) -> None:
    path = made.affectnet_arrays(tmp_path) / "train_set" / "annotations" / "3_exp.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert f"{path} is not an array file of one number" in message_of(AffectNet, tmp_path)


def test_pretraining_leaves_out_what_is_all_test(tmp_path: Path) -> None:
    """CK+ gives it nothing, yet no copy of an image of CK+ comes in by another set."""
    root = tmp_path / "data"
    made.ckplus(root / "ck", people=5)
    for i in range(5):  # everybody is tested
        put = root / "ck/Emotion" / f"S{i:03d}/001/S{i:03d}_001_00000006_emotion.txt"
        put.parent.mkdir(parents=True, exist_ok=True)
        put.write_text("5")
    made.rafdb(root / "raf")
    tested = root / "ck/cohn-kanade-images/S001/001/S001_001_00000006.png"
    (root / "raf/aligned/train_00002_aligned.jpg").write_bytes(tested.read_bytes())
    module = FaceData(root, size=16, batch_size=2, cache=tmp_path / "cache")
    module.setup()
    assert [(d["name"], d["pictures"]) for d in module.description] == [("rafdb", 9)]
    assert module.description[0]["left_out_as_copies_of_test_pictures"] == 1
    only = FaceData(root / "ck", size=16, cache=tmp_path / "cache")
    assert "CK+: all of it is tested on" in message_of(only.setup)


def test_lfw_pairs(tmp_path: Path) -> None:
    made.lfw(tmp_path, made.TWO_FOLDS)
    for part in ("train", "test", "all"):
        faces = LFW(tmp_path, part)  # type: ignore[arg-type]
        assert faces.held_out_people == {"Ann", "Ben", "Cem", "Eve"}
        assert faces.pairs == [
            FacePair("Ann/Ann_0001.jpg", "Ann/Ann_0003.jpg", same=True, fold=0),
            FacePair("Ann/Ann_0002.jpg", "Ben/Ben_0001.jpg", same=False, fold=0),
        ]
        assert faces.missing_pairs == [
            FacePair("Cem/Cem_0001.jpg", "Cem/Cem_0002.jpg", same=True, fold=1),
            FacePair("Cem/Cem_0001.jpg", "Eve/Eve_0001.jpg", same=False, fold=1),
        ]
        missing = [] if part == "train" else ["Cem/Cem_0002.jpg", "Eve/Eve_0001.jpg"]
        assert [item.key for item in faces.skipped] == missing
    one = "2\nAnn\t1\t3\nBen\t1\t2\nAnn\t2\tBen\t1\nCem\t1\tDora\t4\n"
    (tmp_path / "pairs.txt").write_text(one)
    pairs = LFW(tmp_path, "test").pairs
    assert [pair.same for pair in pairs] == [True, True, False, False]
    assert {pair.fold for pair in pairs} == {0}
    assert pairs[-1][:2] == ("Cem/Cem_0001.jpg", "Dora/Dora_0004.jpg")
    (tmp_path / "pairs.txt").unlink()
    assert len(LFW(tmp_path, "all")) == 10


@pytest.mark.parametrize("pairs_in", [".", "lfw_funneled"])
@pytest.mark.parametrize("give", [".", "lfw_funneled"])
def test_lfw_in_a_subfolder_with_the_pairs_in_or_beside_it(
    tmp_path: Path, pairs_in: str, give: str
) -> None:
    made.lfw(tmp_path / "lfw_funneled")
    (tmp_path / pairs_in / "pairs.txt").write_text(made.TWO_FOLDS)
    faces = LFW(tmp_path / give, "test")
    assert "Ann/Ann_0001.jpg" in keys(faces)
    assert len(faces.pairs) == 2


def test_cplfw_pairs(tmp_path: Path) -> None:
    train = CPLFW(made.cplfw(tmp_path))
    assert train.people == ["Zoe"]
    assert train.held_out_people == {f"Ann_{i}" for i in range(20)}
    same = [pair for pair in train.pairs if pair.same]
    assert [(p.first, p.second, p.fold) for p in same[:3]] == [
        ("Ann_0_1.jpg", "Ann_0_2.jpg", 0),
        ("Ann_1_1.jpg", "Ann_1_2.jpg", 0),
        ("Ann_2_1.jpg", "Ann_2_2.jpg", 1),
    ]
    counts = np.bincount([2 * pair.fold + pair.same for pair in train.pairs])
    assert counts.tolist() == [2] * 20
    (tmp_path / "images" / "Ann_0_1.jpg").unlink()
    fewer = CPLFW(tmp_path, "all")
    assert (len(fewer.pairs), len(fewer.missing_pairs)) == (38, 2)


def test_cfp_pairs(tmp_path: Path) -> None:
    profile, frontal = find_face_sets(made.cfp(tmp_path), "all")
    assert isinstance(profile, CFP)
    assert profile.people == [f"cfp_{i:03d}" for i in range(1, 5)]
    assert profile.pairs == [
        FacePair(f"{a}/frontal/01.jpg", f"{b}/profile/{n}.jpg", a == b, fold)
        for fold, (x, y) in enumerate((("001", "002"), ("003", "004")))
        for a, b, n in ((x, x, "01"), (y, y, "02"), (x, y, "01"), (y, x, "02"))
    ]
    assert isinstance(frontal, CFPFrontal)
    assert [pair[:2] for pair in frontal.pairs[:2]] == [
        ("001/frontal/01.jpg", "001/frontal/02.jpg"),
        ("002/frontal/01.jpg", "002/frontal/03.jpg"),
    ]
    assert all("/frontal/" in record.key for record in frontal.records)


def test_cfp_pairs_in_tables(tmp_path: Path) -> None:
    faces = CFP(made.cfp_tables(tmp_path))
    assert faces.people == ["cfp_003", "cfp_004"]
    kinds = [(fold, same) for fold in (0, 1) for same in (True, False)]
    assert [(p.fold, p.same) for p in faces.pairs] == kinds
    (tmp_path / "002" / "profile" / "02.jpg").unlink()
    fewer = CFP(tmp_path, "test")
    assert (len(fewer.pairs), len(fewer.missing_pairs)) == (2, 2)


@pytest.mark.parametrize("kind", [UTKFace, ClassFolders])
def test_copies_of_one_image_are_in_one_part(kind: Callable[..., FaceSet], tmp_path: Path) -> None:
    make = made.utkface if kind is UTKFace else made.class_folders
    make(tmp_path)  # type: ignore[operator]
    for i, original in enumerate(sorted(tmp_path.rglob("*.[jp][pn]g"))):
        name = f"{99 - i}_0_0_20180101{i:09d}.jpg.chip.jpg"
        original.with_name(name).write_bytes(original.read_bytes())
    train, test, both = (kind(tmp_path, part) for part in ("train", "test", "all"))
    assert {*keys(train), *keys(test)} == set(keys(both))
    hashes = [{f.content_hash(i) for i in range(len(f))} for f in (train, test)]
    assert not hashes[0] & hashes[1]
    assert 0 < len(test) < len(train)


def test_youtube_keypoints_columns_go_by_name(tmp_path: Path) -> None:
    names, row = made.YOUTUBE_HEADER.split(","), made.youtube_row("Jo_1.jpg", "Jo").split(",")
    rows = [",".join([row[0], *row[:0:-1]])]
    made.youtube(tmp_path, rows, ",".join([names[0], *names[:0:-1]]))
    (sample,) = YouTubeKeypoints(tmp_path, "all")
    assert sample["pose"].tolist() == [1.5, -2.5, 3.25]
    expected = torch.stack([torch.arange(68) + 0.25, torch.arange(68) + 100.5], dim=1)
    torch.testing.assert_close(sample["landmarks"], expected, rtol=0, atol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_signs_of_300w_lp_are_the_projects(tmp_path: Path, axis: int) -> None:
    """A turn about one axis by the owners' matrix is the same turn of the rendered head."""
    angles = np.zeros(3)
    angles[axis] = 0.5
    path = put_picture(tmp_path / "AFW" / "a_0.jpg")
    savemat(path.with_suffix(".mat"), {"Pose_Para": np.array([[*angles, 0, 0, 0, 1]])})
    pose = W300LP(tmp_path)[0]["pose"]
    ours = pose_rotation(*(pose[i : i + 1] for i in range(3)))[0]
    np.testing.assert_allclose(made.owners_rotation(*angles), ours, atol=1e-6)


def test_turns_and_mirror_images_of_one_photograph_are_one_person(tmp_path: Path) -> None:
    assert len(W300LP(made.w300lp(tmp_path)).people) == 6


@pytest.mark.parametrize("seed", range(5))
def test_biwi_angles_are_300w_lps(seed: int) -> None:
    pitch, yaw, roll = np.random.default_rng(seed).uniform(-1.2, 1.2, 3)
    matrix = made.BIWI_FLIP @ made.owners_rotation(pitch, yaw, roll) @ made.BIWI_FLIP
    np.testing.assert_allclose(pose_of(matrix), np.degrees([yaw, -pitch, roll]))


def test_biwi_boxes(tmp_path: Path) -> None:
    train = Biwi(made.biwi(tmp_path / "a"))
    # 260 mm at 1000 mm and a focal length of 50 pixels: 13 pixels around (32.5, 23).
    assert train.records[0].box == (26, 16, 39, 30)
    assert train.read(0).shape == (14, 13, 3)
    assert Biwi(made.biwi(tmp_path / "b", calibrated=False)).records[0].box is None


def test_class_folders_of_a_users_own_classes(tmp_path: Path) -> None:
    mine = ClassFolders(made.class_folders(tmp_path, ("happy", "Sad", "bored")))
    assert mine.categories == ("Sad", "bored", "happy")
    assert mine.records[-1].labels == {"category": 2}
    assert type(find_face_sets(tmp_path)[0]) is ImageFolder


# Any folder -------------------------------------------------------------------------------------


def test_picture_folder_lists_nested_pictures_in_order(tmp_path: Path) -> None:
    faces = ImageFolder(made.album(tmp_path))
    assert keys(faces) == ["a/3.jpg", "b/2.PNG", "b/deep/er/1.jpeg", "top.bmp"]
    assert faces.ignored == {".txt": 1, ".mp4": 1, "no ending": 1}
    assert [set(sample) for sample in faces] == [{"image", "key"}] * 4
    assert faces.name == tmp_path.name
    assert ImageFolder(tmp_path, name="album").name == "album"
    people = [r.person for r in ImageFolder(tmp_path, people_from_folders=True).records]
    assert people == ["a", "b", "b/deep/er", None]


@pytest.mark.parametrize("people_from_folders", [True, False])
def test_picture_folder_parts_are_disjoint_and_stay(
    tmp_path: Path, people_from_folders: bool
) -> None:
    def parts(people: range) -> dict[str, ImageFolder]:
        for person in people:
            for i in range(3):
                put_picture(tmp_path / f"p{person}" / f"{i}.jpg")
        names = ("train", "test", "all")
        return {p: ImageFolder(tmp_path, people_from_folders, p) for p in names}  # type: ignore[arg-type]

    found = parts(range(40))
    listed = {part: set(keys(faces)) for part, faces in found.items()}
    assert listed["train"] | listed["test"] == listed["all"]
    assert not listed["train"] & listed["test"]
    assert 0 < len(listed["test"]) < len(listed["train"])
    assert not set(found["train"].people) & set(found["test"].people)
    more = set(keys(parts(range(40, 60))["test"]))
    assert {key for key in more if key in listed["all"]} == listed["test"]


def test_picture_folder_follows_links_once(tmp_path: Path) -> None:
    put_picture(tmp_path / "elsewhere" / "1.jpg")
    root = tmp_path / "root"
    put_picture(root / "2.jpg")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    assert keys(ImageFolder(root)) == ["2.jpg", "linked/1.jpg"]


def test_picture_folder_bad_roots(tmp_path: Path) -> None:
    assert f"{tmp_path / 'gone'} does not exist" in message_of(ImageFolder, tmp_path / "gone")
    file = put_picture(tmp_path / "a.jpg")
    assert f"{file} is a file" in message_of(ImageFolder, file)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty} holds no picture" in message_of(ImageFolder, empty)
    (empty / "clip.mp4").touch()
    assert "it holds files ending in .mp4" in message_of(ImageFolder, empty)


def test_file_names_that_are_no_unicode_are_listed(tmp_path: Path) -> None:
    try:
        put_picture(tmp_path / "a.jpg").rename(tmp_path / "caf\udce9.jpg")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    part = "test" if in_test_share("caf\udce9.jpg") else "train"
    assert len(ImageFolder(tmp_path, part=part)[0]["image"]) == 3  # type: ignore[arg-type]


# Reading ----------------------------------------------------------------------------------------


def test_a_bad_picture_is_known_when_it_is_read(tmp_path: Path) -> None:
    put_picture(tmp_path / "good.jpg")
    (tmp_path / "zero.jpg").touch()
    faces = ImageFolder(tmp_path)
    assert faces[0]["image"].shape == (3, 10, 12)
    with pytest.raises(BadImage, match="0 bytes"):
        faces[1]


def test_a_box_outside_the_picture_is_a_bad_picture(tmp_path: Path) -> None:
    path = put_picture(tmp_path / "a.png", size=(40, 40))
    boxes = [(-5, -5, 20, 20), (30, 30, 60, 37), (50, 50, 60, 60)]
    faces = FaceSet("x", "all", [FaceRecord(str(i), path, box=b) for i, b in enumerate(boxes)])
    assert faces.read(0).shape == (20, 20, 3)
    for i in (1, 2):
        with pytest.raises(BadImage, match="lies outside"):
            faces.read(i)


def test_many_labelled_faces_go_to_a_loader_process(tmp_path: Path) -> None:
    """With fewer open files allowed than there are label tensors."""
    rows = [made.youtube_row(f"P{p}_{i}.jpg", f"P{p}") for p in range(30) for i in range(10)]
    faces = YouTubeKeypoints(made.youtube(tmp_path, rows), "all")
    loader = DataLoader(faces, batch_size=100, num_workers=1, multiprocessing_context="forkserver")  # type: ignore[arg-type]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        batches = list(loader)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    landmarks = torch.cat([batch["landmarks"] for batch in batches])
    assert landmarks.shape == (300, 68, 2)
    torch.testing.assert_close(landmarks[7], faces[7]["landmarks"])
