"""Packing: the right pixels, made once, resuming where it was killed, adding what is new."""

import hashlib
import io
import itertools
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from ssl_faces.data import FaceSet, ImageFolder, decode_image
from ssl_faces.data.faces import FaceRecord
from ssl_faces.data.pictures import square
from ssl_faces.data.store.cached import pack
from ssl_faces.data.store.held_out import number_of
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.packs import default_cache_root
from tests.support.packed import SIZES, noise, save, small_shards, stored
from tests.support.refusals import message_of

# Pixels -----------------------------------------------------------------------------------------


def middle(pixels):
    """The centre square; an odd pixel too many is cut off at the end."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    columns = [x + (width - side) // 2 for x in range(side)]
    rows = [y + (height - side) // 2 for y in range(side)]
    return pixels[np.ix_(rows, columns)]


@pytest.mark.parametrize("size", [16, 20, 24])
def test_pixels_are_those_of_the_resized_centre_square(root, cache, size):
    found = stored(pack(ImageFolder(root), size, cache))
    assert found.keys() == SIZES.keys()
    for name, (image, _, _) in found.items():
        assert image.dtype == np.uint8
        centre = middle(decode_image(root / name, at_least=size))
        expected = Image.fromarray(centre).resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize(("width", "height"), [(30, 10), (10, 30), (11, 10), (10, 13)])
def test_square_takes_the_middle(width, height):
    pixels = noise(width, height, 0)
    top, left = (height - 10) // 2, (width - 10) // 2
    expected = pixels[top : top + 10, left : left + 10].transpose(2, 0, 1)
    np.testing.assert_array_equal(square(pixels, 10), expected)


def test_square_smooths_when_it_shrinks():
    """A fine chequerboard becomes grey, not a coarse chequerboard."""
    board = (255 * (np.indices((64, 64)).sum(0) % 2)).astype(np.uint8)
    small = square(np.repeat(board[..., None], 3, axis=2), 8)
    assert small.min() > 115
    assert small.max() < 140


def test_decoded_arrays_and_encoded_bytes_are_packed_too(cache):
    grey = noise(16, 16, 0)[..., 0]
    data = io.BytesIO()
    Image.fromarray(noise(16, 16, 1)).save(data, "PNG")
    faces = FaceSet(
        "mixed", "all", [FaceRecord("grey", grey), FaceRecord("bytes", data.getvalue())]
    )
    found = stored(pack(faces, 16, cache))
    np.testing.assert_array_equal(found["grey"].image, np.stack([grey] * 3))
    np.testing.assert_array_equal(found["bytes"].image, noise(16, 16, 1).transpose(2, 0, 1))
    assert found["grey"].sha256 == hashlib.sha256(grey.tobytes()).hexdigest()
    assert found["bytes"].sha256 == hashlib.sha256(data.getvalue()).hexdigest()


def people_of(count, level=0):
    """Flat pictures; person i % 7, or nobody where i % 7 is 0."""
    records = [
        FaceRecord(
            f"{i:04d}", np.full((8, 8), (i + level) % 251, np.uint8), f"p{i % 7}" if i % 7 else None
        )
        for i in range(count)
    ]
    return FaceSet("many", "all", records)


def test_many_pictures_keep_their_keys_and_people(cache, monkeypatch):
    """More than are decoded at once, in several shards."""
    small_shards(monkeypatch, 300, 8)
    packed = pack(people_of(1000), 8, cache)
    assert len(packed.index.shards) >= 4
    found = stored(packed)
    assert len(found) == 1000
    for key, (image, _, person) in found.items():
        assert (image == int(key) % 251).all()
        assert person == (number_of(f"p{int(key) % 7}") if int(key) % 7 else -1)


def test_pictures_of_a_person_share_a_shard(cache, monkeypatch):
    """Where a shard holds them all: person 1 to 6 have 10 pictures each, a shard takes 25."""
    small_shards(monkeypatch, 25, 8)
    packed = pack(people_of(70), 8, cache)
    assert len(packed.index.shards) > 2
    shards = {}
    starts = packed.index.starts()
    for number, (first, last) in enumerate(itertools.pairwise(starts.tolist())):
        people = packed.index.images.people[first:last].tolist()
        assert len(people) <= 25
        for person in people:
            shards.setdefault(person, set()).add(number)
        places = [i for i, person in enumerate(people) if person == number_of("p3")]
        assert places == list(range(places[0], places[0] + 10)) if places else True
    assert {len(at) for person, at in shards.items() if person >= 0} == {1}


def test_a_person_with_more_pictures_than_a_shard_fills_several(cache, monkeypatch):
    small_shards(monkeypatch, 4, 8)
    records = [FaceRecord(str(i), np.full((8, 8), i, np.uint8), "one") for i in range(11)]
    packed = pack(FaceSet("one", "all", records), 8, cache)
    assert [entry.pictures for entry in packed.index.shards] == [4, 4, 3]
    assert len(stored(packed)) == 11


# Made once --------------------------------------------------------------------------------------


def test_a_second_call_decodes_nothing(root, cache, monkeypatch):
    first = pack(ImageFolder(root), 16, cache)

    def fail(*args, **kwargs):
        raise AssertionError("decoded again")

    monkeypatch.setattr(FaceSet, "read", fail)
    monkeypatch.setattr(FaceSet, "read_many", fail)
    monkeypatch.setattr(FaceSet, "content_hash", fail)
    second = pack(ImageFolder(root), 16, cache)
    assert second.folder == first.folder
    assert second.name == first.name
    assert second.verify() == 0, "what was just written needs no reading"


def test_a_changed_picture_is_packed_again(root, cache):
    before = pack(ImageFolder(root), 16, cache)
    save(noise(16, 16, 99), root / "c.png")
    after = pack(ImageFolder(root), 16, cache)
    assert after.folder != before.folder
    one, two = stored(before), stored(after)
    np.testing.assert_array_equal(two["c.png"].image, noise(16, 16, 99).transpose(2, 0, 1))
    for key in SIZES.keys() - {"c.png"}:
        np.testing.assert_array_equal(one[key].image, two[key].image)
    assert two["c.png"].sha256 == hashlib.sha256((root / "c.png").read_bytes()).hexdigest()
    assert two["c.png"].sha256 != one["c.png"].sha256
    # The same number of bytes at another time.
    status = (root / "c.png").stat()
    os.utime(root / "c.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert pack(ImageFolder(root), 16, cache).folder != after.folder


def test_what_is_packed_names_the_pack(root, cache):
    folder = ImageFolder(root)
    fewer = FaceSet(folder.name, "all", folder.records[:3])
    other = FaceSet("other", "all", folder.records)
    part = FaceSet(folder.name, "train", folder.records)
    packs = [pack(faces, 16, cache) for faces in (folder, fewer, other, part)]
    packs.append(pack(folder, 17, cache))
    assert len({packed.folder for packed in packs}) == 5
    assert len({packed.name for packed in packs}) == 5
    assert [len(stored(packed)) for packed in packs] == [4, 3, 4, 4, 4]
    changed = [FaceRecord("0", np.full((16, 16), level, np.uint8)) for level in (1, 2)]
    one, two = (pack(FaceSet("array", "all", [record]), 16, cache) for record in changed)
    assert one.folder != two.folder


def test_the_same_names_sizes_and_times_in_another_folder_are_another_pack(tmp_path, cache):
    packs = []
    for seed, name in enumerate(("one", "two")):
        # Equal in bytes' number and in time, not in pixels.
        path = tmp_path / name / "faces" / "a.bmp"
        path.parent.mkdir(parents=True)
        Image.fromarray(noise(16, 16, seed)).save(path)
        os.utime(path, ns=(10**18, 10**18))
        packs.append(pack(ImageFolder(path.parent), 16, cache))
    assert packs[0].folder != packs[1].folder
    assert not np.array_equal(*(stored(packed)["a.bmp"].image for packed in packs))


def test_default_cache_root(root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSL_FACES_CACHE", raising=False)
    assert default_cache_root() == tmp_path / ".cache" / "ssl-faces" / "packed"
    monkeypatch.setenv("SSL_FACES_CACHE", "~/packs")
    assert default_cache_root() == tmp_path / "packs"
    assert pack(ImageFolder(root), 16).folder.parent == tmp_path / "packs"


# Bad pictures -----------------------------------------------------------------------------------


def test_bad_pictures_are_skipped_and_listed(root, cache):
    (root / "b.jpg").write_bytes((root / "b.jpg").read_bytes()[:200])
    (root / "empty.png").touch()
    (root / "gone.png").symlink_to(root / "nowhere.png")
    packed = pack(ImageFolder(root), 16, cache)
    found = stored(packed)
    assert found.keys() == {"a.png", "c.png", "d.jpg"}
    np.testing.assert_array_equal(found["c.png"].image, noise(16, 16, 2).transpose(2, 0, 1))
    assert {name for name, _ in packed.skipped()} == {"faces"}
    reasons = dict(item for _, item in packed.skipped())
    assert reasons.keys() == {"b.jpg", "empty.png", "gone.png"}
    assert "truncated" in reasons["b.jpg"]
    assert "0 bytes" in reasons["empty.png"]
    assert "can't be read" in reasons["gone.png"]
    for key, picture in found.items():
        assert picture.sha256 == hashlib.sha256((root / key).read_bytes()).hexdigest()
    again = pack(ImageFolder(root), 16, cache)
    assert (again.folder, again.name) == (packed.folder, packed.name)


def test_no_picture_that_decodes(tmp_path, cache):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_text("no picture")
    text = message_of(pack, ImageFolder(tmp_path), 16, cache)
    assert "none of its 2 pictures can be decoded (" in text
    assert ".png: not a picture" in text
    assert "check that they are whole" in text
    assert not list(cache.rglob("shard-*"))


def test_whole_images_are_not_kept(tmp_path):
    """Of 16 images of 3 megapixels, 9 MB each, those that the threads decode are in memory."""
    data = io.BytesIO()
    Image.new("RGB", (2000, 1500), "teal").save(data, "PNG")
    for i in range(16):
        (tmp_path / "faces").mkdir(exist_ok=True)
        (tmp_path / "faces" / f"{i}.png").write_bytes(data.getvalue())
    tracemalloc.start()
    try:
        done = pack_sets([ImageFolder(tmp_path / "faces")], tmp_path / "pack", 16, workers=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.pictures == 16
    assert peak < 60e6
