"""The verbs' pictures are the very pictures of the methods' edits; videos keep their times."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ssl_faces import load_method
from ssl_faces.apps.edit import picture_name
from ssl_faces.cli import COMMANDS, main
from ssl_faces.methods.method import FRONTAL, MOTION, NEUTRAL, SWAP
from tests.methods.test_edits import SIDE
from tests.prepare.media import write_video
from tests.verbs.conftest import lossless_video, photo, rendered, write_all
from tests.verbs.test_faces import bad_folder

Runs = Callable[[str], Path]


def go(*words: object) -> int:
    return main([str(word) for word in words])


def as_images(crops: np.ndarray) -> Tensor:
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255


def written(out: Path, count: int, source: str) -> np.ndarray:
    names = [out / "pictures" / source / f"face {i}.png.png" for i in range(count)]
    return np.stack([np.asarray(Image.open(name)) for name in names])


@pytest.mark.parametrize(
    ("verb", "edit"),
    [("neutralise", NEUTRAL), ("frontalise", FRONTAL), ("swap-identity", SWAP)],
)
@pytest.mark.parametrize("kind", ["facecycle_identity", "facecycle_contrast"])
def test_verbs_write_what_edits_give(
    verb: str, edit: str, kind: str, run_of: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl_faces.apps.editing.BATCH", 2)
    crops = rendered(5)
    paths = write_all(tmp_path / "in", crops)
    images = as_images(crops)
    run = run_of(kind)
    words = [verb, tmp_path / "in", "--with", run, "--out", tmp_path / "out"]
    given = (images,)
    if edit == SWAP:
        words += ["--person", paths[3]]
        given = (images, images[3:4].expand_as(images))
    assert go(*words) == 0
    expected = load_method(run).edits()[edit](*given)
    found = as_images(written(tmp_path / "out", 5, "in"))
    torch.testing.assert_close(found, expected, atol=0.6 / 255, rtol=0)
    assert expected.std() > 0.02
    assert not torch.allclose(expected, images, atol=0.1)
    assert not torch.allclose(expected[0], expected[1], atol=1 / 255)
    rows = list(csv.DictReader((tmp_path / "out/faces.csv").open()))
    assert [row["picture"] for row in rows] == [f"pictures/in/face {i}.png.png" for i in range(5)]
    with Image.open(tmp_path / "out/sheet.png") as sheet:
        # Source, maybe person, and result below each other, five faces side by side.
        assert sheet.width > 5 * 96
        assert sheet.height // 98 == (3 if edit == SWAP else 2)


def test_bad_files_are_listed_and_a_bad_run_told(
    run_of: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad_folder(tmp_path / "in")
    run = run_of("facecycle_motion")
    out = tmp_path / "out"
    assert go("neutralise", tmp_path / "in", "--with", run, "--out", out) == 0
    said = capsys.readouterr().out
    assert "neutral face of 2 faces of 11 files" in said
    assert "one picture for a neutral face and for a frontal one" in said
    rows = list(csv.DictReader((out / "faces.csv").open()))
    assert [bool(row["reason"]) for row in rows] == [False] * 2 + [True] * 9
    assert len(list(out.rglob("*.png"))) == 3
    # A second time, written into the folder that is read: no picture of before is taken for one.
    inside = tmp_path / "in/out"
    for more in ((), ("--overwrite",)):
        assert go("neutralise", tmp_path / "in", "--with", run, "--out", inside, *more) == 0
        assert "of 2 faces of 11 files" in capsys.readouterr().out
    picture = tmp_path / "in/gut ü 脸.png"
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = tmp_path / "nothing"
    for words, message in (
        (("swap-identity", picture, "--person", picture, "--with", run), "makes no identity swap"),
        (("neutralise", picture, "--with", "hybrid"), "released as an encoder alone"),
        (("neutralise", picture, "--with", tmp_path / "no"), "no such file"),
        (("neutralise", empty, "--with", run), "no file in it"),
        (("neutralise", tmp_path / "in/empty.png", "--with", run), "empty (0 bytes)"),
        (("neutralise", picture, "--with", run, "--seed", "-1"), "--seed: -1"),
    ):
        assert go(*words, "--out", nothing) == 2
        assert message in capsys.readouterr().err
    assert not nothing.exists()


def test_names_that_are_too_long_are_cut() -> None:
    long = "脸" * 80
    assert len(picture_name(f"in/{long}.jpg").split("/")[-1].encode()) < 120
    assert picture_name(f"in/{long}.jpg") != picture_name(f"in/{long}.png")
    assert picture_name("in/a b.jpg#1") == "pictures/in/a b.jpg#1.png"


def frames_of(path: Path) -> tuple[np.ndarray, list[float]]:
    import av

    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return (
            np.stack([frame.to_ndarray(format="rgb24") for frame in frames]),
            [float(frame.time or 0) for frame in frames],
        )


@pytest.mark.parametrize("kind", ["facecycle_motion", "facecycle_contrast"])
def test_a_film_moves_a_person(
    kind: str, run_of: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops = rendered(9, 64)
    (person,) = write_all(tmp_path / "person", rendered(1, seed=4))
    film = lossless_video(tmp_path / "a film ü.mkv", list(crops), fps=12)
    run = run_of(kind)
    out = tmp_path / "out/moved.mp4"
    words = ("translate", "--motion-of", film, "--person", person, "--with", run)
    assert go(*words, "--out", out) == 0
    said = capsys.readouterr()
    assert "9 frames" in said.out
    assert "9/9" in said.err
    found, times = frames_of(out)
    assert found.shape[1:] == (192, 3 * 192, 3)
    assert times == pytest.approx([i / 12 for i in range(9)], abs=1e-3)
    decoded, _ = frames_of(film)
    images = torch.nn.functional.interpolate(
        as_images(decoded), (SIDE, SIDE), mode="bilinear", antialias=True
    )
    moved = load_method(run).edits()[MOTION](
        images, as_images(rendered(1, seed=4)).expand_as(images)
    )
    shown = as_images(found)
    person_shown = as_images(rendered(1, seed=4)).expand(9, -1, -1, -1)
    for i, expected in enumerate((images, person_shown, moved)):
        part = shown[..., i * 192 : (i + 1) * 192]
        small = torch.nn.functional.interpolate(part, (SIDE, SIDE), mode="area")
        # Enlarged, and compressed with half of the colours' resolution.
        error = (small - expected).abs().mean()
        assert error < 0.08
        assert error < 0.5 * (small - expected.flip(-1)).abs().mean()
        if i == 0:
            assert error < 0.5 * (small - expected.flip(0)).abs().mean()
    assert list(out.parent.iterdir()) == [out]


def test_frames_without_a_face_keep_the_last_result(
    run_of: Runs, stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (person,) = write_all(tmp_path / "person", rendered(1))
    empty = photo()
    # A second, larger face comes in: the one that was there is followed.
    frames = [empty, photo((40, 40, 90)), empty, photo((44, 40, 90), (160, 50, 120)), empty]
    film = lossless_video(tmp_path / "a.mkv", frames)
    words = ("translate", "--person", person, "--with", run_of("facecycle_motion"))
    out = tmp_path / "out.mp4"
    assert go(*words, "--motion-of", film, "--out", out) == 0
    said = capsys.readouterr().out
    assert "5 frames" in said
    assert "no face in 3 of them: the last result stays" in said
    found, _ = frames_of(out)
    result = found[:, :, 2 * 192 :].astype(float)
    assert np.abs(result[0] - 128).max() < 8
    assert np.abs(result[2] - result[1]).mean() < 3
    assert np.abs(result[1] - 128).mean() > 8
    from ssl_faces.apps.faces import FaceFinder
    from ssl_faces.apps.translate import _followed
    from ssl_faces.prepare.sources import Video

    boxes = [face and face.box for _, face in _followed(Video(film, 1000), FaceFinder(32), None)]
    assert boxes == [None, (40, 40, 130, 130), None, (44, 40, 134, 130), None]


def test_bad_films_leave_nothing(
    run_of: Runs, stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (person,) = write_all(tmp_path / "person", rendered(1))
    words = ("translate", "--person", person, "--with", run_of("facecycle_motion"))
    out = tmp_path / "out" / "a.mp4"
    whole = write_video(tmp_path / "whole.mp4", list(rendered(8, 64)), fps=4)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:700])
    no_face = write_video(tmp_path / "none.mp4", [photo()] * 3, fps=5)
    (tmp_path / "a.mp4").write_text("no film")
    for film, said in (
        (no_face, "none.mp4: no face found in 3 frames; give a video with a face"),
        (cut, "cut.mp4: truncated or broken"),
        (tmp_path / "a.mp4", "a.mp4: no picture or video of a known kind"),
        (tmp_path / "gone.mp4", "gone.mp4: can't be read"),
        (person, "is no video: give a folder"),
    ):
        assert go(*words, "--motion-of", film, "--out", out) == 2
        assert said in capsys.readouterr().err
    assert go(*words, "--motion-of", whole, "--out", tmp_path / "folder") == 2
    assert "is a video: give FILE.mp4" in capsys.readouterr().err
    assert not out.parent.exists() or not list(out.parent.iterdir())
    # An animated GIF is a film; one that ends early is told.
    gif = tmp_path / "a.gif"
    pictures = [Image.fromarray(x) for x in rendered(3, 64)]
    pictures[0].save(gif, save_all=True, append_images=pictures[1:], duration=100)
    assert go(*words, "--motion-of", gif, "--out", out) == 0
    assert len(frames_of(out)[0]) == 3
    assert go(*words, "--motion-of", person.parent, "--out", tmp_path / "pictures") == 0
    assert (tmp_path / "pictures/sheet.png").exists()


def test_every_command_is_there_and_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib import import_module

    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for name, (module, function) in COMMANDS.items():
        assert callable(getattr(import_module(module), function))
        assert f" {name} " in said
