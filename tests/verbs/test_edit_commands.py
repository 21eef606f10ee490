"""The commands' images are those of the methods' edits; videos keep their times."""

import csv
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_faces import load_method
from ssl_faces.apps.edit import picture_name
from ssl_faces.apps.face_finder import FaceFinder
from ssl_faces.apps.translate import _followed
from ssl_faces.cli import COMMANDS
from ssl_faces.methods.method import FRONTAL, MOTION, NEUTRAL, SWAP
from ssl_faces.prepare.sources import Video
from tests.support.commands import refusal, run
from tests.support.facecycle import SIDE
from tests.support.images import (
    as_images,
    bad_folder,
    frames_of,
    photo,
    rendered,
    write_all,
    write_gif,
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
    assert "one picture for a neutral face and for a frontal one" in printed
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
