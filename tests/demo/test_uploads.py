"""Pictures that visitors may give, and all that is wrong with them in one sentence each."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_faces import InputError
from ssl_faces.apps.demo.uploads import Limits, read_upload
from tests.verbs.conftest import rendered


def encoded(side: tuple[int, int], kind: str = "PNG", mode: str = "RGB", **more: object) -> bytes:
    data = io.BytesIO()
    Image.new(mode, side, 100 if mode == "L" else None).save(data, kind, **more)
    return data.getvalue()


def bomb(side: int = 50_000) -> bytes:
    """A PNG of a few kilobytes that says, truly, that it has 2.5 billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 10_000_000, 9)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animation() -> bytes:
    data = io.BytesIO()
    frames = [Image.new("L", (40, 40), i * 50) for i in range(3)]
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    return data.getvalue()


def cut() -> bytes:
    data = io.BytesIO()
    Image.fromarray(rendered(1, 64)[0]).save(data, "JPEG")
    return data.getvalue()[:-200]


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty"),
    "text": (lambda: b"no picture at all\n" * 9, "known kind"),
    "html": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "a drawing (SVG)"),
    "archive": (lambda: b"PK\3\4" + b"\0" * 99, "archive"),
    "one pixel": (lambda: encoded((1, 1)), "1x1: a side below 8 pixels"),
    "cut": (cut, "truncated"),
    "bomb": (bomb, "pixels"),
    "too many pixels": (lambda: encoded((300, 200), mode="L"), "300 x 200 pixels are more than"),
    "animation": (animation, "a video or animation"),
    "too many bytes": (lambda: b"\xff\xd8\xff" + b"0" * 60_000, "0.1 MB are more than the 0.05 MB"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_uploads(kind: str, tmp_path: Path) -> None:
    make, said = WRONG[kind]
    path = tmp_path / "upload"
    path.write_bytes(make())
    with pytest.raises(InputError) as told:
        read_upload(path, "face A", Limits(0.05, 50_000))
    sentence = str(told.value)
    assert sentence.startswith("face A: ")
    assert said in sentence
    assert "; give " in sentence
    assert "\n" not in sentence
    assert str(tmp_path) not in sentence


def test_none_or_gone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="face B: no picture yet"):
        read_upload(None, "face B", Limits())
    with pytest.raises(InputError, match="face B: is no longer kept here; give it again"):
        read_upload(tmp_path / "gone", "face B", Limits())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_within_the_limits(kind: str, tmp_path: Path) -> None:
    pixels = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 48, 3)) * 3
    path = tmp_path / "upload"
    more = {} if kind == "JPEG" else {"lossless": True}
    Image.fromarray(pixels).save(path, kind, **more)
    found = read_upload(path, "face A", Limits(path.stat().st_size / 1e6, 64 * 48))
    assert found.shape == (64, 48, 3)
    assert np.abs(found.astype(int) - pixels).max() <= (6 if kind == "JPEG" else 0)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(most_mb=0), "--max-mb 0"),
        (Limits(most_mb=float("nan")), "--max-mb nan"),
        (Limits(most_pixels=63), "--max-pixels 63"),
        (Limits(most_pixels=100_000_001), "--max-pixels 100000001"),
    ],
)
def test_limits_that_are_none(limits: Limits, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        limits.check()
    Limits().check()
