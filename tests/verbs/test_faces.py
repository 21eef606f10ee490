"""Faces of the user's images: detected like `prepare` or taken whole; bad files are skipped."""

import os

import numpy as np
import pytest

from ssl_faces import InputError
from ssl_faces.apps.face_finder import FaceFinder
from ssl_faces.apps.faces import FaceReader, first_face
from ssl_faces.data.pictures import BadImage, square
from ssl_faces.prepare.mtcnn import MTCNN
from ssl_faces.prepare.reading import Settings, read_source
from ssl_faces.prepare.sources import Source
from tests.support.images import (
    astronaut,
    bad_folder,
    photo,
    rendered,
    write_gif,
    write_picture,
    write_video,
)


def test_faces_are_cropped_as_prepare_crops_them(tmp_path):
    path = write_picture(tmp_path / "a.png", astronaut())
    prepared = read_source(Source("a", path), Settings(size=48), MTCNN(32))
    (crop,) = FaceFinder(48)(astronaut())
    assert np.array_equal(crop.pixels, prepared.crops[0])
    assert list(crop.box or ()) == prepared.rows[0].box


def test_small_images_are_crops_and_large_ones_are_searched(stub):
    small, large = rendered(1, 128)[0], photo((40, 30, 90))
    (whole,) = FaceFinder(32)(small)
    assert whole.box is None
    assert np.array_equal(whole.pixels, square(small, 32).transpose(1, 2, 0))
    assert FaceFinder(32)(large)[0].box == (40, 30, 130, 120)
    assert FaceFinder(32, "never")(large)[0].box is None
    for finder, picture in ((FaceFinder(32, "always"), small), (FaceFinder(32), photo())):
        with pytest.raises(BadImage, match="no face found"):
            finder(picture)
    with pytest.raises(BadImage, match=r"no face that can be used \(too small: 39 px"):
        FaceFinder(32)(photo((40, 30, 39)))
    with pytest.raises(InputError, match="--detect maybe: give auto, always, never"):
        FaceFinder(32, "maybe")


def test_the_largest_face_has_the_files_key(stub, tmp_path):
    write_picture(tmp_path / "in/two.png", photo((40, 30, 60), (150, 60, 110)))
    # Its name equals the key of the other file's second face.
    write_picture(tmp_path / "in/two.png#1", photo((40, 30, 60)), format="PNG")
    faces = list(FaceReader([tmp_path / "in"], FaceFinder(32), quiet=True))
    assert [face.key for face in faces] == ["in/two.png", "in/two.png#1", "in/two.png#1'"]
    assert [(face.box or (0,))[0] for face in faces] == [150, 40, 40]
    largest = FaceReader([tmp_path / "in"], FaceFinder(32), largest=True, quiet=True)
    assert [face.key for face in largest] == ["in/two.png", "in/two.png#1"]


def test_bad_files_are_skipped_and_listed(tmp_path):
    expected = bad_folder(tmp_path / "in")
    reader = FaceReader([tmp_path / "in"], FaceFinder(32), fps=1, quiet=True)
    for _ in range(2):  # a second time, too
        keys = [face.key for face in reader]
        assert keys == [os.fsdecode(b"in/bytes \xff.png"), "in/gut ü 脸.png"]
        skipped = {one.key.removeprefix("in/"): one.reason for one in reader.skipped}
        assert skipped.keys() == expected.keys()
        for name, reason in expected.items():
            assert reason in skipped[name], name
    assert "skipped 9 of 11 files" in reader.summary()


def test_videos_give_frames(stub, tmp_path):
    crops = rendered(6, 64)
    write_video(tmp_path / "in/a.mp4", list(crops), fps=2)
    write_gif(tmp_path / "in/b.gif", list(crops), 500)
    write_video(tmp_path / "in/empty.mp4", [photo()] * 3, fps=2)
    reader = FaceReader([tmp_path / "in"], FaceFinder(32), fps=1, quiet=True)
    faces = list(reader)
    assert [face.key for face in faces[:3]] == [f"in/a.mp4#frame{i}" for i in (0, 2, 4)]
    assert [face.time for face in faces[:3]] == [0, 1, 2]
    assert {face.source for face in faces} == {"in/a.mp4", "in/b.gif"}
    assert reader.whole == 2
    assert [tuple(one) for one in reader.skipped] == [("in/empty.mp4", "no face found in 2 frames")]
    reader = FaceReader([tmp_path / "in"], FaceFinder(32), quiet=True)
    assert not list(reader)
    with pytest.raises(InputError, match=r"no face in 3 files \(in/a.mp4: a video or animation"):
        raise reader.nothing()


def test_the_first_face(stub, tmp_path):
    frames = [photo(), photo((40, 30, 60), (150, 60, 110))]
    film = write_video(tmp_path / "a.mkv", frames, codec="ffv1")
    face = first_face(film, FaceFinder(32))
    assert (face.box, face.frame) == ((150, 60, 260, 170), 1)
    (tmp_path / "a.svg").write_text("<svg/>")
    for path, message in (
        (tmp_path, "a folder"),
        (tmp_path / "no.png", "No such file"),
        (tmp_path / "a.svg", r"a\.svg: a drawing \(SVG\).*; give a picture"),
    ):
        with pytest.raises(InputError, match=message):
            first_face(path, FaceFinder(32))
