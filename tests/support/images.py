"""Images, videos and broken files for the tests of commands on the user's own images."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from ssl_faces.prepare.detectors import Faces
from ssl_faces.rendered import RenderedFaces

EYES = np.array([[203.5, 100.9], [247.2, 103.4]])
"""The eyes of `astronaut`: the pupils, read off an enlargement."""

HOLE = (255, 0, 255)
"""Colour of the left upper pixel of the faces in a `photo`."""


@cache
def astronaut() -> np.ndarray:
    """uint8 [512, 512, 3], with one face of 86 x 110 px."""
    picture: np.ndarray = skimage.data.astronaut()
    return picture


def head(side: int = 200) -> np.ndarray:
    """The astronaut's head, uint8 [side, side, 3]."""
    part = Image.fromarray(astronaut()[20:220, 125:325])
    return np.asarray(part.resize((side, side), Image.Resampling.LANCZOS))


def scene(
    at: Sequence[tuple[np.ndarray, int, int]], width: int = 320, height: int = 240
) -> np.ndarray:
    """Images pasted at (left, top) on grey."""
    canvas = Image.new("RGB", (width, height), (90, 110, 130))
    for picture, left, top in at:
        canvas.paste(Image.fromarray(picture), (left, top))
    return np.asarray(canvas)


def rendered(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """Rendered faces, uint8 [count, size, size, 3]."""
    faces = RenderedFaces(max(8, count), 8, "all", size=size, seed=seed)
    return faces.render_batch(range(count)).permute(0, 2, 3, 1).numpy()


def as_images(pictures: np.ndarray) -> Tensor:
    """uint8 [N, S, S, 3] as float [N, 3, S, S] in [0, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def photo(*faces: tuple[int, int, int], width: int = 320, height: int = 240) -> np.ndarray:
    """Noise with faces at (left, top, side), which `detect_holes` finds."""
    picture = np.random.default_rng(0).integers(0, 200, (height, width, 3), dtype=np.uint8)
    for left, top, side in faces:
        picture[top, left] = HOLE
        picture[top, left + 1] = (side, 0, 0)
    return picture


def detect_holes(picture: np.ndarray) -> Faces:
    """A detector of the faces in a `photo`: the pixel right of a `HOLE` has the side in its red."""
    rows, columns = np.nonzero((picture == HOLE).all(2))
    boxes = []
    for x, y in zip(columns.tolist(), rows.tolist(), strict=True):
        side = float(picture[y, x + 1, 0])
        boxes.append((float(x), float(y), x + side, y + side))
    return faces_at(boxes)


def write_video(
    path: Path, frames: Sequence[np.ndarray], fps: int = 10, codec: str = "mpeg4"
) -> Path:
    """Write a video; `ffv1` keeps the pixels as they are."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = {"mjpeg": "yuvj420p", "ffv1": "bgr0"}.get(codec, "yuv420p")
        stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_gif(path: Path, frames: Sequence[np.ndarray], duration: int | list[int] = 100) -> Path:
    """Write an animation; `duration` of each frame is in milliseconds."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=duration)
    return path


def write_picture(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_all(folder: Path, pictures: np.ndarray) -> list[Path]:
    """Write `face 0.png`, `face 1.png`, …"""
    return [write_picture(folder / f"face {i}.png", pixels) for i, pixels in enumerate(pictures)]


def encoded(picture: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(data, kind, **options)
    return data.getvalue()


def check_rgb(pixels: np.ndarray) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header has this many black and white pixels, with these compressed rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def zip_bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.jpg", bytes(10_000_000))
    return packed.getvalue()


BAD_FILES = {
    "not what it says.jpg": (b"#!/bin/sh\necho no\n", "no picture or video of a known kind"),
    "empty.png": (b"", "empty (0 bytes)"),
    "one.png": (encoded(np.zeros((1, 1, 3), np.uint8)), "1x1: a side below 8 pixels"),
    "huge.png": (png_of(10_001, 10_001), "10001x10001: more than 100,000,000 pixels"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a drawing (SVG)"),
    "cut.jpg": (encoded(np.zeros((64, 64, 3), np.uint8), "JPEG")[:-200], "truncated"),
    "bomb.zip": (zip_bomb(), "an archive: it is not opened"),
    "film.jpg": (b"\0\0\0\x18ftypmp42" + bytes(20), "truncated or broken"),
}
"""Contents of files without any face, and the reason for which each is skipped."""


def bad_folder(folder: Path) -> dict[str, str]:
    """Write `BAD_FILES`, two good images and two links; returns the reason for each bad file."""
    good = write_picture(folder / "gut ü 脸.png", rendered(1, 64)[0]).read_bytes()
    Path(folder, "bytes \udcff.png").write_bytes(good)  # a name that is no UTF-8
    for name, (content, _) in BAD_FILES.items():
        (folder / name).write_bytes(content)
    (folder / "loop").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    return {name: reason for name, (_, reason) in BAD_FILES.items()} | {"itself": "can't be read"}


def faces_at(boxes: Sequence[tuple[float, float, float, float]]) -> Faces:
    """Faces with these boxes, and the landmarks of upright faces."""
    if not boxes:
        return Faces.none()
    array = np.array(boxes, np.float32)
    share = np.array([[0.3, 0.38], [0.7, 0.38], [0.5, 0.6], [0.33, 0.78], [0.67, 0.78]])
    corner, side = array[:, None, :2], (array[:, 2:] - array[:, :2])[:, None]
    points = (corner + share * side).astype(np.float32)
    return Faces(array, np.ones(len(array), np.float32), points)


def frames_of(path: Path) -> tuple[np.ndarray, list[float]]:
    import av

    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    return pixels, [float(frame.time or 0) for frame in frames]
