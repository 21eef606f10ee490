"""Faces of the user's images, and the commands that edit them."""

import csv
import os
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_faces import InputError, load_method
from ssl_faces.apps.edit import picture_name
from ssl_faces.apps.face_finder import FaceFinder
from ssl_faces.apps.faces import FaceReader, first_face
from ssl_faces.apps.translate import _followed
from ssl_faces.cli import COMMANDS
from ssl_faces.data.pictures import BadImage, square
from ssl_faces.methods.method import FRONTAL, MOTION, NEUTRAL, SWAP
from ssl_faces.prepare.mtcnn import MTCNN
from ssl_faces.prepare.reading import Settings, read_source
from ssl_faces.prepare.sources import Source, Video
from tests.support.commands import refusal, run
from tests.support.facecycle import SIDE
from tests.support.images import (
    as_images,
    astronaut,
    bad_folder,
    frames_of,
    photo,
    rendered,
    write_all,
    write_gif,
    write_picture,
    write_video,
)


def resized(images, mode):
    return torch.nn.functional.interpolate(
        images, (SIDE, SIDE), mode=mode, antialias=mode == "bilinear"
    )


@pytest.mark.parametrize(
    ("command", "edit", "kind"),
    [
        ("neutralise", NEUTRAL, "facecycle_identity"),
        ("swap-identity", SWAP, "facecycle_identity"),
        ("frontalise", FRONTAL, "facecycle_contrast"),
        ("swap-identity", SWAP, "facecycle_contrast"),
    ],
)
def test_commands_write_the_edits(command, edit, kind, run_of, tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_faces.apps.editing.BATCH", 2)
    crops = rendered(5)
    paths = write_all(tmp_path / "in", crops)
    images = as_images(crops)
    argv = [command, tmp_path / "in", "--with", run_of(kind), "--out", tmp_path / "out"]
    inputs = [images]
    if edit == SWAP:
        argv += ["--person", paths[3]]
        inputs.append(images[3:4].expand_as(images))
    assert run(*argv) == 0
    expected = load_method(run_of(kind)).edits()[edit](*inputs)
    names = [f"pictures/in/face {i}.png.png" for i in range(5)]
    written = np.stack([np.asarray(Image.open(tmp_path / "out" / name)) for name in names])
    torch.testing.assert_close(as_images(written), expected, atol=0.6 / 255, rtol=0)
    assert expected.std() > 0.02
    assert not torch.allclose(expected, images, atol=0.1)
    assert not torch.allclose(expected[0], expected[1], atol=1 / 255)
    rows = list(csv.DictReader((tmp_path / "out/faces.csv").open()))
    assert [row["picture"] for row in rows] == names
    with Image.open(tmp_path / "out/sheet.png") as sheet:
        # Source, perhaps person, and result below each other; five faces side by side.
        assert sheet.width > 5 * 96
        assert sheet.height // 98 == (3 if edit == SWAP else 2)


def test_bad_files_are_listed(run_of, tmp_path, capsys):
    bad_folder(tmp_path / "in")
    argv = ("neutralise", tmp_path / "in", "--with", run_of("facecycle_motion"), "--out")
    out = tmp_path / "out"
    assert run(*argv, out) == 0
    printed = capsys.readouterr().out
    assert "neutral face of 2 faces of 11 files" in printed
    assert "one image that is both neutral and frontal" in printed
    rows = list(csv.DictReader((out / "faces.csv").open()))
    assert [bool(row["reason"]) for row in rows] == [False] * 2 + [True] * 9
    assert len(list(out.rglob("*.png"))) == 3
    # In the folder that is read, a second run does not read the images of the first.
    out = tmp_path / "in/out"
    for more in ((), ("--overwrite",)):
        assert run(*argv, out, *more) == 0
        assert "of 2 faces of 11 files" in capsys.readouterr().out
    # Pictures of faces that are gone are removed.
    (tmp_path / "in/gut ü 脸.png").unlink()
    assert run(*argv, out, "--overwrite") == 0
    assert len(list((out / "pictures").rglob("*.png"))) == 1


def test_names_that_are_too_long_are_cut():
    long = "脸" * 80
    assert len(picture_name(f"in/{long}.jpg").split("/")[-1].encode()) < 120
    assert picture_name(f"in/{long}.jpg") != picture_name(f"in/{long}.png")
    assert picture_name("in/a b.jpg#1") == "pictures/in/a b.jpg#1.png"


def test_a_film_moves_a_person(run_of, tmp_path, capsys):
    source = run_of("facecycle_contrast")
    (person,) = write_all(tmp_path / "person", rendered(1, seed=4))
    film = write_video(tmp_path / "a film ü.mkv", list(rendered(9, 64)), 12, "ffv1")
    out = tmp_path / "out/moved.mp4"
    argv = ("translate", "--motion-of", film, "--person", person, "--with", source)
    assert run(*argv, "--out", out) == 0
    printed = capsys.readouterr()
    assert "9 frames" in printed.out
    assert "9/9" in printed.err
    frames, times = frames_of(out)
    assert frames.shape[1:] == (192, 3 * 192, 3)
    assert times == pytest.approx([i / 12 for i in range(9)], abs=1e-3)
    images = resized(as_images(frames_of(film)[0]), "bilinear")
    people = as_images(rendered(1, seed=4)).expand_as(images)
    moved = load_method(source).edits()[MOTION](images, people)
    for i, expected in enumerate((images, people, moved)):
        part = resized(as_images(frames)[..., i * 192 : (i + 1) * 192], "area")
        # Enlarged, and compressed with half of the colours' resolution.
        error = (part - expected).abs().mean()
        assert error < 0.08
        assert error < 0.5 * (part - expected.flip(-1)).abs().mean()
        if i == 0:
            assert error < 0.5 * (part - expected.flip(0)).abs().mean()
    assert list(out.parent.iterdir()) == [out]


def test_frames_without_a_face_repeat_the_last_result(run_of, stub, tmp_path, capsys):
    (person,) = write_all(tmp_path / "person", rendered(1))
    empty = photo()
    # A second, larger face appears: the first one is followed.
    frames = [empty, photo((40, 40, 90)), empty, photo((44, 40, 90), (160, 50, 120)), empty]
    film = write_video(tmp_path / "a.mkv", frames, 5, "ffv1")
    argv = ("translate", "--person", person, "--with", run_of("facecycle_motion"))
    assert run(*argv, "--motion-of", film, "--out", tmp_path / "out.mp4") == 0
    printed = capsys.readouterr().out
    assert "5 frames" in printed
    assert "3 of them have no face and repeat the last result" in printed
    result = frames_of(tmp_path / "out.mp4")[0][:, :, 2 * 192 :].astype(float)
    assert np.abs(result[0] - 128).max() < 8
    assert np.abs(result[2] - result[1]).mean() < 3
    assert np.abs(result[1] - 128).mean() > 8
    boxes = [face and face.box for _, face in _followed(Video(film, 1000), FaceFinder(32))]
    assert boxes == [None, (40, 40, 130, 130), None, (44, 40, 134, 130), None]


def test_bad_films_leave_nothing(run_of, stub, tmp_path, capsys):
    (person,) = write_all(tmp_path / "person", rendered(1))
    argv = ("translate", "--person", person, "--with", run_of("facecycle_motion"), "--motion-of")
    out = tmp_path / "out" / "a.mp4"
    whole = write_video(tmp_path / "whole.mp4", list(rendered(8, 64)), fps=4)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:700])
    no_face = write_video(tmp_path / "none.mp4", [photo()] * 3, fps=5)
    for film, place, message in (
        (no_face, out, "none.mp4: no face found in 3 frames; give a video with a face"),
        (cut, out, "cut.mp4: truncated or broken"),
        (tmp_path / "gone.mp4", out, "gone.mp4: No such file or directory; check the path"),
        (person, out, "is no video; give a folder, or a video as A"),
        (whole, tmp_path / "folder", "is a video; give FILE.mp4"),
    ):
        assert message in refusal(capsys, *argv, film, "--out", place)
    assert not out.parent.exists() or not list(out.parent.iterdir())
    # An animated GIF is a film.
    gif = write_gif(tmp_path / "a.gif", list(rendered(3, 64)))
    assert run(*argv, gif, "--out", out) == 0
    assert len(frames_of(out)[0]) == 3
    assert run(*argv, person.parent, "--out", tmp_path / "pictures") == 0
    assert (tmp_path / "pictures/sheet.png").exists()


def test_every_command_exists_and_is_in_the_help(capsys):
    assert run("--help") == 0
    printed = capsys.readouterr().out
    for name, (module, function, _) in COMMANDS.items():
        assert callable(getattr(import_module(module), function))
        assert f" {name} " in printed


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
