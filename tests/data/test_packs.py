"""Opened packs: broken ones are refused in one sentence; remote ones are fetched and kept."""

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_faces.data.faces import FaceRecord, FaceSet
from ssl_faces.data.store.held_out import HeldOut, isin_rows, number_of
from ssl_faces.data.store.index import _check_of
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.stored_faces import StoredFaces
from tests.support.packed import noise
from tests.support.refusals import message_of

SIZE = 8
COUNT = 60

Change = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr("ssl_faces.data.store.packing.SHARD_BYTES", 12 * 3 * SIZE * SIZE)


pixels = partial(noise, SIZE, SIZE)


def faces():
    records = [FaceRecord(str(i), pixels(i), f"p{i // 3}") for i in range(COUNT)]
    return FaceSet("noise", "all", records)


@pytest.fixture
def folder(tmp_path):
    """A pack of 60 noise pictures in 5 shards, not known as verified."""
    pack_sets([faces()], tmp_path / "made", SIZE)
    shutil.copytree(tmp_path / "made", tmp_path / "pack")
    return tmp_path / "pack"


# Reading ----------------------------------------------------------------------------------------


def by_number(pack):
    """Every stored picture, by its key."""
    return [pixels(int(key)).transpose(2, 0, 1) for key in pack.index.images.key_list()]


@pytest.mark.parametrize("loaded", [False, True])
def test_pictures_are_read_by_number(folder, loaded):
    stored = StoredFaces([Pack(folder), Pack(folder)])
    if loaded:
        memory = stored.load()
        assert memory.shape == (2 * COUNT, 3, SIZE, SIZE)
    expected = 2 * by_number(Pack(folder))
    numbers = np.random.default_rng(0).permutation(2 * COUNT)[:50]
    out = np.zeros((70, 3 * SIZE * SIZE), np.uint8)
    places = np.random.default_rng(1).permutation(70)[:50]
    stored.read(numbers, out, places)
    for number, place in zip(numbers, places, strict=True):
        np.testing.assert_array_equal(out[place].reshape(3, SIZE, SIZE), expected[number])
    assert not out[np.setdiff1d(np.arange(70), places)].any()


def test_only_kept_pictures_are_listed(folder):
    pack = Pack(folder)
    stored = StoredFaces([pack])
    numbers, people = stored.listed(np.array([3, 1]))
    starts = np.cumsum([0, *(entry.pictures for entry in pack.index.shards)])
    assert numbers.tolist() == [*range(starts[3], starts[4]), *range(starts[1], starts[2])]
    for number, person in zip(numbers, people, strict=True):
        shown = by_number(pack)[number]
        mine = [i for i in range(COUNT) if number_of(f"p{i // 3}") == person]
        assert any(np.array_equal(pixels(i).transpose(2, 0, 1), shown) for i in mine)
    kept = np.zeros(COUNT, bool)
    kept[[*starts[:-1], *(starts[:-1] + 2)]] = True
    fewer = StoredFaces([pack], [kept], people=False)
    assert fewer.counts.tolist() == [2] * len(pack.index.shards)
    numbers, people = fewer.listed(np.array([1]))
    assert numbers.tolist() == [starts[1], starts[1] + 2]
    assert people.tolist() == [-1, -1]


def test_a_copy_for_another_process_reads_the_same(remote, folder):
    """As loader processes get it where they are spawned."""
    for place in (str(folder), remote):
        stored = StoredFaces([Pack(place)])
        outs = []
        for faces in (stored, pickle.loads(pickle.dumps(stored))):
            outs.append(np.zeros((COUNT, 3 * SIZE * SIZE), np.uint8))
            faces.read(np.arange(COUNT), outs[-1], np.arange(COUNT))
        np.testing.assert_array_equal(*outs)
        assert outs[0].any()


