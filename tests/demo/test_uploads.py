"""Uploads within the limits, and one sentence on each that is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_faces import InputError
from ssl_faces.apps.web.uploads import Limits, read_upload
from tests.support.demo import NOT_PICTURES, black
from tests.support.images import BAD_FILES, encoded

FRAMES = [Image.new("L", (40, 40), i * 50) for i in range(3)]
with io.BytesIO() as stream:
    FRAMES[0].save(stream, "GIF", save_all=True, append_images=FRAMES[1:])
    ANIMATION = stream.getvalue()

WRONG = NOT_PICTURES | {
    "one.png": BAD_FILES["one.png"],
    "cut.jpg": BAD_FILES["cut.jpg"],
    "animation.gif": (ANIMATION, "a video or animation"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_uploads(name: str, tmp_path: Path) -> None:
    content, message = WRONG[name]
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_upload(path, "face A", Limits(0.05, 50_000))
    sentence = str(caught.value)
    assert sentence.startswith("face A: ")
    assert message in sentence
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
    pixels = black(48, 64) + 3 * np.arange(64, dtype=np.uint8)[:, None, None]
    path = tmp_path / "upload"
    path.write_bytes(encoded(pixels, kind, **({} if kind == "JPEG" else {"lossless": True})))
    upload = read_upload(path, "face A", Limits(path.stat().st_size / 2**20, 64 * 48))
    assert upload.shape == (64, 48, 3)
    assert np.abs(upload.astype(int) - pixels).max() <= (6 if kind == "JPEG" else 0)
