"""Packing that was killed, broken packs, and packs that images are added to."""

import errno
import hashlib
import itertools
import os
import signal

import numpy as np
import pytest
from filelock import FileLock

from ssl_faces.common.errors import InputError
from ssl_faces.data import FaceSet, ImageFolder
from ssl_faces.data.faces import FaceRecord
from ssl_faces.data.store import packing
from ssl_faces.data.store.cached import pack
from ssl_faces.data.store.held_out import HeldOut, number_of
from ssl_faces.data.store.index import INDEX
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.selection import held_out_by
from tests.support.packed import files_of, noise, save, small_shards, stored
from tests.support.processes import begin
from tests.support.refusals import message_of

# Never half-made --------------------------------------------------------------------------------


def pack_until_killed(source, out, allowed):
    """Pack, and `kill -9` this process before the rename after so many."""
    packing.SHARD_BYTES = 3 * 3 * 16 * 16
    renamed, rename = itertools.count(), os.replace

    def counted(temporary, path):
        if next(renamed) == allowed:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(temporary, path)

    os.replace = counted
    pack_sets([ImageFolder(source)], out, 16)


def killed(source, out, allowed):
    """Begin a pack that is killed before the rename after so many."""
    process = begin(pack_until_killed, source, out, allowed)
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture
def eleven(tmp_path):
    """Eleven noise pictures, one of them broken."""
    folder = tmp_path / "eleven"
    for i in range(11):
        save(noise(16, 16, i), folder / f"{i:02d}.png")
    (folder / "07.png").write_text("no picture")
    return folder


@pytest.mark.parametrize("renamed", [4, 5, 8, 9])
def test_a_killed_packing_goes_on_to_the_same_bytes(eleven, tmp_path, renamed, monkeypatch):
    """Killed for good before the rename of a shard (four), its rows, the table or the index."""
    killed(eleven, tmp_path / "cut", renamed)
    left = list((tmp_path / "cut").glob("shard-*.rows"))
    assert len(left) == min(renamed // 2, 4)
    assert not (tmp_path / "cut" / INDEX).exists()
    read = []
    original = FaceSet.read

    def counted(self, index, at_least=None):
        read.append(index)
        return original(self, index, at_least)

    small_shards(monkeypatch, 3)
    monkeypatch.setattr(FaceSet, "read", counted)
    done = pack_sets([ImageFolder(eleven)], tmp_path / "cut", 16)
    assert len(read) == 11 - 3 * len(left) if len(left) < 4 else read == []
    pack_sets([ImageFolder(eleven)], tmp_path / "whole", 16)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    assert (done.pictures, done.added, done.skipped) == (10, 10, 1)


def test_shards_of_a_killed_packing_of_other_pictures_are_not_taken(eleven, tmp_path, monkeypatch):
    killed(eleven, tmp_path / "cut", 6)
    for i in range(11):
        save(noise(16, 16, 50 + i), eleven / f"{i:02d}.png")
    small_shards(monkeypatch, 3)
    for out in ("cut", "whole"):
        pack_sets([ImageFolder(eleven)], tmp_path / out, 16)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_half_made(root, cache, monkeypatch, step):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, full)
        text = message_of(pack, ImageFolder(root), 16, cache)
    assert "the disk is full" in text
    assert "or set SSL_FACES_CACHE to another folder" in text
    assert not list(cache.rglob("*shard*.npy*"))
    assert len(stored(pack(ImageFolder(root), 16, cache))) == 4, "it resumes"


def flip(path, at=0.5):
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["pixels", "header", "end", "missing", "short", "two"])
def test_broken_shards_are_packed_again_as_they_were(eleven, tmp_path, cache, kind, monkeypatch):
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


def test_a_broken_shard_of_images_that_have_changed(eleven, tmp_path):
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


def test_a_broken_shard_of_a_killed_packing_is_not_taken(eleven, tmp_path, monkeypatch):
    """No index has its SHA-256 yet."""
    small_shards(monkeypatch, 3)
    pack_sets([ImageFolder(eleven)], tmp_path / "whole", 16)
    killed(eleven, tmp_path / "cut", 8)
    for shard in (tmp_path / "cut").glob("shard-*.npy"):
        flip(shard)
    pack_sets([ImageFolder(eleven)], tmp_path / "cut", 16)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_a_broken_shard_of_sets_that_are_not_given(eleven, root, tmp_path):
    out = tmp_path / "pack"
    pack_sets([ImageFolder(eleven), ImageFolder(root)], out, 16)
    flip(out / "shard-00000.npy")
    text = message_of(pack_sets, [ImageFolder(eleven)], out, 16)
    assert "shard-00000.npy: missing or broken, and has images of faces; give all" in text
    assert len(stored(Pack(out))) == 14


# Adding -----------------------------------------------------------------------------------------


def test_files_with_other_times_are_the_same_pictures(eleven, tmp_path):
    add(eleven, tmp_path / "pack")
    before = files_of(tmp_path / "pack")
    for path in eleven.iterdir():
        os.utime(path, (1, 1))
    save(noise(16, 16, 77), eleven / "03.png")
    done = add(eleven, tmp_path / "pack")
    assert (done.added, done.changed, done.gone) == (1, ["03.png"], [])
    after = files_of(tmp_path / "pack")
    assert all(after[name] == data for name, data in before.items() if name.startswith("shard"))


def add(folder, out, size=16, held_out=None):
    return pack_sets([ImageFolder(folder)], out, size, held_out=held_out)


def test_only_new_pictures_are_decoded(eleven, tmp_path, monkeypatch):
    small_shards(monkeypatch, 3)
    out = tmp_path / "pack"
    add(eleven, out)
    before = files_of(out)
    for i in range(20, 25):
        save(noise(16, 16, i), eleven / f"{i}.png")
    read = []
    original = FaceSet.read

    def counted(self, index, at_least=None):
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


def test_changed_and_gone_pictures_are_told_and_not_trained_on(eleven, tmp_path):
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


def test_sets_that_are_not_given_stay(eleven, root, tmp_path):
    out = tmp_path / "pack"
    add(eleven, out)
    done = add(root, out)
    assert (done.pictures, done.added, done.gone) == (14, 4, [])
    assert {one["name"]: one["pictures"] for one in Pack(out).index.sets} == {
        "eleven": 10,
        "faces": 4,
    }
    assert len(Pack(out).skipped()) == 1, "of the set that was not given too"


def test_test_people_and_copies_of_test_pictures_are_left_out(eleven, tmp_path):
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


def test_pictures_found_to_be_tested_later_are_dropped(eleven, tmp_path):
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


def test_what_sets_hold_out(tmp_path):
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


def test_a_pack_of_another_size_is_refused(eleven, tmp_path):
    add(eleven, tmp_path / "pack")
    before = files_of(tmp_path / "pack")
    with pytest.raises(InputError, match="a pack of 16 px, not 24; pack to another folder"):
        add(eleven, tmp_path / "pack", 24)
    assert files_of(tmp_path / "pack") == before


def test_two_sets_of_one_name_are_refused(eleven, tmp_path):
    faces = ImageFolder(eleven)
    with pytest.raises(InputError, match="two face sets are called eleven"):
        pack_sets([faces, faces], tmp_path / "pack", 16)


def test_two_packings_at_once_are_refused(eleven, tmp_path):
    (tmp_path / "pack").mkdir()
    with (
        FileLock(tmp_path / "pack" / ".lock"),
        pytest.raises(InputError, match="another process is packing to it"),
    ):
        add(eleven, tmp_path / "pack")
