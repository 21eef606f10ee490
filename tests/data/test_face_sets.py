"""Each face set on a small made-up copy of its owner's layout, and on broken ones."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ssl_faces.data import (
    EXPRESSIONS,
    LFW,
    BadPicture,
    FacePair,
    Fer2013,
    PictureFolder,
    Skipped,
    UTKFace,
    YouTubeKeypoints,
    in_test_share,
)
from tests.data.set_files import (
    OFFICIAL_EMOTIONS,
    TWO_FOLDS,
    YOUTUBE_HEADER,
    album,
    fer_csv,
    fer_folders,
    keys,
    lfw,
    pixels_text,
    put_picture,
    utkface,
    youtube,
    youtube_row,
)
from tests.refusals import message_of

# FER-2013 ---------------------------------------------------------------------------------------


def test_fer2013_folders(tmp_path: Path) -> None:
    fer_folders(tmp_path, ("Training", "PublicTest", "PrivateTest"))
    (tmp_path / "Training" / "happy" / "notes.txt").write_text("no picture")
    train, test, both = (Fer2013(tmp_path, part) for part in ("train", "test", "all"))
    assert keys(train) == [f"Training/{n}/Training_{i}.jpg" for i, n in enumerate(EXPRESSIONS)]
    assert keys(test) == [f"PublicTest/{n}/PublicTest_{i}.jpg" for i, n in enumerate(EXPRESSIONS)]
    assert sorted(keys(both)) == sorted(keys(train) + keys(test))
    assert train.people == []
    for i, sample in enumerate(train):
        assert set(sample) == {"image", "key", "expression"}
        assert sample["expression"] == i
        assert sample["image"].shape == (3, 48, 48)
        assert abs(sample["image"].float().mean().item() - 10 * i) < 2


def test_fer2013_accepts_kaggles_folders_and_spellings(tmp_path: Path) -> None:
    spellings = ("Anger", "disgusted", "FEAR", "happiness", "Neutral", "sadness", "Surprised")
    for name in spellings:
        put_picture(tmp_path / "train" / name / "1.png")
    put_picture(tmp_path / "test" / "angry" / "2.png")
    found = {r.key: r.labels["expression"] for r in Fer2013(tmp_path).records}
    assert found == {f"train/{name}/1.png": i for i, name in enumerate(spellings)}
    assert keys(Fer2013(tmp_path, "test")) == ["test/angry/2.png"]


@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv", "Copy of FER.CSV"])
@pytest.mark.parametrize("give_the_file", [True, False])
def test_fer2013_csv(tmp_path: Path, give_the_file: bool, name: str) -> None:
    rows = [f'{i},"{pixels_text(i)}",Training' for i in range(7)]
    rows += [f"3,{pixels_text(50)},PublicTest", f"3,{pixels_text(60)},PrivateTest"]
    file = fer_csv(tmp_path / name, rows)
    root = file if give_the_file else tmp_path
    train = Fer2013(root)
    assert [EXPRESSIONS[s["expression"]] for s in train] == [n.lower() for n in OFFICIAL_EMOTIONS]
    expected = (5 + np.arange(48 * 48).reshape(48, 48)) % 256
    sample = train[5]
    assert sample["image"].dtype == torch.uint8
    for channel in sample["image"]:
        np.testing.assert_array_equal(channel.numpy(), expected)
    test = Fer2013(root, "test")
    assert len(test) == 1
    assert test[0]["image"][0, 0, 0] == 50
    both = Fer2013(root, "all")
    assert len(both) == 8, "PrivateTest is in no part"
    assert len(set(keys(both))) == 8


def test_fer2013_csv_columns_may_come_in_any_order(tmp_path: Path) -> None:
    file = fer_csv(
        tmp_path / "icml.csv", [f"6, Training,{pixels_text(9)}"], "emotion, Usage, pixels"
    )
    assert EXPRESSIONS[Fer2013(file)[0]["expression"]] == "neutral"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"7,{pixels_text(0)},Training", "emotion '7' is not a number from 0 to 6"),
        (f"-1,{pixels_text(0)},Training", "emotion '-1' is not a number from 0 to 6"),
        (f"happy,{pixels_text(0)},Training", "emotion 'happy' is not a number from 0 to 6"),
        ("3,1 2 3,Training", "pixels must be 2304 numbers"),
        (f"3,{pixels_text(0)} 9,Training", "pixels must be 2304 numbers"),
        (f"3,{pixels_text(0)[:-3]}x 9,Training", "pixels must be 2304 numbers"),
        (f"3,256 {pixels_text(0)[2:]},Training", "pixels must be 2304 numbers from 0 to 255"),
        (f"3,-1 {pixels_text(0)[2:]},Training", "pixels must be 2304 numbers from 0 to 255"),
        ("3,,Training", "pixels must be 2304 numbers"),
        (f"3,{pixels_text(0)}", "2 columns instead of 3"),
        (f"3,{pixels_text(0)},Practice", "unknown Usage 'Practice'"),
    ],
)
def test_fer2013_csv_bad_rows_name_file_and_line(tmp_path: Path, row: str, reason: str) -> None:
    file = fer_csv(tmp_path / "fer2013.csv", [f"0,{pixels_text(0)},Training", row])
    text = message_of(Fer2013, tmp_path)
    assert f"{file}, line 3: " in text
    assert reason in text


def test_fer2013_csv_without_a_column(tmp_path: Path) -> None:
    file = fer_csv(tmp_path / "fer2013.csv", ["0,1 2 3"], "emotion,pixels")
    assert f"{file}, line 1: column Usage is missing" in message_of(Fer2013, file)


def test_fer2013_csv_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "fer2013.csv"
    file.write_bytes(b"emotion,pixels,Usage\n0,\xff\xfe\x00,Training\n")
    assert f"{file} is not a text file" in message_of(Fer2013, file)


def test_fer2013_unknown_class_folder(tmp_path: Path) -> None:
    fer_folders(tmp_path)
    put_picture(tmp_path / "Training" / "contempt" / "1.jpg")
    text = message_of(Fer2013, tmp_path)
    assert str(tmp_path / "Training" / "contempt") in text
    assert "rename it to one of angry, disgust" in text
    assert len(Fer2013(tmp_path, "test")) == 7, "the other part is still good"


def test_fer2013_without_its_folders(tmp_path: Path) -> None:
    assert "does not exist" in message_of(Fer2013, tmp_path / "gone")
    assert "has no folder 'Training'" in message_of(Fer2013, tmp_path)
    fer_folders(tmp_path, ["Training"])
    assert "has no folder 'PublicTest'" in message_of(Fer2013, tmp_path, "test")
    assert len(Fer2013(tmp_path, "all")) == 7


# LFW --------------------------------------------------------------------------------------------


def test_lfw_parts_and_pairs(tmp_path: Path) -> None:
    lfw(tmp_path, TWO_FOLDS)
    train, test, both = (LFW(tmp_path, part) for part in ("train", "test", "all"))
    assert keys(train) == [f"Dora/Dora_000{i}.jpg" for i in range(1, 5)]
    assert {r.person for r in test.records} == {"Ann", "Ben", "Cem"}
    assert sorted(keys(both)) == sorted(keys(train) + keys(test))
    for faces in (train, test, both):
        assert faces.held_out_people == {"Ann", "Ben", "Cem", "Eve"}
        assert faces.pairs == [
            FacePair("Ann/Ann_0001.jpg", "Ann/Ann_0003.jpg", same=True, fold=0),
            FacePair("Ann/Ann_0002.jpg", "Ben/Ben_0001.jpg", same=False, fold=0),
        ]
        assert faces.missing_pairs == [
            FacePair("Cem/Cem_0001.jpg", "Cem/Cem_0002.jpg", same=True, fold=1),
            FacePair("Cem/Cem_0001.jpg", "Eve/Eve_0001.jpg", same=False, fold=1),
        ]
    sample = both[keys(both).index("Ben/Ben_0002.jpg")]
    assert both.people[sample["person"]] == "Ben"


def test_lfw_pairs_with_one_number_are_one_fold(tmp_path: Path) -> None:
    lfw(tmp_path, "2\nAnn\t1\t3\nBen\t1\t2\nAnn\t2\tBen\t1\nCem\t1\tDora\t4\n")
    pairs = LFW(tmp_path, "test").pairs
    assert [pair.same for pair in pairs] == [True, True, False, False]
    assert {pair.fold for pair in pairs} == {0}
    assert pairs[-1][:2] == ("Cem/Cem_0001.jpg", "Dora/Dora_0004.jpg")


@pytest.mark.parametrize("pairs_in", [".", "lfw_funneled"])
@pytest.mark.parametrize("give", [".", "lfw_funneled"])
def test_lfw_in_a_subfolder_with_the_pairs_in_or_beside_it(
    tmp_path: Path, pairs_in: str, give: str
) -> None:
    lfw(tmp_path / "lfw_funneled")
    (tmp_path / pairs_in / "pairs.txt").write_text(TWO_FOLDS)
    faces = LFW(tmp_path / give, "test")
    assert "Ann/Ann_0001.jpg" in keys(faces)
    assert len(faces.pairs) == 2


def test_lfw_without_pairs_cannot_be_split(tmp_path: Path) -> None:
    lfw(tmp_path)
    for part in ("train", "test"):
        text = message_of(LFW, tmp_path, part)
        assert f"{tmp_path} has no pairs.txt" in text
        assert "put the official file there" in text
    assert len(LFW(tmp_path, "all")) == 10


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ("", "line 1: must be the number of folds"),
        ("ten\t300\n", "line 1: must be the number of folds"),
        ("1\t2\t3\n", "line 1: must be the number of folds"),
        ("1\t1\nAnn\t1\t2\n", "1 pairs, but line 1 promises 2"),
        ("1\t1\nAnn\t1\nAnn\t1\tBen\t1\n", "line 2: 'Ann\t1' is not name, number, number"),
        ("1\t1\nAnn\t1\ttwo\nAnn\t1\tBen\t1\n", "line 2: 'Ann\t1\ttwo' is not name, number"),
        ("1\t1\nAnn\t1\t2\nAnn\t1\tBen\n", "line 3: 'Ann\t1\tBen' is not name, number, name"),
        ("1\t1\nAnn\t1\t2\n\nAnn\t1\tBen\tx\n", "line 4: 'Ann\t1\tBen\tx' is not name"),
        ("1\t1\nAnn\t1\t2\nAnn\t1\tAnn\t2\n", "line 3: a pair of different people names Ann"),
    ],
)
def test_lfw_malformed_pairs_name_file_and_line(tmp_path: Path, pairs: str, reason: str) -> None:
    lfw(tmp_path, pairs)
    text = message_of(LFW, tmp_path, "test")
    assert str(tmp_path / "pairs.txt") in text
    assert reason in text


def test_lfw_where_there_are_no_people(tmp_path: Path) -> None:
    put_picture(tmp_path / "album" / "holiday.jpg")
    assert f"{tmp_path} holds no <Person>/<Person>_NNNN.jpg" in message_of(LFW, tmp_path)


# UTKFace ----------------------------------------------------------------------------------------


def test_utkface_labels(tmp_path: Path) -> None:
    put_picture(tmp_path / "26_1_3_20170116174525125.jpg.chip.jpg")
    put_picture(tmp_path / "part2" / "116_0_4_20170116174525125jpg.chip.jpg")
    first, second = UTKFace(tmp_path, "all")
    assert {k: first[k] for k in ("age", "gender", "race")} == {"age": 26, "gender": 1, "race": 3}
    assert isinstance(first["age"], float)
    assert {k: second[k] for k in ("age", "gender", "race")} == {"age": 116, "gender": 0, "race": 4}
    assert set(first) == {"image", "key", "age", "gender", "race"}


def test_utkface_skips_and_lists_names_it_cannot_read(tmp_path: Path) -> None:
    utkface(tmp_path)
    for name in ("39_1_20170116174525125.jpg.chip.jpg", "x_1_0_2017.jpg", "30_2_0_2017.jpg"):
        put_picture(tmp_path / name)
    put_picture(tmp_path / "30_1__2017.jpg")
    for part in ("train", "test", "all"):
        reasons = dict(UTKFace(tmp_path, part).skipped)
        assert set(reasons) == {
            "39_1_20170116174525125.jpg.chip.jpg",
            "x_1_0_2017.jpg",
            "30_2_0_2017.jpg",
            "30_1__2017.jpg",
        }
        assert "field is missing" in reasons["39_1_20170116174525125.jpg.chip.jpg"]
        assert reasons["x_1_0_2017.jpg"] == "age 'x' in its name is not a number from 0 to 130"
        assert "gender '2'" in reasons["30_2_0_2017.jpg"]
        assert "race ''" in reasons["30_1__2017.jpg"]
    assert len(UTKFace(tmp_path, "all")) == 60


def test_utkface_copies_of_one_picture_are_in_one_part(tmp_path: Path) -> None:
    utkface(tmp_path)
    originals = sorted(tmp_path.iterdir())
    copy_of = {}
    for i, original in enumerate(originals):
        copy = tmp_path / f"{99 - i}_0_0_20180101{i:09d}.jpg.chip.jpg"
        copy.write_bytes(original.read_bytes())
        copy_of[original.name] = copy.name
    parts = {part: set(keys(UTKFace(tmp_path, part))) for part in ("train", "test", "all")}
    assert parts["train"] | parts["test"] == parts["all"]
    assert not parts["train"] & parts["test"]
    assert len(parts["all"]) == 120
    for original, copy in copy_of.items():
        assert (original in parts["test"]) == (copy in parts["test"])
    # The name takes no part in it: a share of 20 % of 60, give or take four deviations.
    assert 2 * 1 <= len(parts["test"]) <= 2 * 24


def test_utkface_where_no_name_fits(tmp_path: Path) -> None:
    put_picture(tmp_path / "me.jpg")
    assert f"{tmp_path} holds no picture named <age>_" in message_of(UTKFace, tmp_path)


# YouTube keypoints ------------------------------------------------------------------------------


def test_youtube_keypoints_labels(tmp_path: Path) -> None:
    youtube(tmp_path, [youtube_row("Jo_1.jpg", "Jo", yaw=-30)])
    (sample,) = YouTubeKeypoints(tmp_path, "all")
    assert set(sample) == {"image", "key", "person", "pose", "landmarks"}
    assert sample["key"] == "Jo_1.jpg"
    assert sample["person"] == 0
    torch.testing.assert_close(sample["pose"], torch.tensor([-30.0, -2.5, 3.25]), rtol=0, atol=0)
    expected = torch.stack([torch.arange(68) + 0.25, torch.arange(68) + 100.5], dim=1)
    torch.testing.assert_close(sample["landmarks"], expected, rtol=0, atol=0)


def test_youtube_keypoints_split_by_person(tmp_path: Path) -> None:
    youtube(tmp_path)
    train, test, both = (YouTubeKeypoints(tmp_path, part) for part in ("train", "test", "all"))
    assert set(train.people) | set(test.people) == set(both.people)
    assert not set(train.people) & set(test.people)
    assert sorted(keys(train) + keys(test)) == keys(both), "in order of key"
    assert len(both) == 60
    for faces in (train, test, both):
        assert faces.held_out_people == set(test.people)


def test_youtube_keypoints_columns_go_by_name(tmp_path: Path) -> None:
    names, row = YOUTUBE_HEADER.split(","), youtube_row("Jo_1.jpg", "Jo").split(",")
    youtube(tmp_path, [",".join([row[0], *row[:0:-1]])], ",".join([names[0], *names[:0:-1]]))
    (sample,) = YouTubeKeypoints(tmp_path, "all")
    assert sample["pose"].tolist() == [1.5, -2.5, 3.25]
    assert sample["landmarks"][67].tolist() == [67.25, 167.5]


def test_youtube_keypoints_missing_pictures_are_skipped(tmp_path: Path) -> None:
    youtube(tmp_path)
    (tmp_path / "images" / "P3_1.jpg").unlink()
    faces = YouTubeKeypoints(tmp_path, "all")
    assert faces.skipped == [Skipped("P3_1.jpg", "listed in labels.csv, missing on disk")]
    assert len(faces) == 59
    assert "P3_1.jpg" not in keys(faces)


GOOD_ROW = youtube_row("Jo_1.jpg", "Jo")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (GOOD_ROW.replace("Jo_1", "Jo_2") + ",7", "143 columns instead of 142"),
        (GOOD_ROW.replace("Jo_1", "Jo_2").replace("-2.5", "left"), "pitch is 'left', not a number"),
        (GOOD_ROW.replace("Jo_1", "Jo_2").replace("67.25", "nan"), "x67 is 'nan', not a number"),
        (GOOD_ROW.replace("Jo_1", "Jo_2").replace("100.5", ""), "y0 is '', not a number"),
        (GOOD_ROW.replace("Jo_1", "Jo_2").replace("0.75", "oops"), "reprojection_px is 'oops'"),
        (youtube_row("Jo_2.jpg", ""), "image or person is empty"),
        (GOOD_ROW, "Jo_1.jpg was already given in line 2"),
    ],
)
def test_youtube_keypoints_bad_rows_name_file_and_line(
    tmp_path: Path, row: str, reason: str
) -> None:
    youtube(tmp_path, [GOOD_ROW, row])
    text = message_of(YouTubeKeypoints, tmp_path, "all")
    assert f"{tmp_path / 'labels.csv'}, line 3: " in text
    assert reason in text


def test_youtube_keypoints_missing_parts(tmp_path: Path) -> None:
    assert "has no labels.csv" in message_of(YouTubeKeypoints, tmp_path)
    (tmp_path / "labels.csv").write_text("image,person,yaw\n")
    assert "has no images/" in message_of(YouTubeKeypoints, tmp_path)
    (tmp_path / "images").mkdir()
    text = message_of(YouTubeKeypoints, tmp_path)
    assert f"{tmp_path / 'labels.csv'}, line 1: column pitch is missing" in text


# Any folder -------------------------------------------------------------------------------------


def test_picture_folder_lists_nested_pictures_in_order(tmp_path: Path) -> None:
    faces = PictureFolder(album(tmp_path))
    assert keys(faces) == ["a/3.jpg", "b/2.PNG", "b/deep/er/1.jpeg", "top.bmp"]
    assert faces.ignored == {".txt": 1, ".mp4": 1, "no ending": 1}
    assert faces.people == []
    assert [set(sample) for sample in faces] == [{"image", "key"}] * 4
    assert faces.name == tmp_path.name
    assert PictureFolder(tmp_path, name="album").name == "album"


def test_picture_folder_takes_people_from_folders(tmp_path: Path) -> None:
    faces = PictureFolder(album(tmp_path), people_from_folders=True)
    assert {r.key: r.person for r in faces.records} == {
        "a/3.jpg": "a",
        "b/2.PNG": "b",
        "b/deep/er/1.jpeg": "b/deep/er",
        "top.bmp": None,
    }
    assert ["person" in sample for sample in faces] == [True, True, True, False]


@pytest.mark.parametrize("people_from_folders", [True, False])
def test_picture_folder_parts_are_disjoint(tmp_path: Path, people_from_folders: bool) -> None:
    for person in range(40):
        for i in range(3):
            put_picture(tmp_path / f"p{person}" / f"{i}.jpg")
    parts = {
        part: PictureFolder(tmp_path, people_from_folders, part)
        for part in ("train", "test", "all")
    }
    listed = {part: set(keys(faces)) for part, faces in parts.items()}
    assert listed["train"] | listed["test"] == listed["all"]
    assert not listed["train"] & listed["test"]
    assert 0 < len(listed["test"]) < len(listed["train"])
    if people_from_folders:
        assert not set(parts["train"].people) & set(parts["test"].people)


def test_picture_folder_part_does_not_change_with_more_pictures(tmp_path: Path) -> None:
    for i in range(40):
        put_picture(tmp_path / f"{i}.jpg")
    before = set(keys(PictureFolder(tmp_path, part="test")))
    for i in range(40, 60):
        put_picture(tmp_path / f"{i}.jpg")
    after = set(keys(PictureFolder(tmp_path, part="test")))
    assert before == {key for key in after if int(key.removesuffix(".jpg")) < 40}


def test_picture_folder_follows_links_once(tmp_path: Path) -> None:
    put_picture(tmp_path / "elsewhere" / "1.jpg")
    root = tmp_path / "root"
    put_picture(root / "2.jpg")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    assert keys(PictureFolder(root)) == ["2.jpg", "linked/1.jpg"]


def test_picture_folder_bad_roots(tmp_path: Path) -> None:
    assert f"{tmp_path / 'gone'} does not exist" in message_of(PictureFolder, tmp_path / "gone")
    file = put_picture(tmp_path / "a.jpg")
    assert f"{file} is a file" in message_of(PictureFolder, file)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty} holds no picture" in message_of(PictureFolder, empty)
    (empty / "clip.mp4").touch()
    assert "it holds files ending in .mp4" in message_of(PictureFolder, empty)


def test_file_names_that_are_no_unicode_are_listed(tmp_path: Path) -> None:
    put_picture(tmp_path / "a.jpg")
    try:
        (tmp_path / "a.jpg").rename(tmp_path / "caf\udce9.jpg")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    parts = [
        part for part in ("train", "test") if in_test_share("caf\udce9.jpg") == (part == "test")
    ]
    assert len(PictureFolder(tmp_path, part=parts[0])[0]["image"]) == 3  # type: ignore[arg-type]


def test_a_bad_picture_is_told_when_it_is_read(tmp_path: Path) -> None:
    put_picture(tmp_path / "good.jpg")
    (tmp_path / "zero.jpg").touch()
    faces = PictureFolder(tmp_path)
    assert faces[0]["image"].shape == (3, 10, 12)
    with pytest.raises(BadPicture, match="0 bytes"):
        faces[1]


def test_many_labelled_faces_go_to_a_spawned_loader_process(tmp_path: Path) -> None:
    """With fewer open files allowed than there are label tensors."""
    rows = [youtube_row(f"P{p}_{i}.jpg", f"P{p}") for p in range(30) for i in range(10)]
    faces = YouTubeKeypoints(youtube(tmp_path, rows), "all")
    loader = DataLoader(faces, batch_size=100, num_workers=1, multiprocessing_context="spawn")  # type: ignore[arg-type]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        batches = list(loader)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    landmarks = torch.cat([batch["landmarks"] for batch in batches])
    assert landmarks.shape == (300, 68, 2)
    torch.testing.assert_close(landmarks[7], faces[7]["landmarks"])
