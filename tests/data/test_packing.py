"""Packing: the right pixels, made once, resuming where it was killed, adding what is new."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import signal
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from ssl_faces.common.errors import InputError
from ssl_faces.data import FaceSet, ImageFolder, decode_image
from ssl_faces.data.faces import FaceRecord
from ssl_faces.data.pictures import square
from ssl_faces.data.store import packing
from ssl_faces.data.store.held_out import HeldOut, number_of
from ssl_faces.data.store.packing import Packed, pack, pack_sets
from ssl_faces.data.store.packs import INDEX, Pack, default_cache_root
from ssl_faces.data.store.selection import held_out_by
from tests.support.processes import begin
from tests.support.refusals import message_of

SIZES = {"a.png": (20, 20), "b.jpg": (31, 20), "c.png": (16, 16), "d.jpg": (90, 131)}


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(pixels: np.ndarray, path: Path) -> Path:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG" if path.suffix == ".png" else "JPEG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "default"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four noise pictures of several sizes and kinds."""
    for seed, (name, size) in enumerate(SIZES.items()):
        save(noise(*size, seed), tmp_path / "faces" / name)
    return tmp_path / "faces"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class Stored(NamedTuple):
    """A picture of a pack."""

    image: np.ndarray
    sha256: str
    person: int


def stored(pack: Pack) -> dict[str, Stored]:
    """What a pack has to train on, by key."""
    found: dict[str, Stored] = {}
    rows, keys = pack.index.images, pack.index.images.key_list()
    images = np.concatenate([pack.open(number) for number in range(len(pack.index.shards))])
    for row in np.flatnonzero(~rows.dropped).tolist():
        assert keys[row] not in found
        digest = rows.hashes[row].tobytes().hex()
        found[keys[row]] = Stored(images[row], digest, int(rows.people[row]))
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def small_shards(monkeypatch: pytest.MonkeyPatch, pictures: int, size: int = 16) -> None:
    monkeypatch.setattr("ssl_faces.data.store.packing.SHARD_BYTES", pictures * 3 * size * size)


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
    found = stored(pack(ImageFolder(root), size, cache))
    assert found.keys() == SIZES.keys()
    for name, (image, _, _) in found.items():
        assert image.dtype == np.uint8
        centre = middle(decode_image(root / name, at_least=size))
        expected = Image.fromarray(centre).resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(expected).transpose(2, 0, 1))


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
    found = stored(pack(faces, 16, cache))
    np.testing.assert_array_equal(found["grey"].image, np.stack([grey] * 3))
    np.testing.assert_array_equal(found["bytes"].image, noise(16, 16, 1).transpose(2, 0, 1))
    assert found["grey"].sha256 == hashlib.sha256(grey.tobytes()).hexdigest()
    assert found["bytes"].sha256 == hashlib.sha256(data.getvalue()).hexdigest()


def people_of(count: int, level: int = 0) -> FaceSet:
    """Flat pictures; person i % 7, or nobody where i % 7 is 0."""
    records = [
        FaceRecord(
            f"{i:04d}", np.full((8, 8), (i + level) % 251, np.uint8), f"p{i % 7}" if i % 7 else None
        )
        for i in range(count)
    ]
    return FaceSet("many", "all", records)


