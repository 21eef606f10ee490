"""Which faces the verbs see: found as prepare finds them, or taken whole; bad files are told."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_faces import InputError
from ssl_faces.apps.faces import FaceFinder, FaceReader, first_face
from ssl_faces.data.pictures import BadPicture
from ssl_faces.data.store.packing import square
from ssl_faces.prepare.mtcnn import MTCNN
from ssl_faces.prepare.reading import Settings, read_source
from ssl_faces.prepare.sources import Source
from tests.prepare.media import astronaut, write_picture, write_video
from tests.verbs.conftest import lossless_video, photo, rendered


def test_faces_are_cropped_as_prepare_crops_them(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.png", astronaut())
    prepared = read_source(Source("a", path), Settings(size=48), MTCNN(32))
    (found,) = FaceFinder(48)(astronaut())
    assert np.array_equal(found.pixels, prepared.crops[0])
    assert list(found.box or ()) == prepared.rows[0].box


def test_small_pictures_are_crops_and_large_ones_are_searched(stub: None) -> None:
    small, large = rendered(1, 128)[0], photo((40, 30, 90))
    (whole,) = FaceFinder(32)(small)
    assert whole.box is None
    assert np.array_equal(whole.pixels, square(small, 32).transpose(1, 2, 0))
    assert FaceFinder(32)(large)[0].box == (40, 30, 130, 120)
    assert FaceFinder(32, "never")(large)[0].box is None
    for finder, picture in ((FaceFinder(32, "always"), small), (FaceFinder(32), photo())):
        with pytest.raises(BadPicture, match="no face found"):
            finder(picture)
    with pytest.raises(BadPicture, match=r"no face that can be used \(too small: 39 px"):
        FaceFinder(32)(photo((40, 30, 39)))
    with pytest.raises(InputError, match="--detect maybe: give auto, always, never"):
        FaceFinder(32, "maybe")  # type: ignore[arg-type]


def test_the_largest_face_has_the_files_key(stub: None, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/two.png", photo((40, 30, 60), (150, 60, 110)))
    # Called as a face of the other one would be.
    write_picture(tmp_path / "in/two.png#1", photo((40, 30, 60)), format="PNG")
    faces = list(FaceReader([tmp_path / "in"], FaceFinder(32), quiet=True))
    assert [face.key for face in faces] == ["in/two.png", "in/two.png#1", "in/two.png#1'"]
    assert [(face.box or (0,))[0] for face in faces] == [150, 40, 40]
    largest = FaceReader([tmp_path / "in"], FaceFinder(32), largest=True, quiet=True)
    assert [face.key for face in largest] == ["in/two.png", "in/two.png#1"]


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG of so many pixels, with next to no data: a bomb."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def bad_folder(folder: Path) -> dict[str, str]:
    """Files that can't be used, and one that can; by name what is told of each."""
    folder.mkdir()
    good = rendered(1, 64)[0]
    write_picture(folder / "gut ü 脸.png", good)
    (folder / "not what it says.jpg").write_bytes(b"#!/bin/sh\necho no\n")
    (folder / "empty.png").write_bytes(b"")
    (folder / "one.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    (folder / "huge.png").write_bytes(png_of(20_000, 10_000))
    (folder / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    buffer = io.BytesIO()
    Image.fromarray(good).save(buffer, "JPEG")
    (folder / "cut.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(10_000_000))
    (folder / "film.jpg").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(20))
    os.symlink(folder, folder / "loop")
    os.symlink(folder / "itself", folder / "itself")
    (folder / os.fsdecode(b"bytes \xff.png")).write_bytes((folder / "gut ü 脸.png").read_bytes())
    return {
        "not what it says.jpg": "no picture or video of a known kind",
        "empty.png": "empty (0 bytes)",
        "one.png": "a side below 8",
        "huge.png": "more than 100,000,000 pixels",
        "drawing.svg": "a drawing (SVG)",
        "cut.jpg": "truncated",
        "bomb.zip": "an archive",
        "film.jpg": "truncated or broken",
        "itself": "can't be read",
    }


def test_bad_files_are_told_and_the_others_read(tmp_path: Path) -> None:
    told = bad_folder(tmp_path / "in")
    reader = FaceReader([tmp_path / "in"], FaceFinder(32), fps=1, quiet=True)
    keys = [face.key for face in reader]
    assert keys == [os.fsdecode(b"in/bytes \xff.png"), "in/gut ü 脸.png"]
    said = {one.key.removeprefix("in/"): one.reason for one in reader.skipped}
    assert said.keys() == told.keys()
    for name, reason in told.items():
        assert reason in said[name], name
    assert "skipped 9 of 11 files" in reader.summary()
    # Once more it says the same, not twice as much.
    assert len(list(reader)) == 2
    assert len(reader.skipped) == 9


def test_videos_give_frames_or_are_told(stub: None, tmp_path: Path) -> None:
    crops = rendered(6, 64)
    write_video(tmp_path / "in/a.mp4", list(crops), fps=2)
    Image.fromarray(crops[0]).save(
        tmp_path / "in/b.gif",
        save_all=True,
        append_images=[Image.fromarray(x) for x in crops[1:]],
        duration=500,
    )
    write_video(tmp_path / "in/empty.mp4", [photo()] * 3, fps=2)
    reader = FaceReader([tmp_path / "in"], FaceFinder(32), fps=1, quiet=True)
    faces = list(reader)
    assert [face.key for face in faces[:3]] == [f"in/a.mp4#frame{i}" for i in (0, 2, 4)]
    assert [face.time for face in faces[:3]] == [0, 1, 2]
    assert {face.source for face in faces} == {"in/a.mp4", "in/b.gif"}
    assert reader.whole == 2
    assert [tuple(one) for one in reader.skipped] == [
        ("in/empty.mp4", "no face found in 2 frames that were looked at")
    ]
    reader = FaceReader([tmp_path / "in"], FaceFinder(32), quiet=True)
    assert not list(reader)
    with pytest.raises(InputError, match=r"no face in 3 files \(in/a.mp4: a video or animation"):
        raise reader.nothing()


def test_the_first_face(stub: None, tmp_path: Path) -> None:
    frames = [photo(), photo((40, 30, 60), (150, 60, 110))]
    found = first_face(lossless_video(tmp_path / "a.mkv", frames), FaceFinder(32))
    assert (found.box, found.frame) == ((150, 60, 260, 170), 1)
    for place, said in ((tmp_path, "a folder"), (tmp_path / "no.png", "No such file")):
        with pytest.raises(InputError, match=said):
            first_face(place, FaceFinder(32))
    (tmp_path / "a.svg").write_text("<svg/>")
    with pytest.raises(InputError, match=r"a\.svg: a drawing \(SVG\).*; give a picture"):
        first_face(tmp_path / "a.svg", FaceFinder(32))
