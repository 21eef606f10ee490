"""Expression, pose and identity sets on small made-up copies of their owners' layouts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from ssl_faces.data import (
    AFLW2000,
    CPLFW,
    EXPRESSIONS,
    W300LP,
    AffectNet,
    BadPicture,
    Biwi,
    CKPlus,
    ClassFolders,
    FaceRecord,
    FaceSet,
    JoinedFaces,
    PictureFolder,
    RafDb,
    find_face_sets,
    in_test_share,
)
from ssl_faces.data.pairs.module import FaceDataModule
from ssl_faces.data.sets.biwi import pose_of
from ssl_faces.rendered import pose_rotation
from tests.data.test_face_sets import keys, message_of, put_picture

# RAF-DB -----------------------------------------------------------------------------------------

RAF_ORDER = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
RAF_OURS = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")


def rafdb(root: Path, nested: bool = False) -> Path:
    lines = []
    for i in range(14):
        name = f"{'train' if i < 10 else 'test'}_{i:05d}"
        aligned = root / "Image" / "aligned" if nested else root / "aligned"
        put_picture(aligned / f"{name}_aligned.jpg", level=10 * i)
        lines.append(f"{name}.jpg {i % 7 + 1}")
    listed = root / "EmoLabel" if nested else root
    listed.mkdir(exist_ok=True)
    (listed / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("nested", [True, False])
def test_rafdb(tmp_path: Path, nested: bool) -> None:
    rafdb(tmp_path, nested)
    (train,) = find_face_sets(tmp_path)
    assert isinstance(train, RafDb)
    assert keys(train) == [f"train_{i:05d}.jpg" for i in range(10)]
    test = train.test_part()
    assert test is not None
    assert keys(test) == [f"test_{i:05d}.jpg" for i in range(10, 14)]
    for i, sample in enumerate(train):
        assert EXPRESSIONS[sample["expression"]] == RAF_OURS[i % 7]
        assert abs(sample["image"].float().mean().item() - 10 * i) < 2
    assert len(RafDb(tmp_path, "all")) == 14


@pytest.mark.parametrize("line", ["train_00001.jpg", "train_00001.jpg 8", "x.jpg 1", "train_1 0 0"])
def test_rafdb_malformed_line(tmp_path: Path, line: str) -> None:
    listed = rafdb(tmp_path) / "list_patition_label.txt"
    listed.write_text(f"train_00000.jpg 1\n\n{line}\n")
    assert f"{listed}, line 3: '{line}'" in message_of(RafDb, tmp_path)


def test_rafdb_missing_pictures_and_folders(tmp_path: Path) -> None:
    rafdb(tmp_path)
    (tmp_path / "aligned" / "train_00003_aligned.jpg").unlink()
    faces = RafDb(tmp_path)
    assert len(faces) == 9
    assert [item.key for item in faces.skipped] == ["train_00003.jpg"]
    (tmp_path / "aligned").rename(tmp_path / "other")
    assert f"{tmp_path} has no aligned/" in message_of(RafDb, tmp_path)


# AffectNet --------------------------------------------------------------------------------------

AFFECT_ORDER = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry")


def affectnet_csv(root: Path, boxes: bool = False) -> Path:
    for table, count in (("training.csv", 22), ("validation.csv", 11)):
        rows = []
        for i in range(count):
            key = f"{i % 3}/{table[:3]}{i}.png"
            path = root / "Manually_Annotated_Images" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((40, 60), dtype=np.uint8)
            pixels[10:30, 20:40] = 100 + i
            Image.fromarray(pixels).save(path)
            valence, arousal = (-2, -2) if i % 11 > 7 else (i / 22 - 0.5, i / -44)
            rows.append([key, 20, 10, 20, 20, "1;2;3", i % 11, valence, arousal])
        header = ["subDirectory_filePath", "face_x", "face_y", "face_width", "face_height"]
        header += ["facial_landmarks", "expression", "valence", "arousal"]
        if not boxes:
            header[1] = "x"
        with (root / table).open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
    return root


def affectnet_arrays(root: Path) -> Path:
    for side, count in (("train_set", 22), ("val_set", 11)):
        (root / side / "annotations").mkdir(parents=True)
        for i in range(count):
            put_picture(root / side / "images" / f"{i}.jpg", level=i)
            values = {"exp": str(i % 11), "val": i / 22 - 0.5, "aro": i / -44}
            for what, value in values.items():
                np.save(root / side / "annotations" / f"{i}_{what}.npy", np.array(value))
    return root


@pytest.mark.parametrize("make", [affectnet_csv, affectnet_arrays])
def test_affectnet(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path)
    (train,) = find_face_sets(tmp_path)
    assert isinstance(train, AffectNet)
    assert len(train) == 14, "seven classes, each twice"
    assert train.left_out == {"contempt": 2, "none": 2, "uncertain": 2, "no face": 2}
    assert len(train.skipped) == 8
    test = train.test_part()
    assert test is not None
    assert len(test) == 7
    both = AffectNet(tmp_path, "all")
    assert {*keys(train), *keys(test)} == set(keys(both))
    for record in train.records:
        i = int("".join(c for c in record.key.rpartition("/")[2] if c.isdigit()))
        assert EXPRESSIONS[record.labels["expression"]] == AFFECT_ORDER[i % 11]
        assert record.labels["valence"] == pytest.approx(i / 22 - 0.5)
        assert record.labels["arousal"] == pytest.approx(i / -44)


def test_affectnet_cuts_faces_out(tmp_path: Path) -> None:
    whole, cut = (AffectNet(affectnet_csv(tmp_path, boxes)) for boxes in (False, True))
    assert whole.read(0).shape == (40, 60, 3)
    assert cut.read(3, at_least=8).shape == (20, 20, 3)
    assert (cut.read(3) == 103).all()
    assert cut.content_hash(3) == whole.content_hash(3), "a copy is a copy, however it is cut"
    assert cut.version(3) != whole.version(3)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0/a.png,0,0,0,0,,11,0,0", "expression is '11', not a number from 0 to 10"),
        ("0/a.png,0,0,0,0,,1.5,0,0", "expression is '1.5', not a whole number"),
        ("0/a.png,0,0,0,0,,1,x,0", "valence is 'x', not a number"),
        ("0/a.png,0,0,0,0,,1,0,-1.5", "arousal is -1.5, neither from -1 to 1"),
        ("../a.png,0,0,0,0,,1,0,0", "subDirectory_filePath is '../a.png'"),
        ("0/a.png,1,0,0", "4 columns instead of 9"),
    ],
)
def test_affectnet_malformed_row(tmp_path: Path, row: str, said: str) -> None:
    table = affectnet_csv(tmp_path) / "training.csv"
    table.write_text("\n".join([table.read_text().splitlines()[0], row]) + "\n")
    text = message_of(AffectNet, tmp_path)
    assert f"{table}, line 2: " in text
    assert said in text


def test_affectnet_never_unpickles(tmp_path: Path) -> None:
    path = affectnet_arrays(tmp_path) / "train_set" / "annotations" / "3_exp.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert f"{path} is not an array file of one number" in message_of(AffectNet, tmp_path)


# CK+ --------------------------------------------------------------------------------------------


def ckplus(root: Path, people: int = 12) -> Path:
    """Person i shows two labelled sequences; the last two people none."""
    for i in range(people):
        for number in (1, 2):
            place = f"S{i:03d}/{number:03d}"
            for frame in range(1, 7):
                name = f"S{i:03d}_{number:03d}_{frame:08d}.png"
                put_picture(root / "cohn-kanade-images" / place / name, 10 * i + frame)
            if i < people - 2:
                label = (1, 3, 4, 5, 6, 7)[(i + number) % 6] if (i, number) != (0, 1) else 2
                file = root / "Emotion" / place / f"S{i:03d}_{number:03d}_00000006_emotion.txt"
                file.parent.mkdir(parents=True)
                file.write_text(f"   {label:.7e}\n")
    return root


def test_ckplus(tmp_path: Path) -> None:
    (train,) = find_face_sets(ckplus(tmp_path))
    assert isinstance(train, CKPlus)
    assert set(train.people) == {"ckplus_S010", "ckplus_S011"}
    test = train.test_part()
    assert test is not None
    assert test.held_out_people == train.held_out_people == {f"ckplus_S{i:03d}" for i in range(10)}
    assert train.left_out == {"contempt": 1}
    one = {
        r.key[-5]: EXPRESSIONS[r.labels["expression"]] for r in test.records if "003/001" in r.key
    }
    # The 4th label (from 0) is 6.
    assert one == {"1": "neutral", "4": "sad", "5": "sad", "6": "sad"}
    assert test.folds is not None
    people = [record.person for record in test.records]
    by_fold = {
        fold: {p for p, f in zip(people, test.folds, strict=True) if f == fold}
        for fold in range(10)
    }
    assert all(len(names) == 1 for names in by_fold.values())
    both = CKPlus(tmp_path, "all")
    assert both.folds is not None
    assert {
        f for r, f in zip(both.records, both.folds, strict=True) if "expression" not in r.labels
    } == {-1}


def test_ckplus_bad_label(tmp_path: Path) -> None:
    file = next(ckplus(tmp_path).rglob("*_emotion.txt"))
    for text in ("9", "", "happy"):
        file.write_text(text)
        assert f"{file} holds" in message_of(CKPlus, tmp_path)


def test_pretraining_leaves_out_what_is_all_test(tmp_path: Path) -> None:
    """CK+ gives it nothing, yet no copy of a picture of CK+ comes in by another set."""
    root = tmp_path / "data"
    ckplus(root / "ck", people=5)
    for label in (root / "ck").rglob("*_emotion.txt"):
        label.write_text("5")
    for i in range(3, 5):  # everybody is tested
        put = root / "ck/Emotion" / f"S{i:03d}/001/S{i:03d}_001_00000006_emotion.txt"
        put.parent.mkdir(parents=True, exist_ok=True)
        put.write_text("5")
    rafdb(root / "raf")
    tested = root / "ck/cohn-kanade-images/S001/001/S001_001_00000006.png"
    (root / "raf/aligned/train_00002_aligned.jpg").write_bytes(tested.read_bytes())
    module = FaceDataModule(root, size=16, batch_size=2, cache=tmp_path / "cache")
    module.setup()
    assert [(d["name"], d["pictures"]) for d in module.description] == [("rafdb", 9)]
    assert module.description[0]["left_out_as_copies_of_test_pictures"] == 1
    only = FaceDataModule(root / "ck", size=16, cache=tmp_path / "cache")
    assert "CK+: all of it is tested on" in message_of(only.setup)


# Pose -------------------------------------------------------------------------------------------


def put_mat(picture: Path, yaw: float, pitch: float, roll: float) -> None:
    """As the owners write it: radians, pitch first and above 0 upwards."""
    angles = np.radians([-pitch, yaw, roll])
    savemat(
        picture.with_suffix(".mat"), {"Pose_Para": np.array([[*angles, 60.0, 60.0, 0.0, 1e-3]])}
    )


def w300lp(root: Path, photographs: int = 6) -> Path:
    rng = np.random.default_rng(0)
    for source in ("AFW", "HELEN_Flip"):
        for i in range(photographs):
            for turn in range(2):
                path = put_picture(root / source / f"P_{i}_{turn}.jpg", 20 * i)
                put_mat(path, *rng.uniform(-40, 40, 3))
    (root / "landmarks" / "AFW").mkdir(parents=True)
    return root


def aflw2000(root: Path, count: int = 5) -> Path:
    for i in range(count):
        path = put_picture(root / f"image{i + 2:05d}.jpg", 30 * i)
        put_mat(path, 10 * i, 5, -i)
    return root


def owners_rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """RotationMatrix.m of the owners' code, radians."""
    (sx, sy, sz), (cx, cy, cz) = np.sin([pitch, yaw, roll]), np.cos([pitch, yaw, roll])
    x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return x @ y @ z


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_signs_of_300w_lp_are_the_projects(tmp_path: Path, axis: int) -> None:
    """A turn about one axis by the owners' matrix is the same turn of the rendered head."""
    angles = np.zeros(3)
    angles[axis] = 0.5
    path = put_picture(tmp_path / "AFW" / "a_0.jpg")
    savemat(path.with_suffix(".mat"), {"Pose_Para": np.array([[*angles, 0, 0, 0, 1]])})
    pose = W300LP(tmp_path)[0]["pose"]
    ours = pose_rotation(*(pose[i : i + 1] for i in range(3)))[0]
    np.testing.assert_allclose(owners_rotation(*angles), ours, atol=1e-6)


