"""Damaged files of images decode whole, or are bad images."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssl_faces.data.pictures import BadImage, decode_image
from tests.support.images import check_rgb, encoded, png_of

NOISE = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)

WHOLE = {
    "JPEG": encoded(NOISE, "JPEG"),
    "progressive JPEG": encoded(NOISE, "JPEG", progressive=True),
    "grey JPEG": encoded(NOISE[..., 0], "JPEG"),
    "PNG": encoded(NOISE),
    "GIF": encoded(NOISE[..., 0], "GIF"),
    "BMP": encoded(NOISE, "BMP"),
    "TIFF": encoded(NOISE, "TIFF"),
    "deflated TIFF": encoded(NOISE, "TIFF", compression="tiff_adobe_deflate"),
    "WebP": encoded(NOISE, "WEBP"),
    "PPM": encoded(NOISE, "PPM"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_truncated_file_is_never_filled_up(kind):
    """However short it is cut: refused, or (a trailer alone was lost) all the pixels."""
    data = WHOLE[kind]
    whole = decode_image(data)
    refused = 0
    cuts = range(1, len(data), max(1, len(data) // 150))
    for cut in cuts:
        try:
            np.testing.assert_array_equal(decode_image(data[:cut]), whole, err_msg=f"at {cut}")
        except BadImage:
            refused += 1
    assert refused >= 0.9 * len(cuts)


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "grey JPEG", "PNG"])
def test_a_tail_of_zeros_is_a_truncated_file(kind):
    """What a full disk leaves of a file whose size was reserved beforehand."""
    data = WHOLE[kind]
    for share in (0.3, 0.6, 0.9, 0.99):
        cut = int(share * len(data))
        with pytest.raises(BadImage, match="truncated"):
            decode_image(data[:cut] + bytes(len(data) - cut))


def test_bytes_behind_the_picture_are_no_harm():
    """Phones append videos and notes to their JPEGs."""
    for kind in ("JPEG", "PNG"):
        with_trailer = WHOLE[kind] + b"\0\0\0 ftypmp42 \xff\xda\xff\xd8\xff and more"
        np.testing.assert_array_equal(decode_image(with_trailer), decode_image(WHOLE[kind]))


def decodes_or_is_bad(data, at_least=None):
    """Any other exception fails the test."""
    try:
        pixels = decode_image(data, at_least=at_least)
    except BadImage:
        return
    check_rgb(pixels)
    assert min(pixels.shape[:2]) >= min(8, at_least or 8)


quick = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)

# Anywhere, as a share of the file, or in its header.
PLACES = st.one_of(st.floats(0, 0.999), st.integers(0, 120))

STARTS = [
    *(b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*"),
    *(b"P5 9 9 255\n", b"P3 ", b"RIFF\x24\0\0\0WEBPVP8 ", png_of(40, 40)[:33]),
]


@quick
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=300))
def test_random_bytes_decode_or_are_bad(start, rest):
    decodes_or_is_bad(start + rest)


@quick
@given(
    kind=st.sampled_from(sorted(WHOLE)),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(PLACES, st.integers(0, 255)), max_size=12),
    at_least=st.sampled_from([None, 8, 16]),
)
def test_corrupted_pictures_decode_or_are_bad(kind, cut, changes, at_least):
    data = bytearray(WHOLE[kind])
    for place, value in changes:
        data[int(place * len(data)) if isinstance(place, float) else place] = value
    decodes_or_is_bad(bytes(data[: round(cut * len(data))]), at_least)
