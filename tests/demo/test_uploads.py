"""Uploads within the limits, and one sentence on each that is refused."""

import numpy as np
import pytest

from ssl_faces.apps.web.uploads import Limits, read_upload
from tests.support.demo import NOT_PICTURES, black
from tests.support.images import BAD_FILES, encoded
from tests.support.refusals import message_of

WRONG = NOT_PICTURES | {"one.png": BAD_FILES["one.png"], "cut.jpg": BAD_FILES["cut.jpg"]}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_uploads(name):
    data, message = WRONG[name]
    sentence = message_of(read_upload, data, "face A", Limits(0.05, 50_000))
    assert sentence.startswith("face A: ")
    assert message in sentence
    assert "; give " in sentence
    assert "\n" not in sentence
    assert "face B: no picture yet" in message_of(read_upload, None, "face B", Limits())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_within_the_limits(kind):
    pixels = black(48, 64) + 3 * np.arange(64, dtype=np.uint8)[:, None, None]
    data = encoded(pixels, kind, **({} if kind == "JPEG" else {"lossless": True}))
    upload = read_upload(data, "face A", Limits(len(data) / 2**20, 64 * 48))
    assert upload.shape == (64, 48, 3)
    assert np.abs(upload.astype(int) - pixels).max() <= (6 if kind == "JPEG" else 0)
