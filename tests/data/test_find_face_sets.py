"""Which sets a folder has by its contents, and folders of images of any kind."""

import logging
import re
import resource

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ssl_faces.data import (
    BadImage,
    ClassFolders,
    FaceRecord,
    FaceSet,
    Fer2013,
    ImageFolder,
    YouTubeKeypoints,
    default_data_root,
    find_face_sets,
    in_test_share,
)
from ssl_faces.data.sets.cfp import CFP
from ssl_faces.data.store.selection import held_out_by
from tests.support import layouts as made
from tests.support.images import write_picture
from tests.support.layouts import (
    TWO_FOLDS,
    album,
    fer_csv,
    fer_folders,
    ferplus_labels,
    keys,
    lfw,
    pixels_text,
    put_picture,
    rafdb,
    utkface,
)
from tests.support.refusals import message_of


def test_a_data_set_itself_may_be_given(tmp_path):
    assert [type(faces) for faces in find_face_sets(fer_folders(tmp_path / "x"))] == [Fer2013]


def test_finds_the_csv_and_pairs_beside(tmp_path):
    fer_csv(tmp_path / "fer2013.csv", [f"0,{pixels_text(0)},Training"])
    assert [type(faces) for faces in find_face_sets(tmp_path)] == [Fer2013]
    (tmp_path / "fer2013.csv").rename(tmp_path / "old.txt")
    lfw(tmp_path / "lfw-deepfunneled")
    (tmp_path / "pairs.txt").write_text(TWO_FOLDS)
    (found,) = find_face_sets(tmp_path)
    assert keys(found) == [f"Dora/Dora_000{i}.jpg" for i in range(1, 5)]


def test_plain_pictures_are_one_unlabelled_set(tmp_path):
    album(tmp_path)
    (found,) = find_face_sets(tmp_path)
    assert type(found) is ImageFolder
    assert found.part == "all"
    assert len(found) == 4
    assert find_face_sets(tmp_path, "test") == []


def test_finds_pictures_however_deep(tmp_path):
    put_picture(tmp_path / "a" / "b" / "c" / "d" / "1.jpg")
    (found,) = find_face_sets(tmp_path)
    assert keys(found) == ["a/b/c/d/1.jpg"]


def test_warns_of_what_it_leaves_out(tmp_path, caplog):
    utkface(tmp_path / "utk")
    put_picture(tmp_path / "mine" / "1.jpg")
    with caplog.at_level(logging.WARNING):
        assert [faces.name for faces in find_face_sets(tmp_path)] == ["utkface"]
    assert f"{tmp_path / 'mine'} is no data set known here" in caplog.text


def test_refuses_two_copies(tmp_path):
    utkface(tmp_path / "one")
    utkface(tmp_path / "two")
    text = message_of(find_face_sets, tmp_path)
    assert f"UTKFace twice, in {tmp_path / 'one'} and {tmp_path / 'two'}" in text


def test_says_how_to_unpack(tmp_path):
    (tmp_path / "README.md").touch()
    (tmp_path / "fer2013.zip").touch()
    (tmp_path / "utkface.zip").touch()
    text = message_of(find_face_sets, tmp_path)
    assert "fer2013.zip, utkface.zip" in text
    assert f"python -m zipfile -e {tmp_path / 'fer2013.zip'} " in text


def test_votes_of_ferplus_beside_images_of_other_names(tmp_path, caplog):
    """FER-2013 as class folders: nothing gives the row of `Training_69523426.jpg`."""
    table = fer_folders(tmp_path) / "fer2013new.csv"
    table.write_text("\n".join(["Usage,Image name", *ferplus_labels()]) + "\n")
    with caplog.at_level(logging.WARNING):
        assert [type(faces) for faces in find_face_sets(tmp_path)] == [Fer2013]
    assert f"{table} is left out: its rows can't be matched to the images beside" in caplog.text


def test_empty_or_missing(tmp_path):
    assert re.search(f"{tmp_path} holds no pictures; give a", message_of(find_face_sets, tmp_path))
    assert f"{tmp_path / 'gone'} does not exist" in message_of(find_face_sets, tmp_path / "gone")


def test_default_data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_FACES_DATA", str(tmp_path))
    assert default_data_root() == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_FACES_DATA", "~/faces")
    assert default_data_root() == tmp_path / "faces"
    monkeypatch.delenv("SSL_FACES_DATA")
    assert default_data_root() == tmp_path / ".cache" / "ssl-faces" / "data"


def test_a_set_without_its_test_part_does_not_hide_the_others(tmp_path, caplog):
    fer_folders(tmp_path / "fer", usages=["Training"])
    assert "no folder 'PublicTest'" in message_of(find_face_sets, tmp_path, "test")
    rafdb(tmp_path / "raf")
    assert [faces.name for faces in find_face_sets(tmp_path, "test")] == ["rafdb"]
    assert "no folder 'PublicTest'" in caplog.text
    (fer, _) = find_face_sets(tmp_path, "train")
    assert fer.test_part() is None
    assert held_out_by([fer], cache=tmp_path / "cache").is_empty


