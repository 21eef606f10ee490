"""Packs: the right pixels, made once, made anew when a picture changes, never half-made."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_faces.data import FaceSet, PictureFolder, decode_picture
from ssl_faces.data.faces import FaceRecord
from ssl_faces.data.packing import PackedFaces, default_cache_root, pack, square
from ssl_faces.errors import InputError

SIZES = {"a.png": (20, 20), "b.jpg": (31, 20), "c.png": (16, 16), "d.jpg": (90, 131)}


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(pixels: np.ndarray, path: Path) -> Path:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG" if path.suffix == ".png" else "JPEG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four noise pictures of several sizes and kinds."""
    for seed, (name, size) in enumerate(SIZES.items()):
        save(noise(*size, seed), tmp_path / "faces" / name)
    return tmp_path / "faces"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def message_of(faces: FaceSet, cache: Path) -> str:
    with pytest.raises(InputError) as caught:
        pack(faces, 16, cache)
    text = str(caught.value)
    assert "\n" not in text
    return text


def assert_equal_packs(one: PackedFaces, other: PackedFaces) -> None:
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.records, other.records)
    assert (one.hashes, one.skipped, one.path) == (other.hashes, other.skipped, other.path)


# Pixels -----------------------------------------------------------------------------------------


def middle(pixels: np.ndarray) -> np.ndarray:
    """The centre square; an odd pixel too many is cut off at the end."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    columns = [x + (width - side) // 2 for x in range(side)]
    rows = [y + (height - side) // 2 for y in range(side)]
    return pixels[np.ix_(rows, columns)]


@pytest.mark.parametrize("size", [16, 20, 24])
def test_pixels_are_those_of_the_resized_centre_square(root: Path, cache: Path, size: int) -> None:
    packed = pack(PictureFolder(root), size, cache)
    assert packed.images.shape == (4, 3, size, size)
    assert packed.images.dtype == np.uint8
    for image, name in zip(packed.images, SIZES, strict=True):
        centre = middle(decode_picture(root / name, at_least=size))
        expected = Image.fromarray(centre).resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(expected).transpose(2, 0, 1))


def test_pixels_of_a_picture_of_the_right_size_are_its_own(root: Path, cache: Path) -> None:
    packed = pack(PictureFolder(root), 16, cache)
    np.testing.assert_array_equal(packed.images[2], noise(16, 16, 2).transpose(2, 0, 1))


@pytest.mark.parametrize(("width", "height"), [(30, 10), (10, 30), (11, 10), (10, 13)])
def test_square_takes_the_middle(width: int, height: int) -> None:
    pixels = noise(width, height, 0)
    top, left = (height - 10) // 2, (width - 10) // 2
    expected = pixels[top : top + 10, left : left + 10].transpose(2, 0, 1)
    np.testing.assert_array_equal(square(pixels, 10), expected)


def test_square_smooths_when_it_shrinks() -> None:
    """A fine chequerboard becomes grey, not a coarse chequerboard."""
    board = (255 * (np.indices((64, 64)).sum(0) % 2)).astype(np.uint8)
    small = square(np.repeat(board[..., None], 3, axis=2), 8)
    assert small.min() > 115
    assert small.max() < 140


def test_decoded_arrays_and_encoded_bytes_are_packed_too(cache: Path) -> None:
    grey = noise(16, 16, 0)[..., 0]
    data = io.BytesIO()
    Image.fromarray(noise(16, 16, 1)).save(data, "PNG")
    faces = FaceSet(
        "mixed", "all", [FaceRecord("grey", grey), FaceRecord("bytes", data.getvalue())]
    )
    packed = pack(faces, 16, cache)
    np.testing.assert_array_equal(packed.images[0], np.stack([grey] * 3))
    np.testing.assert_array_equal(packed.images[1], noise(16, 16, 1).transpose(2, 0, 1))
    assert packed.hashes == [
        hashlib.sha256(grey.tobytes()).hexdigest(),
        hashlib.sha256(data.getvalue()).hexdigest(),
    ]


def test_many_pictures_stay_in_order(cache: Path) -> None:
    """More than are decoded at once."""
    records = [FaceRecord(str(i), np.full((8, 8), i % 251, np.uint8)) for i in range(600)]
    packed = pack(FaceSet("many", "all", records), 8, cache)
    assert packed.images[:, 0, 0, 0].tolist() == [i % 251 for i in range(600)]
    assert packed.records.tolist() == list(range(600))
    assert len(packed.hashes) == 600


# Made once --------------------------------------------------------------------------------------


def test_a_second_call_decodes_nothing(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pack(PictureFolder(root), 16, cache)

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(FaceSet, "read", fail)
    monkeypatch.setattr(FaceSet, "read_many", fail)
    monkeypatch.setattr(FaceSet, "content_hash", fail)
    second = pack(PictureFolder(root), 16, cache)
    assert_equal_packs(first, second)
    assert isinstance(second.images, np.memmap)
    assert second.images.mode == "r"


def test_a_cache_holds_one_array_and_one_list_a_pack(root: Path, cache: Path) -> None:
    packed = pack(PictureFolder(root), 16, cache)
    assert packed.path.parent == cache
    files = [packed.path, packed.path.with_suffix(".json")]
    assert sorted(cache.iterdir()) == sorted(files)
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o644, "other users may read it"


def test_a_changed_picture_is_packed_again(root: Path, cache: Path) -> None:
    before = pack(PictureFolder(root), 16, cache)
    save(noise(16, 16, 99), root / "c.png")
    after = pack(PictureFolder(root), 16, cache)
    assert after.path != before.path
    np.testing.assert_array_equal(after.images[2], noise(16, 16, 99).transpose(2, 0, 1))
    np.testing.assert_array_equal(after.images[[0, 1, 3]], before.images[[0, 1, 3]])
    assert after.hashes[2] == hashlib.sha256((root / "c.png").read_bytes()).hexdigest()
    assert after.hashes[2] != before.hashes[2]


def test_a_picture_changed_in_place_is_packed_again(root: Path, cache: Path) -> None:
    """The same number of bytes at another time."""
    before = pack(PictureFolder(root), 16, cache)
    status = (root / "c.png").stat()
    os.utime(root / "c.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert pack(PictureFolder(root), 16, cache).path != before.path


def test_what_is_packed_names_the_pack(root: Path, cache: Path) -> None:
    folder = PictureFolder(root)
    fewer = FaceSet(folder.name, "all", folder.records[:3])
    other = FaceSet("other", "all", folder.records)
    part = FaceSet(folder.name, "train", folder.records)
    packs = [pack(faces, 16, cache) for faces in (folder, fewer, other, part)]
    packs.append(pack(folder, 17, cache))
    assert len({packed.path for packed in packs}) == 5
    assert [len(packed.images) for packed in packs] == [4, 3, 4, 4, 4]
    changed = [FaceRecord("0", np.full((16, 16), level, np.uint8)) for level in (1, 2)]
    one, two = (pack(FaceSet("array", "all", [record]), 16, cache) for record in changed)
    assert one.path != two.path


def test_the_same_names_sizes_and_times_in_another_folder_are_another_pack(
    tmp_path: Path, cache: Path
) -> None:
    packs = []
    for seed, name in enumerate(("one", "two")):
        # Equal in bytes' number and in time, not in pixels.
        path = tmp_path / name / "faces" / "a.bmp"
        path.parent.mkdir(parents=True)
        Image.fromarray(noise(16, 16, seed)).save(path)
        os.utime(path, ns=(10**18, 10**18))
        packs.append(pack(PictureFolder(path.parent), 16, cache))
    assert packs[0].path != packs[1].path
    assert not np.array_equal(packs[0].images, packs[1].images)


def test_default_cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSL_FACES_CACHE", raising=False)
    assert default_cache_root() == tmp_path / ".cache" / "ssl-faces" / "packed"
    monkeypatch.setenv("SSL_FACES_CACHE", "~/packs")
    assert default_cache_root() == tmp_path / "packs"


def test_packs_go_to_the_default_cache(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "elsewhere"))
    assert pack(PictureFolder(root), 16).path.parent == tmp_path / "elsewhere"


# Bad pictures -----------------------------------------------------------------------------------


def test_bad_pictures_are_skipped_and_listed(root: Path, cache: Path) -> None:
    (root / "b.jpg").write_bytes((root / "b.jpg").read_bytes()[:200])
    (root / "empty.png").touch()
    (root / "gone.png").symlink_to(root / "nowhere.png")
    faces = PictureFolder(root)
    packed = pack(faces, 16, cache)
    assert [faces.records[i].key for i in packed.records] == ["a.png", "c.png", "d.jpg"]
    assert packed.images.shape == (3, 3, 16, 16)
    np.testing.assert_array_equal(packed.images[1], noise(16, 16, 2).transpose(2, 0, 1))
    reasons = dict(packed.skipped)
    assert list(reasons) == ["b.jpg", "empty.png", "gone.png"]
    assert "truncated" in reasons["b.jpg"]
    assert "0 bytes" in reasons["empty.png"]
    assert "can't be read" in reasons["gone.png"]
    for key, digest in zip(("a.png", "c.png", "d.jpg"), packed.hashes, strict=True):
        assert digest == hashlib.sha256((root / key).read_bytes()).hexdigest()
    assert_equal_packs(pack(PictureFolder(root), 16, cache), packed)


def test_a_mended_picture_is_packed(root: Path, cache: Path) -> None:
    whole = (root / "b.jpg").read_bytes()
    (root / "b.jpg").write_bytes(whole[:200])
    assert len(pack(PictureFolder(root), 16, cache).skipped) == 1
    (root / "b.jpg").write_bytes(whole)
    packed = pack(PictureFolder(root), 16, cache)
    assert packed.skipped == []
    assert len(packed.images) == 4


def test_no_picture_that_decodes(tmp_path: Path, cache: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_text("no picture")
    text = message_of(PictureFolder(tmp_path), cache)
    assert "none of its 2 pictures can be decoded (1.png: " in text
    assert "check that they are whole" in text
    assert list(cache.iterdir()) == []


# Never half-made --------------------------------------------------------------------------------


def test_an_interrupted_packing_leaves_nothing(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FaceSet, "read_many", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pack(PictureFolder(root), 16, cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    text = message_of(PictureFolder(root), cache)
    assert "the disk is full" in text
    assert "or set SSL_FACES_CACHE to another folder" in text
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made(root: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    text = message_of(PictureFolder(root), tmp_path / "taken")
    assert str(tmp_path / "taken") in text
    assert "SSL_FACES_CACHE" in text


def test_an_array_without_its_list_is_made_anew(root: Path, cache: Path) -> None:
    first = pack(PictureFolder(root), 16, cache)
    expected = np.array(first.images)
    first.path.with_suffix(".json").unlink()
    first.path.write_bytes(b"half an array")
    np.testing.assert_array_equal(pack(PictureFolder(root), 16, cache).images, expected)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize(
    "kind",
    ["short array", "no array", "pickled", "objects", "half a list", "other list", "other length"],
)
def test_a_broken_pack_says_what_to_delete(
    root: Path, cache: Path, tmp_path: Path, kind: str
) -> None:
    path, marker = pack(PictureFolder(root), 16, cache).path, tmp_path / "ran"
    about = path.with_suffix(".json")
    if kind == "short array":
        path.write_bytes(path.read_bytes()[:-1])
    elif kind == "no array":
        path.unlink()
    elif kind == "pickled":
        path.write_bytes(pickle.dumps(Touch(marker)))
    elif kind == "objects":
        np.save(path, np.array([Touch(marker)] * 4, dtype=object), allow_pickle=True)
    elif kind == "half a list":
        about.write_bytes(about.read_bytes()[:-20])
    elif kind == "other list":
        about.write_text("[]")
    else:
        about.write_text(json.dumps({**json.loads(about.read_text()), "records": [0, 1]}))
    text = message_of(PictureFolder(root), cache)
    assert f"{path}: a broken pack" in text
    assert "delete it and its .json" in text
    assert not marker.exists()
    path.unlink(missing_ok=True)
    about.unlink()
    assert len(pack(PictureFolder(root), 16, cache).images) == 4, "that mends it"