def test_w300lp(tmp_path: Path) -> None:
    (faces,) = find_face_sets(w300lp(tmp_path))
    assert isinstance(faces, W300LP)
    assert len(faces) == 24
    assert len(faces.people) == 6, "turns and mirror images of one photograph are one person"
    assert faces.test_part() is None
    assert len(W300LP(tmp_path, "test")) == 0
    (tmp_path / "AFW" / "P_0_0.mat").write_bytes(b"no matrix")
    (tmp_path / "AFW" / "P_0_1.mat").unlink()
    savemat(tmp_path / "AFW" / "P_1_0.mat", {"other": 1})
    reasons = {item.key: item.reason for item in W300LP(tmp_path).skipped}
    assert "is not a MATLAB file" in reasons["AFW/P_0_0.jpg"]
    assert "is missing" in reasons["AFW/P_0_1.jpg"]
    assert "no Pose_Para" in reasons["AFW/P_1_0.jpg"]


def test_aflw2000_leaves_out_large_angles(tmp_path: Path) -> None:
    aflw2000(tmp_path)
    put_mat(tmp_path / "image00004.jpg", 99.5, 0, 0)
    put_mat(tmp_path / "image00005.jpg", 98.5, 0, 0)
    (train,) = find_face_sets(tmp_path)
    assert isinstance(train, AFLW2000)
    assert len(train) == 0
    test = train.test_part()
    assert test is not None
    assert keys(test) == [f"image{i:05d}.jpg" for i in (2, 3, 5, 6)]
    assert [item.key for item in test.skipped] == ["image00004.jpg"]
    torch.testing.assert_close(test[1]["pose"], torch.tensor([10.0, 5.0, -1.0]))


