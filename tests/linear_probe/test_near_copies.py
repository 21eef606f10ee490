"""Near-copies: found in another crop, size, brightness or compression, and nothing else is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from linear_probe.tasks.near_copies import has_near_copy
from ssl_faces.data import FaceSet, ImageFolder, find_face_sets


@pytest.fixture
def crops(real_data: Path) -> list[Image.Image]:
    """Sixty real faces of as many people."""
    (faces,) = (f for f in find_face_sets(real_data, "all") if f.name == "lfw")
    first = {record.person: i for i, record in reversed(list(enumerate(faces.records)))}
    return [Image.fromarray(faces.read(i)).convert("L") for i in sorted(first.values())[:60]]


def changed(picture: Image.Image, how: str) -> Image.Image:
    side = picture.size[0]
    if how == "darker":
        return ImageEnhance.Contrast(ImageEnhance.Brightness(picture).enhance(0.6)).enhance(0.8)
    if how == "smaller":
        return picture.resize((40, 40))
    if how == "cropped":
        return picture.crop((1, 1, side - 1, side - 1))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=30)
    return Image.open(data)


def saved(root: Path, pictures: list[Image.Image]) -> FaceSet:
    root.mkdir()
    for i, picture in enumerate(pictures):
        picture.save(root / f"{i:03d}.png")
    return ImageFolder(root)


@pytest.mark.parametrize("how", ["darker", "smaller", "cropped", "compressed"])
def test_copies_are_found_and_other_people_are_not(
    how: str, crops: list[Image.Image], tmp_path: Path
) -> None:
    train, others = crops[:40], crops[40:]
    faces = saved(tmp_path / "faces", [*train, *(changed(p, how) for p in train[:20]), *others])
    found = has_near_copy(faces, np.arange(40), np.arange(40, 80))
    assert found[:20].mean() >= 0.95
    assert found[20:].mean() <= 0.05


def test_a_broken_picture_is_no_copy(crops: list[Image.Image], tmp_path: Path) -> None:
    faces = saved(tmp_path / "faces", [*crops[:9], crops[3]])
    (tmp_path / "faces" / "003.png").write_bytes(b"broken")
    assert has_near_copy(faces, np.arange(9), np.array([9, 3])).tolist() == [False, False]
    again = saved(tmp_path / "again", [*crops[:9], crops[3]])
    assert has_near_copy(again, np.arange(9), np.array([9])).tolist() == [True]
