"""Any picture becomes upright uint8 RGB, and anything else is a `BadImage`."""

import io
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from ssl_faces.data.pictures import BACKGROUND, BadImage, decode_image
from tests.support.images import check_rgb, encoded, png_of

# Pillow warns about broken EXIF and near-bombs; what counts here is what comes back.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:Image size")

HEIGHT, WIDTH = 24, 40


def colour_picture():
    """Smooth uint8 [24, 40, 3], different in every corner and channel."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    return np.stack([255 * x, 255 * y, 255 * (1 - x) * y], axis=2).round().astype(np.uint8)


COLOUR = colour_picture()
GREY = np.asarray(Image.fromarray(COLOUR).convert("L"))


def as_rgb(grey):
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encoded(COLOUR), COLOUR, id="RGB PNG"),
        pytest.param(encoded(COLOUR, "BMP"), COLOUR, id="RGB BMP"),
        pytest.param(encoded(COLOUR, "PPM"), COLOUR, id="RGB PPM"),
        pytest.param(encoded(COLOUR, "TIFF"), COLOUR, id="RGB TIFF"),
        pytest.param(encoded(COLOUR, "TIFF", compression="tiff_lzw"), COLOUR, id="LZW TIFF"),
        pytest.param(encoded(COLOUR, "WEBP", lossless=True), COLOUR, id="RGB WebP"),
        pytest.param(encoded(GREY), as_rgb(GREY), id="grey PNG"),
        pytest.param(encoded(GREY, "PPM"), as_rgb(GREY), id="PGM"),
        pytest.param(
            encoded(Image.fromarray(GREY).convert("1")),
            np.asarray(Image.fromarray(GREY).convert("1").convert("RGB")),
            id="1 bit",
        ),
        pytest.param(
            encoded(Image.fromarray(COLOUR).quantize(64)),
            np.asarray(Image.fromarray(COLOUR).quantize(64).convert("RGB")),
            id="palette PNG",
        ),
        pytest.param(encoded(Image.fromarray(GREY), "GIF"), as_rgb(GREY), id="palette GIF"),
    ],
)
def test_lossless_kinds_keep_every_pixel(data, expected):
    pixels = decode_image(data)
    check_rgb(pixels)
    np.testing.assert_array_equal(pixels, expected)
    pixels[0, 0] = 7  # raises if read-only


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encoded(COLOUR, "JPEG", quality=95), COLOUR, id="RGB"),
        pytest.param(
            encoded(COLOUR, "JPEG", quality=95, progressive=True), COLOUR, id="progressive"
        ),
        pytest.param(encoded(GREY, "JPEG", quality=95), as_rgb(GREY), id="grey"),
        pytest.param(
            encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG", quality=95), COLOUR, id="CMYK"
        ),
    ],
)
def test_jpeg_kinds_come_close(data, expected):
    pixels = decode_image(data)
    check_rgb(pixels)
    assert np.abs(pixels.astype(int) - expected).mean() < 3


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode_image(data) == [255, 0, 0]).all()


SIXTEEN_BIT = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 68).astype(np.uint16)  # to 65,212


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(SIXTEEN_BIT), id="PNG"),
        pytest.param(encoded(SIXTEEN_BIT, "TIFF"), id="TIFF"),
        pytest.param(encoded(SIXTEEN_BIT.astype(">u2"), "TIFF"), id="big-endian TIFF"),
        pytest.param(
            b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + SIXTEEN_BIT.astype(">u2").tobytes(), id="PGM"
        ),
    ],
)
def test_16_bit_grey_is_scaled_and_not_clipped(data):
    pixels = decode_image(data)
    check_rgb(pixels)
    np.testing.assert_array_equal(pixels, as_rgb(np.round(SIXTEEN_BIT / 257).astype(np.uint8)))
    assert (decode_image(encoded(np.full((9, 9), 65535, np.uint16))) == 255).all()


@pytest.mark.parametrize("values", [np.float32(0.5), np.int32(70_000), np.int32(-1)])
def test_pixels_of_unknown_range_are_refused(values):
    with pytest.raises(BadImage, match="save it as 8 or 16 bit"):
        decode_image(encoded(np.full((9, 9), values), "TIFF"))


def transparent(mode):
    """A picture of `mode`: red (or grey 76) left half, opaque; right half fully transparent."""
    picture = Image.new("RGBA", (20, 10), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (10, 0, 20, 10))
    if mode == "RGBA":
        return encoded(picture)
    if mode == "LA":
        return encoded(picture.convert("LA"))
    if mode == "P, one colour":
        indices = Image.new("P", (20, 10), 0)
        indices.putpalette([255, 0, 0, 0, 255, 0])
        indices.paste(1, (10, 0, 20, 10))
        return encoded(indices, transparency=1)
    if mode == "P, alpha of every colour":
        indices = Image.new("P", (20, 10), 0)
        indices.putpalette([255, 0, 0, 0, 255, 0])
        indices.paste(1, (10, 0, 20, 10))
        return encoded(indices, transparency=bytes([255, 0]))
    if mode == "RGB with a transparent colour":
        flat = Image.new("RGB", (20, 10), (255, 0, 0))
        flat.paste((0, 255, 0), (10, 0, 20, 10))
        return encoded(flat, transparency=(0, 255, 0))
    assert mode == "L with a transparent grey"
    grey = Image.new("L", (20, 10), 76)
    grey.paste(9, (10, 0, 20, 10))
    return encoded(grey, transparency=9)


@pytest.mark.parametrize(
    ("mode", "left"),
    [
        ("RGBA", [255, 0, 0]),
        ("LA", [76, 76, 76]),
        ("P, one colour", [255, 0, 0]),
        ("P, alpha of every colour", [255, 0, 0]),
        ("RGB with a transparent colour", [255, 0, 0]),
        ("L with a transparent grey", [76, 76, 76]),
    ],
)
def test_transparency_lies_over_mid_grey(mode, left):
    pixels = decode_image(transparent(mode))
    check_rgb(pixels)
    assert (pixels[:, :10] == left).all()
    assert (pixels[:, 10:] == BACKGROUND).all()


def test_half_transparent_is_half_the_background():
    pixels = decode_image(encoded(Image.new("RGBA", (9, 9), (255, 0, 100, 51))))
    expected = 0.2 * np.array([255, 0, 100]) + 0.8 * BACKGROUND
    assert np.abs(pixels - expected).max() <= 0.5


# From the EXIF standard: which way the stored rows and columns lie in the upright picture.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode_image(encoded(COLOUR, kind, exif=exif, quality=95))
    expected = UPRIGHT[orientation](COLOUR)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 6


def test_broken_exif_does_not_cost_the_picture():
    exif = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    check_rgb(decode_image(encoded(COLOUR, "JPEG", exif=exif)))


def test_at_least_decodes_smaller_but_never_below():
    big = np.asarray(Image.fromarray(COLOUR).resize((640, 384), Image.Resampling.BICUBIC))
    data = encoded(big, "JPEG", quality=95)
    assert decode_image(data).shape == (384, 640, 3)
    assert decode_image(data, at_least=96).shape == (96, 160, 3)
    assert decode_image(data, at_least=97).shape == (192, 320, 3)
    assert decode_image(data, at_least=5000).shape == (384, 640, 3)
    small = np.asarray(Image.fromarray(big).resize((160, 96), Image.Resampling.BOX))
    assert np.abs(decode_image(data, at_least=96).astype(int) - small).mean() < 3


def test_at_least_holds_for_a_turned_picture_too():
    big = np.asarray(Image.fromarray(COLOUR).resize((640, 384), Image.Resampling.BICUBIC))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decode_image(encoded(big, "JPEG", quality=95, exif=exif), at_least=96)
    assert pixels.shape == (160, 96, 3)
    upright = UPRIGHT[6](big)
    expected = np.asarray(Image.fromarray(upright).resize((96, 160), Image.Resampling.BOX))
    assert np.abs(pixels.astype(int) - expected).mean() < 3


def test_at_least_leaves_other_kinds_whole():
    np.testing.assert_array_equal(decode_image(encoded(COLOUR), at_least=8), COLOUR)


@pytest.mark.parametrize(
    ("width", "height"),
    [(10_000, 10_001), (14_000, 14_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)],
)
def test_a_huge_picture_is_refused_by_its_header(width, height):
    # Were it decoded first, the reason would be that the pixels are missing.
    with pytest.raises(BadImage, match="100,000,000 pixels"):
        decode_image(png_of(width, height, zlib.compress(bytes(1000))))


@pytest.mark.parametrize("size", [(7, 100), (100, 7), (1, 1)])
def test_a_tiny_picture_is_refused(size):
    with pytest.raises(BadImage, match="a side below 8 pixels"):
        decode_image(encoded(Image.new("RGB", size)))
    assert decode_image(encoded(Image.new("L", (8, 8)))).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"not a picture at all", "not a picture"),
        (b"%PDF-1.4 ...", "not a picture"),
        (b"\xff\xd8\xff", "truncated or broken|not a picture"),
        (b"\x89PNG\r\n\x1a\n", "truncated or broken|not a picture"),
    ],
)
def test_what_is_no_picture_says_so(data, reason):
    with pytest.raises(BadImage, match=reason):
        decode_image(data)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "LA", "P", "I;16", "L", "CMYK"])
def test_large_images_are_converted_strip_by_strip_to_the_same_pixels(kind, monkeypatch):
    values = np.random.default_rng(0).integers(0, 256, (45, 31, 4), dtype=np.uint8)
    if kind == "I;16":
        picture = Image.fromarray(values.view(np.uint16)[..., 0].copy())
    else:
        picture = Image.fromarray(values).convert("RGB" if kind == "P" else kind)
    if kind == "P":
        picture = picture.quantize(20)
        picture.info["transparency"] = 3
    data = io.BytesIO()
    picture.save(data, "TIFF" if kind == "CMYK" else "PNG")
    whole = decode_image(data.getvalue())
    monkeypatch.setattr("ssl_faces.data.pictures._STRIP", 100)
    np.testing.assert_array_equal(decode_image(data.getvalue()), whole)


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    """By several threads at once, small ones beside them."""
    at_work, most = [0, 0], [0, 0]
    original = BmpImageFile.load

    def load(self):
        kind = int(self.size[0] > 32)
        at_work[kind] += 1
        most[kind] = max(most[kind], at_work[kind])
        time.sleep(0.02)
        try:
            return original(self)
        finally:
            at_work[kind] -= 1

    large, small = (encoded(np.zeros((side, side, 3), np.uint8), "BMP") for side in (64, 16))
    monkeypatch.setattr("ssl_faces.data.pictures._LARGE", 1000)
    monkeypatch.setattr(BmpImageFile, "load", load)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode_image, [large, small] * 8))
    assert most[1] == 1
    assert most[0] > 1


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BadImage, match="No such file"):
        decode_image(tmp_path / "gone.jpg")
    with pytest.raises(BadImage, match="can't be read"):
        decode_image(tmp_path)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(BadImage, match="0 bytes"):
        decode_image(tmp_path / "empty.jpg")