BIWI_FLIP = np.diag([1.0, -1.0, -1.0])  # to y down and z away


def biwi(root: Path, recordings: int = 14, calibrated: bool = True) -> Path:
    rng = np.random.default_rng(1)
    for number in range(1, recordings + 1):
        folder = root / f"{number:02d}"
        for frame in (3, 4):
            stem = folder / f"frame_{frame:05d}"
            path = put_picture(stem.with_name(stem.name + "_rgb.png"), 100, (64, 48))
            yaw, pitch, roll = np.radians(rng.uniform(-40, 40, 3))
            matrix = BIWI_FLIP @ owners_rotation(pitch, yaw, roll) @ BIWI_FLIP
            rows = "\n".join(" ".join(f"{v:.6f}" for v in row) for row in matrix)
            pose = f"{rows}\n\n10 -20 1000\n"
            path.with_name(f"frame_{frame:05d}_pose.txt").write_text(pose)
        if calibrated:
            (folder / "rgb.cal").write_text(
                "50 0 32\n0 50 24\n0 0 1\n\n0 0 0 0\n\n1 0 0\n0 1 0\n0 0 1\n\n0 0 0\n\n64 48\n"
            )
    return root


@pytest.mark.parametrize("seed", range(5))
def test_biwi_angles_are_300w_lps(seed: int) -> None:
    pitch, yaw, roll = np.random.default_rng(seed).uniform(-1.2, 1.2, 3)
    matrix = BIWI_FLIP @ owners_rotation(pitch, yaw, roll) @ BIWI_FLIP
    np.testing.assert_allclose(pose_of(matrix), np.degrees([yaw, -pitch, roll]))


