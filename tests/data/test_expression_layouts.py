"""FERPlus, Oulu-CASIA and SFEW on small made-up copies of their owners' layouts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_faces.data import (
    EXPRESSIONS,
    SFEW,
    Fer2013,
    FERPlus,
    OuluCasia,
    PictureFolder,
    find_face_sets,
)
from ssl_faces.data.pairs.module import FaceDataModule
from ssl_faces.data.sets.ferplus import CLASSES, NO_CLASS, NO_MAJORITY, VOTES, majority
from tests.data.test_face_sets import (
    fer_csv,
    fer_folders,
    keys,
    message_of,
    pixels_text,
    put_picture,
)
from tests.data.test_owners_layouts import ckplus

# FERPlus ----------------------------------------------------------------------------------------

COLUMNS = [
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
]  # owner's
HEADER = ",".join(["Usage", "Image name", *COLUMNS])
OURS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")


def votes(**of: int) -> str:
    return ",".join(str(of.get(column, 0)) for column in COLUMNS)


# Usage, whether the owner names the picture, votes, and the class it should have.
ROWS = [
    *(("Training", True, votes(**{c: 10}), o) for c, o in zip(COLUMNS, OURS, strict=False)),
    ("Training", True, votes(neutral=5, sadness=5), None),
    ("Training", True, votes(neutral=4, anger=1, fear=1, disgust=1, contempt=3), "neutral"),
    ("Training", False, votes(NF=10), None),
    ("PublicTest", True, votes(happiness=10), "happy"),
    ("Training", True, votes(unknown=6, fear=4), None),
    ("PrivateTest", True, votes(contempt=6, neutral=4), "contempt"),
    ("PrivateTest", True, votes(NF=8, fear=2), None),
    ("PrivateTest", True, votes(fear=9, anger=1), "fear"),
]


def level(row: int) -> int:
    """The first pixel of a row's picture."""
    return 10 * row


def ferplus(root: Path) -> Path:
    """`fer2013new.csv` beside `fer2013.csv`, whose own labels are all happy."""
    root.mkdir(parents=True, exist_ok=True)
    fer_csv(
        root / "fer2013.csv",
        [f"3,{pixels_text(level(i))},{usage}" for i, (usage, *_) in enumerate(ROWS)],
    )
    (root / "fer2013new.csv").write_text("\n".join([HEADER, *labels_of_rows()]) + "\n")
    return root


def labels_of_rows() -> list[str]:
    return [
        f"{usage},{f'fer{i:07d}.png' if named else ''},{given}"
        for i, (usage, named, given, _) in enumerate(ROWS)
    ]