def test_many_pictures_keep_their_keys_and_people(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than are decoded at once, in several shards."""
    small_shards(monkeypatch, 300, 8)
    packed = pack(people_of(1000), 8, cache)
    assert len(packed.index.shards) >= 4
    found = stored(packed)
    assert len(found) == 1000
    for key, (image, _, person) in found.items():
        assert (image == int(key) % 251).all()
        assert person == (number_of(f"p{int(key) % 7}") if int(key) % 7 else -1)


def test_pictures_of_a_person_share_a_shard(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a shard holds them all: person 1 to 6 have 10 pictures each, a shard takes 25."""
    small_shards(monkeypatch, 25, 8)
    packed = pack(people_of(70), 8, cache)
    assert len(packed.index.shards) > 2
    shards: dict[int, set[int]] = {}
    starts = packed.index.starts()
    for number, (first, last) in enumerate(itertools.pairwise(starts.tolist())):
        people = packed.index.images.people[first:last].tolist()
        assert len(people) <= 25
        for person in people:
            shards.setdefault(person, set()).add(number)
        places = [i for i, person in enumerate(people) if person == number_of("p3")]
        assert places == list(range(places[0], places[0] + 10)) if places else True
    assert {len(at) for person, at in shards.items() if person >= 0} == {1}


def test_a_person_with_more_pictures_than_a_shard_fills_several(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch, 4, 8)
    records = [FaceRecord(str(i), np.full((8, 8), i, np.uint8), "one") for i in range(11)]
    packed = pack(FaceSet("one", "all", records), 8, cache)
    assert [entry.pictures for entry in packed.index.shards] == [4, 4, 3]
    assert len(stored(packed)) == 11


# Made once --------------------------------------------------------------------------------------


def test_a_second_call_decodes_nothing(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pack(ImageFolder(root), 16, cache)

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(FaceSet, "read", fail)
    monkeypatch.setattr(FaceSet, "read_many", fail)
    monkeypatch.setattr(FaceSet, "content_hash", fail)
    second = pack(ImageFolder(root), 16, cache)
    assert second.folder == first.folder
    assert second.name == first.name
    assert second.verify() == 0, "what was just written needs no reading"


def test_a_changed_picture_is_packed_again(root: Path, cache: Path) -> None:
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


def test_what_is_packed_names_the_pack(root: Path, cache: Path) -> None:
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
        packs.append(pack(ImageFolder(path.parent), 16, cache))
    assert packs[0].folder != packs[1].folder
    assert not np.array_equal(*(stored(packed)["a.bmp"].image for packed in packs))


def test_default_cache_root(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSL_FACES_CACHE", raising=False)
    assert default_cache_root() == tmp_path / ".cache" / "ssl-faces" / "packed"
    monkeypatch.setenv("SSL_FACES_CACHE", "~/packs")
    assert default_cache_root() == tmp_path / "packs"
    assert pack(ImageFolder(root), 16).folder.parent == tmp_path / "packs"


# Bad pictures -----------------------------------------------------------------------------------


def test_bad_pictures_are_skipped_and_listed(root: Path, cache: Path) -> None:
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


def test_no_picture_that_decodes(tmp_path: Path, cache: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_text("no picture")
    text = message_of(pack, ImageFolder(tmp_path), 16, cache)
    assert "none of its 2 pictures can be decoded (" in text
    assert ".png: not a picture" in text
    assert "check that they are whole" in text
    assert not list(cache.rglob("shard-*"))


def test_whole_images_are_not_kept(tmp_path: Path) -> None:
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


# Never half-made --------------------------------------------------------------------------------


def pack_until_killed(source: Path, out: Path, allowed: int) -> None:
    """Pack, and `kill -9` this process before the rename after so many."""
    packing.SHARD_BYTES = 3 * 3 * 16 * 16
    renamed, rename = itertools.count(), os.replace

    def counted(temporary: str, path: Path) -> None:
        if next(renamed) == allowed:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(temporary, path)

    os.replace = counted  # type: ignore[assignment]
    pack_sets([ImageFolder(source)], out, 16)


def killed(source: Path, out: Path, allowed: int) -> None:
    """Begin a pack that is killed before the rename after so many."""
    process = begin(pack_until_killed, source, out, allowed)
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture
def eleven(tmp_path: Path) -> Path:
    """Eleven noise pictures, one of them broken."""
    folder = tmp_path / "eleven"
    for i in range(11):
        save(noise(16, 16, i), folder / f"{i:02d}.png")
    (folder / "07.png").write_text("no picture")
    return folder


@pytest.mark.parametrize("renamed", [4, 5, 8, 9])
def test_a_killed_packing_goes_on_to_the_same_bytes(
    eleven: Path, tmp_path: Path, renamed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed for good before the rename of a shard (four), its rows, the table or the index."""
    killed(eleven, tmp_path / "cut", renamed)
    left = list((tmp_path / "cut").glob("shard-*.rows"))
    assert len(left) == min(renamed // 2, 4)
    assert not (tmp_path / "cut" / INDEX).exists()
    read: list[int] = []
    original = FaceSet.read

    def counted(self: FaceSet, index: int, at_least: int | None = None) -> np.ndarray:
        read.append(index)
        return original(self, index, at_least)

    small_shards(monkeypatch, 3)
    monkeypatch.setattr(FaceSet, "read", counted)
    done = pack_sets([ImageFolder(eleven)], tmp_path / "cut", 16)
    assert len(read) == 11 - 3 * len(left) if len(left) < 4 else read == []
    pack_sets([ImageFolder(eleven)], tmp_path / "whole", 16)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    assert (done.pictures, done.added, done.skipped) == (10, 10, 1)


def test_shards_of_a_killed_packing_of_other_pictures_are_not_taken(
    eleven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(eleven, tmp_path / "cut", 6)
    for i in range(11):
        save(noise(16, 16, 50 + i), eleven / f"{i:02d}.png")
    small_shards(monkeypatch, 3)
    for out in ("cut", "whole"):
        pack_sets([ImageFolder(eleven)], tmp_path / out, 16)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_half_made(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, full)
        text = message_of(pack, ImageFolder(root), 16, cache)
    assert "the disk is full" in text
    assert "or set SSL_FACES_CACHE to another folder" in text
    assert not list(cache.rglob("*shard*.npy*"))
    assert len(stored(pack(ImageFolder(root), 16, cache))) == 4, "it resumes"


def flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["pixels", "header", "end", "missing", "short", "two"])
def test_broken_shards_are_packed_again_as_they_were(
    eleven: Path, tmp_path: Path, cache: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among them pictures that can't be used, which are listed once; also in the cache."""
    small_shards(monkeypatch, 3)
    out = tmp_path / "pack"
    if kind in ("pixels", "missing", "short"):
        out = pack(ImageFolder(eleven), 16, cache).folder
    else:
        pack_sets([ImageFolder(eleven)], out, 16)
    whole = files_of(out)
    shards = sorted(out.glob("shard-*"))
    if kind == "missing":
        shards[1].unlink()
    elif kind == "short":
        shards[1].write_bytes(shards[1].read_bytes()[:-1])
    else:
        flip(shards[1], {"pixels": 0.7, "header": 0.01}.get(kind, 0.99))
    if kind == "two":
        shards[2].unlink()
    if out.is_relative_to(cache):
        assert pack(ImageFolder(eleven), 16, cache).folder == out
    else:
        done = pack_sets([ImageFolder(eleven)], out, 16)
        assert (done.repaired, done.pictures) == (2 if kind == "two" else 1, 10)
    assert files_of(out) == whole
    assert pack_sets([ImageFolder(eleven)], out, 16).repaired == 0


def test_a_broken_shard_of_images_that_have_changed(eleven: Path, tmp_path: Path) -> None:
    """What is still there is decoded again."""
    add(eleven, tmp_path / "pack")
    flip(tmp_path / "pack" / "shard-00000.npy")
    save(noise(16, 16, 77), eleven / "03.png")
    (eleven / "05.png").unlink()
    done = add(eleven, tmp_path / "pack")
    assert (done.repaired, done.added, done.pictures) == (1, 1, 9)
    found = stored(Pack(tmp_path / "pack"))
    for key, seed in (("03.png", 77), ("08.png", 8)):
        np.testing.assert_array_equal(found[key].image, noise(16, 16, seed).transpose(2, 0, 1))


def test_a_broken_shard_of_a_killed_packing_is_not_taken(
    eleven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No index has its SHA-256 yet."""
    small_shards(monkeypatch, 3)
    pack_sets([ImageFolder(eleven)], tmp_path / "whole", 16)
    killed(eleven, tmp_path / "cut", 8)
    for shard in (tmp_path / "cut").glob("shard-*.npy"):
        flip(shard)
    pack_sets([ImageFolder(eleven)], tmp_path / "cut", 16)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_a_broken_shard_of_sets_that_are_not_given(
    eleven: Path, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pack"
    pack_sets([ImageFolder(eleven), ImageFolder(root)], out, 16)
    flip(out / "shard-00000.npy")
    text = message_of(pack_sets, [ImageFolder(eleven)], out, 16)
    assert "shard-00000.npy: missing or broken, and has images of faces; give all" in text
    assert len(stored(Pack(out))) == 14


# Adding -----------------------------------------------------------------------------------------


def test_files_with_other_times_are_the_same_pictures(eleven: Path, tmp_path: Path) -> None:
    add(eleven, tmp_path / "pack")
    before = files_of(tmp_path / "pack")
    for path in eleven.iterdir():
        os.utime(path, (1, 1))
    save(noise(16, 16, 77), eleven / "03.png")
    done = add(eleven, tmp_path / "pack")
    assert (done.added, done.changed, done.gone) == (1, ["03.png"], [])
    after = files_of(tmp_path / "pack")
    assert all(after[name] == data for name, data in before.items() if name.startswith("shard"))


def add(folder: Path, out: Path, size: int = 16, held_out: HeldOut | None = None) -> Packed:
    return pack_sets([ImageFolder(folder)], out, size, held_out=held_out)


def test_only_new_pictures_are_decoded(
    eleven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch, 3)
    out = tmp_path / "pack"
    add(eleven, out)
    before = files_of(out)
    for i in range(20, 25):
        save(noise(16, 16, i), eleven / f"{i}.png")
    read: list[str] = []
    original = FaceSet.read

    def counted(self: FaceSet, index: int, at_least: int | None = None) -> np.ndarray:
        read.append(self.records[index].key)
        return original(self, index, at_least)

    monkeypatch.setattr(FaceSet, "read", counted)
    done = add(eleven, out)
    assert sorted(read) == [f"{i}.png" for i in range(20, 25)]
    assert (done.pictures, done.added, done.changed, done.gone) == (15, 5, [], [])
    after = files_of(out)
    assert all(after[name] == data for name, data in before.items() if name.startswith("shard"))
    assert stored(Pack(out)).keys() == {p.name for p in eleven.iterdir()} - {"07.png"}
    assert add(eleven, out).added == 0
    assert files_of(out) == after, "nothing new changes nothing"


def test_changed_and_gone_pictures_are_told_and_not_trained_on(
    eleven: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pack"
    add(eleven, out)
    old = (eleven / "03.png").read_bytes()
    status = (eleven / "03.png").stat()
    save(noise(16, 16, 77), eleven / "03.png")
    (eleven / "05.png").unlink()
    done = add(eleven, out)
    assert (done.added, done.changed, done.gone, done.pictures) == (1, ["03.png"], ["05.png"], 9)
    found = stored(Pack(out))
    assert "05.png" not in found
    np.testing.assert_array_equal(found["03.png"].image, noise(16, 16, 77).transpose(2, 0, 1))
    # As it was before: it is packed already.
    (eleven / "03.png").write_bytes(old)
    os.utime(eleven / "03.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    done = add(eleven, out)
    assert (done.added, done.changed, done.gone) == (0, ["03.png"], [])
    np.testing.assert_array_equal(
        stored(Pack(out))["03.png"].image, noise(16, 16, 3).transpose(2, 0, 1)
    )


def test_sets_that_are_not_given_stay(eleven: Path, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    add(eleven, out)
    done = add(root, out)
    assert (done.pictures, done.added, done.gone) == (14, 4, [])
    assert {one["name"]: one["pictures"] for one in Pack(out).index.sets} == {
        "eleven": 10,
        "faces": 4,
    }
    assert len(Pack(out).skipped()) == 1, "of the set that was not given too"


def test_test_people_and_copies_of_test_pictures_are_left_out(eleven: Path, tmp_path: Path) -> None:
    for i in range(3):
        save(noise(16, 16, 90 + i), eleven / "tested" / f"{i}.png")
    faces = ImageFolder(eleven, people_from_folders=True)
    digest = hashlib.sha256((eleven / "02.png").read_bytes()).digest()
    held_out = HeldOut.of([number_of("tested")], [digest])
    done = pack_sets([faces], tmp_path / "pack", 16, held_out=held_out)
    assert (done.pictures, done.of_test_people, done.copies, done.skipped) == (9, 3, 1, 1)
    packed = Pack(tmp_path / "pack")
    assert stored(packed).keys() == {f"{i:02d}.png" for i in range(11)} - {"02.png", "07.png"}
    (about,) = packed.index.sets
    assert about["left_out_as_pictures_of_test_people"] == 3
    assert about["left_out_as_copies_of_test_pictures"] == 1
    pixels = noise(16, 16, 2).transpose(2, 0, 1).tobytes()
    assert all(pixels not in data for data in files_of(tmp_path / "pack").values())


def test_pictures_found_to_be_tested_later_are_dropped(eleven: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    add(eleven, out)
    digest = hashlib.sha256((eleven / "02.png").read_bytes()).digest()
    done = add(eleven, out, held_out=HeldOut.of([], [digest]))
    assert (done.pictures, done.left_out_since, done.changed, done.gone) == (9, 1, [], [])
    assert "02.png" not in stored(Pack(out))
    done = add(eleven, out)
    assert (done.pictures, done.left_out_since) == (9, 0), "the pack remembers its tests"
    (about,) = Pack(out).index.sets
    assert about["left_out_as_copies_of_test_pictures"] == 1
    assert about["pictures"] == 9


def test_what_sets_hold_out(tmp_path: Path) -> None:
    test = FaceSet("test", "test", [FaceRecord("a", b"1"), FaceRecord("b", tmp_path / "none.png")])
    faces = FaceSet(
        "train",
        "train",
        [FaceRecord("c", b"2", "Ann")],
        held_out_people=frozenset({"Bea"}),
        test=lambda: test,
    )
    found = held_out_by([faces])
    assert found.people.tolist() == [number_of("Bea")]
    assert [row.tobytes() for row in found.hashes] == [hashlib.sha256(b"1").digest()]


def test_a_pack_of_another_size_is_refused(eleven: Path, tmp_path: Path) -> None:
    add(eleven, tmp_path / "pack")
    before = files_of(tmp_path / "pack")
    with pytest.raises(InputError, match="a pack of 16 px, not 24; pack to another folder"):
        add(eleven, tmp_path / "pack", 24)
    assert files_of(tmp_path / "pack") == before


def test_two_sets_of_one_name_are_refused(eleven: Path, tmp_path: Path) -> None:
    faces = ImageFolder(eleven)
    with pytest.raises(InputError, match="two face sets are called eleven"):
        pack_sets([faces, faces], tmp_path / "pack", 16)


def test_two_packings_at_once_are_refused(eleven: Path, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    with (
        FileLock(tmp_path / "pack" / ".lock"),
        pytest.raises(InputError, match="another process is packing to it"),
    ):
        add(eleven, tmp_path / "pack")