def test_biwi(tmp_path: Path) -> None:
    (train,) = find_face_sets(biwi(tmp_path))
    assert isinstance(train, Biwi)
    test = train.test_part()
    assert test is not None
    assert set(test.people) == {"biwi_01", "biwi_02", "biwi_14"} == train.held_out_people
    assert all(map(in_test_share, test.people))
    assert len(train) + len(test) == 28
    # 260 mm at 1000 mm and a focal length of 50 pixels: 13 pixels around (32.5, 23).
    assert train.records[0].box == (26, 16, 39, 30)
    assert train.read(0).shape == (14, 13, 3)
    assert train[0]["pose"].dtype == torch.float32


def test_biwi_bad_files(tmp_path: Path) -> None:
    biwi(tmp_path, calibrated=False)
    assert Biwi(tmp_path).records[0].box is None
    pose = tmp_path / "03" / "frame_00003_pose.txt"
    for text, said in (("1 2", "9 numbers"), ("x", "else than"), ("1 " * 12, "no rotation")):
        pose.write_text(text)
        (item,) = Biwi(tmp_path).skipped
        assert item.key == "03/frame_00003_rgb.png"
        assert said in item.reason
    (tmp_path / "03" / "rgb.cal").write_text("50 0 32")
    assert "rgb.cal is not a camera calibration" in message_of(Biwi, tmp_path)