def test_a_folder_called_frontal_is_not_cfp(tmp_path):
    """`ssl-faces render --counterparts frontal` writes counterparts/frontal beside the images."""
    write_picture(tmp_path / "images/0.png", np.zeros((16, 16, 3), np.uint8))
    write_picture(tmp_path / "counterparts/frontal/0.png", np.zeros((16, 16, 3), np.uint8))
    assert not CFP.recognises(tmp_path)


def test_class_folders_of_a_users_own_classes(tmp_path):
    mine = ClassFolders(made.class_folders(tmp_path, ("happy", "Sad", "bored")))
    assert mine.categories == ("Sad", "bored", "happy")
    assert mine.records[-1].labels == {"category": 2}
    assert type(find_face_sets(tmp_path)[0]) is ImageFolder


# Any folder -------------------------------------------------------------------------------------


def test_picture_folder_lists_nested_pictures_in_order(tmp_path):
    faces = ImageFolder(made.album(tmp_path))
    assert keys(faces) == ["a/3.jpg", "b/2.PNG", "b/deep/er/1.jpeg", "top.bmp"]
    assert faces.ignored == {".txt": 1, ".mp4": 1, "no ending": 1}
    assert [set(sample) for sample in faces] == [{"image", "key"}] * 4
    assert faces.name == tmp_path.name
    assert ImageFolder(tmp_path, name="album").name == "album"
    people = [r.person for r in ImageFolder(tmp_path, people_from_folders=True).records]
    assert people == ["a", "b", "b/deep/er", None]


@pytest.mark.parametrize("people_from_folders", [True, False])
def test_picture_folder_parts_are_disjoint_and_stay(tmp_path, people_from_folders):
    def parts(people):
        for person in people:
            for i in range(3):
                put_picture(tmp_path / f"p{person}" / f"{i}.jpg")
        names = ("train", "test", "all")
        return {p: ImageFolder(tmp_path, people_from_folders, p) for p in names}

    found = parts(range(40))
    listed = {part: set(keys(faces)) for part, faces in found.items()}
    assert listed["train"] | listed["test"] == listed["all"]
    assert not listed["train"] & listed["test"]
    assert 0 < len(listed["test"]) < len(listed["train"])
    assert not set(found["train"].people) & set(found["test"].people)
    more = set(keys(parts(range(40, 60))["test"]))
    assert {key for key in more if key in listed["all"]} == listed["test"]


def test_picture_folder_follows_links_once(tmp_path):
    put_picture(tmp_path / "elsewhere" / "1.jpg")
    root = tmp_path / "root"
    put_picture(root / "2.jpg")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    assert keys(ImageFolder(root)) == ["2.jpg", "linked/1.jpg"]


def test_picture_folder_bad_roots(tmp_path):
    assert f"{tmp_path / 'gone'} does not exist" in message_of(ImageFolder, tmp_path / "gone")
    file = put_picture(tmp_path / "a.jpg")
    assert f"{file} is a file" in message_of(ImageFolder, file)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty} holds no picture" in message_of(ImageFolder, empty)
    (empty / "clip.mp4").touch()
    assert "it holds files ending in .mp4" in message_of(ImageFolder, empty)


def test_file_names_that_are_no_unicode_are_listed(tmp_path):
    try:
        put_picture(tmp_path / "a.jpg").rename(tmp_path / "caf\udce9.jpg")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    part = "test" if in_test_share("caf\udce9.jpg") else "train"
    assert len(ImageFolder(tmp_path, part=part)[0]["image"]) == 3


# Reading ----------------------------------------------------------------------------------------


def test_a_bad_picture_is_known_when_it_is_read(tmp_path):
    put_picture(tmp_path / "good.jpg")
    (tmp_path / "zero.jpg").touch()
    faces = ImageFolder(tmp_path)
    assert faces[0]["image"].shape == (3, 10, 12)
    with pytest.raises(BadImage, match="0 bytes"):
        faces[1]


def test_a_box_outside_the_picture_is_a_bad_picture(tmp_path):
    path = put_picture(tmp_path / "a.png", size=(40, 40))
    boxes = [(-5, -5, 20, 20), (30, 30, 60, 37), (50, 50, 60, 60)]
    faces = FaceSet("x", "all", [FaceRecord(str(i), path, box=b) for i, b in enumerate(boxes)])
    assert faces.read(0).shape == (20, 20, 3)
    for i in (1, 2):
        with pytest.raises(BadImage, match="lies outside"):
            faces.read(i)


def test_many_labelled_faces_go_to_a_loader_process(tmp_path):
    """With fewer open files allowed than there are label tensors."""
    rows = [made.youtube_row(f"P{p}_{i}.jpg", f"P{p}") for p in range(30) for i in range(10)]
    faces = YouTubeKeypoints(made.youtube(tmp_path, rows), "all")
    loader = DataLoader(faces, batch_size=100, num_workers=1, multiprocessing_context="forkserver")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        batches = list(loader)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    landmarks = torch.cat([batch["landmarks"] for batch in batches])
    assert landmarks.shape == (300, 68, 2)
    torch.testing.assert_close(landmarks[7], faces[7]["landmarks"])
