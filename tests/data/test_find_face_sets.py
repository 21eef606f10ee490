"""Which sets a folder has, by its contents."""

import logging
import re

import numpy as np

from ssl_faces.data import Fer2013, ImageFolder, default_data_root, find_face_sets
from ssl_faces.data.sets.cfp import CFP
from ssl_faces.data.store.selection import held_out_by
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