# Held out ---------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=1), max_size=8),
    st.lists(st.binary(min_size=1, max_size=1), max_size=8),
)
def test_copies_are_those_with_a_test_pictures_hash(ours, tested):
    """Hashes with zeros at their ends, which text comparisons take for ends, among them."""
    mine, theirs = ([b * 16 + b"\0" * 16 for b in given] for given in (ours, tested))
    held_out = HeldOut.of([], theirs[:4]) | HeldOut.of([], theirs[4:])
    found = isin_rows(np.frombuffer(b"".join(mine), np.uint8).reshape(-1, 32), held_out.hashes)
    assert found.tolist() == [one in theirs for one in mine]


# Broken packs -----------------------------------------------------------------------------------


def first(folder):
    return folder / Pack(folder).index.shards[0].file


@pytest.mark.parametrize("cut", [None, -100])
def test_a_missing_or_truncated_shard(folder, cut):
    path = first(folder)
    data = path.read_bytes()
    path.unlink()
    if cut is not None:
        path.write_bytes(data[:cut])
    text = message_of(Pack, folder)
    length = f"has {len(data) - 100:,} bytes, and "
    assert text.startswith(f"{path}: {length if cut else 'this shard of the pack is missing; '}")
    assert "copy it again" in text


def test_a_shard_with_a_wrong_checksum_is_told_at_first_use_only(folder):
    path = first(folder)
    assert Pack(folder).verify() == 5
    assert Pack(folder).verify() == 0, "verified once"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    text = message_of(Pack(folder).verify)
    assert text.startswith(f"{path}: its SHA-256 is not the index's")
    assert message_of(Pack(folder).verify, True) == text


def edited(change, valid=False):
    """Change the index; also its check, as somebody makes one by hand."""

    def edit(folder):
        index = folder / "index.json"
        about = json.loads(index.read_text())
        change(about)
        if valid:
            del about["check"]
            about["check"] = _check_of(about)
        index.write_text(json.dumps(about))

    return edit


def claim(**fields):
    """Claims about the first shard."""
    return edited(lambda about: about["shards"][0].update(fields), valid=True)


def written(pattern, change):
    def write(folder):
        (path,) = folder.glob(pattern)
        path.write_bytes(change(path.read_bytes()))

    return write


def gone(pattern):
    return lambda folder: next(folder.glob(pattern)).unlink()