# CPLFW ------------------------------------------------------------------------------------------


def cplfw(root: Path, people: int = 20) -> Path:
    lines = []
    for i in range(people):
        for number in (1, 2):
            put_picture(root / "images" / f"Ann_{i}_{number}.jpg", 10 * i + number)
        lines += [f"Ann_{i}_1.jpg 1", f"Ann_{i}_2.jpg 1"]
    for i in range(people):
        lines += [f"Ann_{i}_1.jpg 0", f"Ann_{(i + 1) % people}_2.jpg 0"]
    put_picture(root / "images" / "Zoe_1.jpg")
    (root / "pairs_CPLFW.txt").write_text("\n".join(lines) + "\n")
    return root


def test_cplfw(tmp_path: Path) -> None:
    (train,) = find_face_sets(cplfw(tmp_path))
    assert isinstance(train, CPLFW)
    assert train.people == ["Zoe"]
    assert train.held_out_people == {f"Ann_{i}" for i in range(20)}
    assert len(train.pairs) == 40
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
    assert [item.key for item in fewer.skipped] == ["Ann_0_1.jpg"]


def test_cplfw_malformed(tmp_path: Path) -> None:
    pairs = cplfw(tmp_path) / "pairs_CPLFW.txt"
    lines = pairs.read_text().splitlines()
    for broken, said in (
        ([*lines[:2], "Ann_0_1.jpg"], f"{pairs}, line 3: 'Ann_0_1.jpg' is not"),
        (lines[:3], "3 lines, and a pair takes two"),
        (["a_1.jpg 1", "b_1.jpg 0"], "line 2: the two lines of a pair are marked 1 and 0"),
        ([], "0 lines"),
    ):
        pairs.write_text("\n".join(broken))
        assert said in message_of(CPLFW, tmp_path)


# Class folders, joined sets, boxes --------------------------------------------------------------


def test_class_folders_of_expressions_and_of_others(tmp_path: Path) -> None:
    for i, name in enumerate(("happy", "Sad")):
        for number in range(20):
            put_picture(tmp_path / "faces" / name / f"{number}.png", 100 * i + number)
    train, test, both = (find_face_sets(tmp_path, part)[0] for part in ("train", "test", "all"))
    assert isinstance(train, ClassFolders)
    assert train.categories == EXPRESSIONS
    assert not {train.content_hash(i) for i in range(len(train))} & {
        test.content_hash(i) for i in range(len(test))
    }
    assert len(train) + len(test) == len(both) == 40
    assert {r.key.partition("/")[0]: EXPRESSIONS[r.labels["expression"]] for r in both.records} == {
        "happy": "happy",
        "Sad": "sad",
    }
    put_picture(tmp_path / "faces" / "bored" / "1.png")
    mine = ClassFolders(tmp_path / "faces")
    assert mine.categories == ("Sad", "bored", "happy")
    assert mine.records[-1].labels == {"category": 2}
    assert type(find_face_sets(tmp_path)[0]) is PictureFolder
    put_picture(tmp_path / "twice" / "sad" / "1.png")
    put_picture(tmp_path / "twice" / "sadness" / "1.png")
    assert "are one expression; put them together" in message_of(ClassFolders, tmp_path / "twice")


def test_joined_faces(tmp_path: Path) -> None:
    joined = JoinedFaces(
        W300LP(w300lp(tmp_path / "a")),
        AFLW2000(aflw2000(tmp_path / "b"), "test"),
        "x",
        "X",
        "a -> b",
    )
    assert len(joined) == 29
    test = joined.test_part()
    assert test is not None
    assert keys(test) == [key for key in keys(joined) if key.startswith("test/")]
    assert len(test) == 5
    assert test[2]["image"].float().mean().item() == pytest.approx(60, abs=2)
    assert (joined.title, joined.split) == ("X", "a -> b")


def test_a_box_outside_the_picture_is_a_bad_picture(tmp_path: Path) -> None:
    path = put_picture(tmp_path / "a.png", size=(40, 40))
    boxes = [(-5, -5, 20, 20), (30, 30, 60, 37), (50, 50, 60, 60)]
    faces = FaceSet("x", "all", [FaceRecord(str(i), path, box=b) for i, b in enumerate(boxes)])
    assert faces.read(0).shape == (20, 20, 3)
    for i in (1, 2):
        with pytest.raises(BadPicture, match="lies outside"):
            faces.read(i)