def ferplus_folders(root: Path, home: str = ".") -> Path:
    """As the owner's script writes the pictures."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "fer2013new.csv").write_text("\n".join([HEADER, *labels_of_rows()]) + "\n")
    folders = {"Training": "Train", "PublicTest": "Valid", "PrivateTest": "Test"}
    for i, (usage, named, _, _) in enumerate(ROWS):
        if named:
            path = root / home / f"FER2013{folders[usage]}" / f"fer{i:07d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = (level(i) + np.arange(48 * 48).reshape(48, 48)) % 256
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


def labelled(usages: tuple[str, ...]) -> dict[str, tuple[str, int]]:
    """Class and first pixel of each picture that should be listed, by key."""
    return {
        f"{usage}/fer{i:07d}.png": (name, level(i))
        for i, (usage, _, _, name) in enumerate(ROWS)
        if usage in usages and name is not None
    }


def found_in(faces: FERPlus) -> dict[str, tuple[str, int]]:
    return {s["key"]: (CLASSES[s["expression"]], int(s["image"][0, 0, 0])) for s in faces}


@pytest.mark.parametrize(
    "make",
    [
        ferplus,
        ferplus_folders,
        lambda root: ferplus_folders(root, "data"),
        lambda root: ferplus_folders(root, "images"),
    ],
)
def test_ferplus(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    make(tmp_path)
    both, test = FERPlus(tmp_path, "all"), FERPlus(tmp_path, "test")
    assert found_in(both) == labelled(("Training", "PrivateTest"))
    assert found_in(test) == labelled(("PrivateTest",))
    assert both.left_out == {NO_MAJORITY: 1, "no face": 2, "unknown": 1}
    assert len(both.skipped) == 4
    part = both.test_part()
    assert part is not None
    assert keys(part) == keys(test)
    assert both.class_names["expression"] == (*EXPRESSIONS, "contempt")
    assert both.split == "Training -> PrivateTest"


def test_ferplus_with_fer2013_is_two_sets_that_pretraining_sees_once(tmp_path: Path) -> None:
    ferplus(tmp_path)
    (tmp_path / "fer2013new.csv").rename(tmp_path / "later")
    assert [type(f) for f in find_face_sets(tmp_path, "all")] == [Fer2013]
    before = keys(find_face_sets(tmp_path, "all")[0])
    (tmp_path / "later").rename(tmp_path / "fer2013new.csv")
    fer, plus = find_face_sets(tmp_path, "all")
    assert (type(fer), type(plus)) == (Fer2013, FERPlus)
    assert keys(fer) == before
    assert {record.labels["expression"] for record in fer.records} == {EXPRESSIONS.index("happy")}
    assert [len(f) for f in find_face_sets(tmp_path)] == [12, 0]
    module = FaceDataModule(tmp_path, size=16, batch_size=2, cache=tmp_path / "cache")
    module.setup()
    assert [(d["name"], d["pictures"]) for d in module.description] == [("fer2013", 12)]


def test_ferplus_folders_alone_are_pretrained_on(tmp_path: Path) -> None:
    (faces,) = find_face_sets(ferplus_folders(tmp_path / "FERPlus", "data").parent)
    assert isinstance(faces, FERPlus)
    assert found_in(faces) == labelled(("Training",))
    (tmp_path / "FERPlus" / "data" / "FER2013Train" / "fer0000003.png").unlink()
    fewer = FERPlus(tmp_path / "FERPlus")
    assert len(fewer) == len(faces) - 1
    assert ("Training/fer0000003.png", "named in fer2013new.csv, missing on disk") in fewer.skipped


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


@pytest.mark.parametrize("seed", range(3))
def test_ferplus_majority_is_the_owners(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcomes = set()
    for spread in (0.1, 0.3, 1.0, 3.0):
        for shares in rng.dirichlet([spread] * 10, 200):
            counts = rng.multinomial(10, shares).tolist()
            place = owners_majority(counts)
            said = majority(dict(zip(COLUMNS, counts, strict=True)))
            if place is None:
                assert said in {*NO_CLASS.values(), NO_MAJORITY}
            else:
                assert said == OURS[place]
            outcomes.add(said)
    assert outcomes == {*VOTES.values(), *NO_CLASS.values(), NO_MAJORITY}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda rows: rows[:-1], "fer2013new.csv has fewer rows than "),
        (lambda rows: [*rows, rows[0]], "fer2013new.csv has more rows than "),
        (
            lambda rows: [rows[11], *rows[1:11], rows[0], *rows[12:]],
            "line 2: Usage is PublicTest, but Training in ",
        ),
        (lambda rows: ["Test,a.png," + votes()], "line 2: unknown Usage 'Test'; it must be"),
        (lambda rows: ["Training,a.png," + votes(fear=11)], "fear is '11', not a number from 0"),
        (lambda rows: ["Training,a.png,1"], "line 2: 3 columns instead of 12"),
    ],
)
def test_ferplus_tables_that_do_not_go_together(
    tmp_path: Path, rows: Callable[[list[str]], list[str]], said: str
) -> None:
    table = ferplus(tmp_path) / "fer2013new.csv"
    table.write_text("\n".join([HEADER, *rows(labels_of_rows())]) + "\n")
    text = message_of(FERPlus, tmp_path, "all")
    assert str(table) in text
    assert said in text


def test_ferplus_beside_pictures_of_other_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """FER-2013 as class folders: nothing tells the row of `Training_69523426.jpg`."""
    fer_folders(tmp_path)
    table = tmp_path / "fer2013new.csv"
    table.write_text("\n".join([HEADER, *labels_of_rows()]) + "\n")
    with caplog.at_level(logging.WARNING):
        assert [type(faces) for faces in find_face_sets(tmp_path)] == [Fer2013]
    assert f"{table} is left out: its rows can't be told of the pictures beside" in caplog.text
    assert "whose rows can't be told of pictures with other names" in message_of(FERPlus, tmp_path)
    table.unlink()
    assert "has no fer2013new.csv" in message_of(FERPlus, tmp_path)


# Oulu-CASIA -------------------------------------------------------------------------------------

OULU = {
    "Anger": "angry",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happiness": "happy",
    "Sadness": "sad",
    "Surprise": "surprise",
}


def oulucasia(root: Path, place: str = "OriginalImg/VL/Strong", people: int = 12) -> Path:
    """Sequences of 5 to 7 frames; frame f of person p is of level 10 p + f."""
    for person in range(1, people + 1):
        for i, name in enumerate(OULU):
            for frame in range(5 + (person + i) % 3):
                path = root / place / f"P{person:03d}" / name / f"{frame:03d}.jpeg"
                put_picture(path, 10 * person + frame)
    # Other light, which is left alone.
    put_picture(root / place.replace("Strong", "Weak") / "P001" / "Anger" / "000.jpeg")
    put_picture(root / place.replace("VL", "NI") / "P001" / "Anger" / "000.jpeg")
    return root


@pytest.mark.parametrize(
    ("place", "split"),
    [
        ("OriginalImg/VL/Strong", "10 folds by person, whole frames"),
        ("B_OriginalImg/VL/Strong", "10 folds by person, whole frames"),
        ("B_OriginalImg/B_OriginalImg/OriginalImg/VL/Strong", "10 folds by person, whole frames"),
        ("VL/Strong", "10 folds by person, whole frames"),
        ("PreProcess Img/VL_Acropped/Strong", "10 folds by person"),
        ("PreProcess_Img/VL_Acropped/Strong", "10 folds by person"),
    ],
)
def test_oulucasia(tmp_path: Path, place: str, split: str) -> None:
    (train,) = find_face_sets(oulucasia(tmp_path / "oulu", place).parent)
    assert isinstance(train, OuluCasia)
    assert len(train) == 0
    test = train.test_part()
    assert test is not None
    assert test.split == split
    assert len(test) == 12 * 6 * 4
    assert test.people == [f"oulucasia_P{i:03d}" for i in range(1, 13)]
    assert train.held_out_people == set(test.people)
    for sample, record in zip(test, test.records, strict=True):
        person, name, frame = record.key.split("/")
        number, last = int(frame[:3]), 4 + (int(person[1:]) + list(OULU).index(name)) % 3
        assert number == 0 or number > last - 3
        shown = EXPRESSIONS[sample["expression"]]
        assert shown == ("neutral" if number == 0 else OULU[name])
        mean = sample["image"].float().mean().item()
        assert mean == pytest.approx(10 * int(person[1:]) + number, abs=2)
    assert test.folds is not None
    fold_of = {r.person: f for r, f in zip(test.records, test.folds, strict=True)}
    assert [fold_of[person] for person in test.people] == [*range(10), 0, 1]


def test_oulucasia_prefers_the_cropped_faces(tmp_path: Path) -> None:
    oulucasia(tmp_path, people=2)
    oulucasia(tmp_path, "PreProcess Img/VL_Acropped/Strong", people=3)
    assert len(OuluCasia(tmp_path, "all").people) == 3


def test_oulucasia_bad_folders(tmp_path: Path) -> None:
    oulucasia(tmp_path, people=1)
    strange = put_picture(tmp_path / "OriginalImg/VL/Strong/P001/Bored/000.jpeg").parent
    assert f"unknown expression folder {strange}; rename it to one" in message_of(
        OuluCasia, tmp_path
    )
    (tmp_path / "OriginalImg" / "VL").rename(tmp_path / "OriginalImg" / "Other")
    assert f"{tmp_path} has no OriginalImg/VL/Strong/" in message_of(OuluCasia, tmp_path)
    assert type(find_face_sets(tmp_path)[0]) is PictureFolder


# SFEW -------------------------------------------------------------------------------------------

SFEW_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def sfew(root: Path, train: str = "Train", val: str = "Val", count: int = 3) -> Path:
    for side, (place, number) in enumerate(((train, count), (val, 1))):
        for i, name in enumerate(SFEW_CLASSES):
            for k in range(number):
                file = f"Airheads_{i:07d}40_0000000{k}.png"
                put_picture(root / place / name / file, 10 * i + 100 * side + k)
    return root


@pytest.mark.parametrize(
    ("places", "split"),
    [
        (("Train", "Val"), "Train -> Val, whole frames"),
        (("Train_Aligned_Faces", "Val_Aligned_Faces"), "Train -> Val"),
        (("Train_Aligned_Faces", "Val_Aligned_Faces_new"), "Train -> Val"),
        (("Train/Train_Aligned_Faces", "Val/Val_Aligned_Faces"), "Train -> Val"),
    ],
)
def test_sfew(tmp_path: Path, places: tuple[str, str], split: str) -> None:
    sfew(tmp_path / "sfew", *places)
    put_picture(tmp_path / "sfew" / "Test_Aligned_Faces" / "0.png")  # without labels
    (train,) = find_face_sets(tmp_path)
    assert isinstance(train, SFEW)
    assert (train.title, train.split) == ("SFEW 2.0", split)
    test = train.test_part()
    assert test is not None
    assert (len(train), len(test), len(SFEW(tmp_path / "sfew", "all"))) == (21, 7, 28)
    for faces, side in ((train, 0), (test, 1)):
        for sample in faces:
            place = sample["expression"]
            assert f"/{SFEW_CLASSES[place]}/" in sample["key"]
            mean = sample["image"].float().mean().item()
            assert mean == pytest.approx(10 * place + 100 * side, abs=4)


def test_sfew_bad_folders(tmp_path: Path) -> None:
    sfew(tmp_path)
    strange = put_picture(tmp_path / "Train" / "Bored" / "a_000000000_00000000.png").parent
    assert f"sfew: unknown class folder {strange}; rename it" in message_of(SFEW, tmp_path)
    (tmp_path / "Val").rename(tmp_path / "Validation")
    text = message_of(SFEW, tmp_path, "test")
    assert f"{tmp_path} has no Val_Aligned_Faces or Val_Aligned_Faces_new and no Val" in text


def test_other_sets_with_train_and_val_are_what_they_were(tmp_path: Path) -> None:
    fer_folders(tmp_path / "a", ("train", "val", "test"))
    fer_folders(tmp_path / "b" / "c", ("Training", "PublicTest"))
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert [type(faces) for faces in find_face_sets(folder)] == [Fer2013]


def test_expression_sets_side_by_side(tmp_path: Path) -> None:
    ferplus(tmp_path / "fer")
    oulucasia(tmp_path / "oulu", people=2)
    sfew(tmp_path / "sfew")
    ckplus(tmp_path / "ck")
    found = {faces.name for faces in find_face_sets(tmp_path, "all")}
    assert found == {"fer2013", "ferplus", "oulucasia", "sfew", "ckplus"}