INDEX, TABLE, BROKEN = "index.json", "images-*", "a broken index of a pack"
CHANGES = [
    (claim(file="../../other"), "no name of a shard"),
    (claim(pictures=11), "not the shard that the index lists"),
    (edited(lambda about: about["sets"].clear()), BROKEN),
    (edited(lambda about: about.update(format=2)), "a pack of format 2"),
    (written(INDEX, lambda data: data[:100]), BROKEN),
    (written(INDEX, lambda data: b"[]"), BROKEN),
    (gone(INDEX), "run the same `ssl-faces pack` again: it resumes"),
    (gone(TABLE), "no whole pack"),
    (
        written(TABLE, lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        "the table of images was changed",
    ),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_a_broken_index(folder, change, message):
    """When the pack is opened, or at the latest when it is read."""
    change(folder)
    assert message in message_of(lambda: Pack(folder).verify(True) and Pack(folder).open(0))


def test_a_folder_that_is_not_there(tmp_path):
    assert "no such folder" in message_of(Pack, tmp_path / "none")


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("kind", ["pickled", "objects", "empty", "cut"])
def test_a_file_that_is_no_shard(folder, tmp_path, kind):
    pack, marker = Pack(folder), tmp_path / "ran"
    path = first(folder)
    if kind == "pickled":
        path.write_bytes(pickle.dumps(Touch(marker)))
    elif kind == "objects":
        np.save(path, np.array([Touch(marker)], object), allow_pickle=True)
    else:
        path.write_bytes(path.read_bytes()[: 100 if kind == "cut" else 0])
    text = message_of(pack.open, 0)
    assert text.startswith(f"{path}: a broken shard")
    assert not marker.exists()


# Remote packs -----------------------------------------------------------------------------------


@pytest.fixture
def remote(folder):
    """The pack in fsspec's store in memory."""
    files = fsspec.filesystem("memory")
    for path in folder.iterdir():
        files.pipe(f"/bucket/pack/{path.name}", path.read_bytes())
    yield "memory://bucket/pack"
    files.store.clear()


def kept(cache):
    return sorted((cache / "fetched").glob("*.npy"))


def test_shards_are_fetched_when_asked_for(remote, folder, tmp_path):
    cache = tmp_path / "fetching"
    pack = Pack(remote, cache)
    assert pack.name == Pack(folder).name
    assert not kept(cache)
    for number, entry in enumerate(pack.index.shards):
        assert pack.path(number).read_bytes() == (folder / entry.file).read_bytes()
        assert len(kept(cache)) == number + 1
    fsspec.filesystem("memory").rm(f"/bucket/pack/{pack.index.shards[0].file}")
    Pack(remote, cache).path(0)  # it is here already


def test_shards_are_fetched_ahead(remote, tmp_path):
    pack = Pack(remote, tmp_path / "fetching")
    pack.ahead(range(3))
    for number in range(3):
        pack.path(number)
    assert len(kept(tmp_path / "fetching")) == 3
    pack.fetch()
    assert len(kept(tmp_path / "fetching")) == 5


def test_the_cache_is_bounded_and_lets_go_of_what_was_not_used_for_longest(remote, tmp_path):
    cache = tmp_path / "fetching"
    most = 3 * max(entry.bytes for entry in Pack(remote).index.shards)
    pack = Pack(remote, cache, most)
    for number in (0, 1, 2, 0, 3):
        assert len(pack.open(number)) == pack.index.shards[number].pictures
        assert sum(path.stat().st_size for path in kept(cache)) <= most
    names = {path.stem for path in kept(cache)}
    assert names == {pack.index.shards[number].sha256 for number in (0, 2, 3)}


@pytest.mark.parametrize("kind", ["wrong", "missing", "no pack", "no protocol"])
def test_remote_packs_that_can_not_be_used(remote, tmp_path, kind):
    files = fsspec.filesystem("memory")
    shard = f"/bucket/pack/{Pack(remote).index.shards[0].file}"
    message = "SHA-256 is not the index's"
    if kind == "wrong":
        files.pipe(shard, files.cat(shard)[:-1] + b"?")
    elif kind == "missing":
        files.rm(shard)
        message = "not there"
    elif kind == "no pack":
        files.rm("/bucket/pack/index.json")
        message = "index.json: not there"
    else:
        remote = "nowhere://bucket/pack"
        message = "no address that fsspec can open"
    text = message_of(lambda: Pack(remote, tmp_path / "fetching").path(0))
    assert message in text
    assert remote in text
    assert not list((tmp_path / "fetching").rglob("*.part.*"))
    assert not kept(tmp_path / "fetching")


def test_a_connection_that_fails_is_tried_again(remote, tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_faces.data.store.fetching.time.sleep", lambda seconds: None)
    opened = fsspec.open
    failures = [2]

    def unreliable(url, mode):
        if failures[0]:
            failures[0] -= 1
            raise ConnectionError("reset")
        return opened(url, mode)

    monkeypatch.setattr(fsspec, "open", unreliable)
    pack = Pack(remote, tmp_path / "fetching")
    failures[0] = 3
    text = message_of(pack.path, 0)
    assert "can't be fetched (ConnectionError: reset)" in text


def test_a_full_disk_while_fetching(remote, tmp_path, monkeypatch):
    pack = Pack(remote, tmp_path / "fetching")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        text = message_of(pack.path, 0)
    assert "the disk is full" in text
    assert "lower data.cache_gb" in text
    assert not list((tmp_path / "fetching" / "fetched").glob(".*.npy.*"))
    pack.path(0)
