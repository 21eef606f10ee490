"""Real faces, and changes that make near-copies of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from ssl_faces.data import find_face_sets


def resaved(image: Image.Image) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=30)
    return Image.open(data)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "darker": lambda x: ImageEnhance.Contrast(ImageEnhance.Brightness(x).enhance(0.6)).enhance(0.8),
    "brighter": lambda x: ImageEnhance.Brightness(x).enhance(1.3),
    "smaller": lambda x: x.resize((40, 40)),
    "cropped": lambda x: x.crop((1, 1, x.size[0] - 1, x.size[0] - 1)),
    "resaved": resaved,
    "mirrored": ImageOps.mirror,
    "mirrored and resaved": lambda x: resaved(ImageOps.mirror(x)),
}


def photographs_of_people(real_data: Path) -> list[list[Image.Image]]:
    """Real faces of sixty people, two photographs of each."""
    (faces,) = find_face_sets(real_data / "lfw", "all")
    rows: dict[str, list[int]] = {}
    for i, record in enumerate(faces.records):
        assert record.person is not None
        rows.setdefault(record.person, []).append(i)
    people = [of[:2] for _, of in sorted(rows.items()) if len(of) > 1][:60]
    return [[Image.fromarray(faces.read(i)).convert("L") for i in both] for both in people]


def saved(root: Path, images: list[Image.Image]) -> Path:
    root.mkdir(parents=True)
    for i, image in enumerate(images):
        image.save(root / f"{i:03d}.png")
    return root
