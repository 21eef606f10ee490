"""Commands in shards equal the whole, also after a shard was killed; and object stores."""

import os
import shutil

import fsspec
import numpy as np
import pandas as pd
import pytest

from ssl_faces.common.shards import Shard
from ssl_faces.data.store import packing
from ssl_faces.plan import engine as engines
from ssl_faces.plan.runs import find_runs
from ssl_faces.prepare.sources import Source
from tests.support.apps import add_probe, encoder_folder, stub
from tests.support.commands import refusal, run
from tests.support.images import bad_folder, detect_holes, photo, write_picture, write_video
from tests.support.in_process import InProcess

__all__ = ["encoder_folder", "stub"]

PREPARE = ("prepare", "{album}", "--out", "{out}", "--size", 32, "--workers", 1)
PACK = ("pack", "{album}", "--out", "{out}", "--size", 16, "--people-from-folders")
EMBED = ("embed", "{album}", "--encoder", "{encoder}", "--out")
EXPRESSIONS = ("expressions", "{album}", "--probe", "{encoder}", "--smooth", 0.4, "--out")
COMMANDS = {
    "prepare": (*PREPARE, "--min-sharpness", 0),
    "pack": PACK,
    "embed, NumPy": (*EMBED, "{out}.npz"),
    "embed, Parquet": (*EMBED, "{out}.parquet", "--largest"),
    "expressions": (*EXPRESSIONS, "{out}.csv"),
}


@pytest.fixture
def album(tmp_path):
    """Photographs of two faces, near-duplicates far apart, a video and broken files."""
    folder = tmp_path / "album"
    bad_folder(folder / "bad")
    for i in range(6):
        write_picture(folder / f"{i % 3}/{i}.png", photo((20 + 9 * i, 30, 70), (190, 90, 60)))
    write_video(folder / "film.mkv", [photo((26, 40, 60 + i)) for i in range(8)], 10, "ffv1")
    for path in folder.rglob("*.*"):
        os.utime(path, (1e9, 1e9))  # some file systems settle the time of a new file later
    return folder


@pytest.fixture(autouse=True)
def executor(tmp_path, stub, monkeypatch):
    in_process = InProcess()
    monkeypatch.setattr(engines, "executor", in_process)
    monkeypatch.setattr(engines, "_TICK", 0.0)
    monkeypatch.setattr("ssl_faces.prepare.workers.open_detector", lambda *_: detect_holes)
    monkeypatch.setattr(packing, "SHARD_BYTES", 2 * 3 * 16 * 16)
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "cache"))
    return in_process


@pytest.fixture
def command(album, encoder_folder, tmp_path):
    """The words of a command, whose output is in a folder."""
    encoder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    add_probe(encoder, ("angry", "happy", "sad"))

    def words(name, folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        places = {"album": album, "encoder": encoder, "out": tmp_path / folder / "out"}
        return tuple(str(word).format(**places) for word in COMMANDS[name])

    return words


def content(folder):
    """All that a command has written, by name: a table as its rows, any other file as bytes."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or ".shards/" in name or path.name.endswith("lock"):
            continue
        if path.suffix == ".npz":
            with np.load(path) as table:
                files[name] = pd.DataFrame({key: list(table[key]) for key in table.files})
        elif path.suffix == ".parquet":
            files[name] = pd.read_parquet(path)
        else:
            files[name] = path.read_bytes()
    return files


def check_equal(actual, expected):
    first, second = content(actual), content(expected)
    assert first.keys() == second.keys()
    for name, of_first in first.items():
        if isinstance(of_first, bytes):
            assert of_first == second[name], name
        else:  # the last bits of codes depend on the batch
            pd.testing.assert_frame_equal(of_first, second[name], rtol=1e-4, atol=1e-6)


def killed_at(call, monkeypatch):
    """Kill the process that reads the file, or writes the file of a pack, with this number; the
    list gets the names of all of them."""
    names = []
    local, write_shard = Source.local, packing.write_shard

    def count(name):
        names.append(name)
        if len(names) == call:
            raise KeyboardInterrupt

    def reads(source):
        count(source.key)
        return local(source)

    def writes(path, *arguments):
        count(path.name)
        return write_shard(path, *arguments)

    monkeypatch.setattr(Source, "local", reads)
    monkeypatch.setattr(packing, "write_shard", writes)
    return names


@pytest.mark.parametrize("name", COMMANDS)
def test_shards_equal_the_whole_also_if_one_was_killed(
    name, command, tmp_path, executor, monkeypatch, capsys
):
    whole = command(name, "whole")
    assert run(*whole) == 0
    said = capsys.readouterr().out.replace(str(tmp_path / "whole"), "")
    words = (*command(name, "split"), "--shards", 3)
    names = killed_at(3, monkeypatch)
    message = refusal(capsys, *words)
    assert "1 of 3 shards failed, the others are kept, and the same command resumes" in message
    assert len(executor.calls) == 3
    (plan,) = find_runs([tmp_path / "split"])
    assert (plan.kind, plan.state, plan.progress) == (whole[0], "failed", "2 of 3")
    assert run(*words) == 0
    assert len(executor.calls) == 4  # the killed one, again
    printed = capsys.readouterr().out.replace(str(tmp_path / "split"), "")
    if name != "pack":  # which says how many pictures are new
        assert printed.endswith(said)
    check_equal(tmp_path / "split", tmp_path / "whole")
    (plan,) = find_runs([tmp_path / "split"])
    assert (plan.state, plan.progress) == ("finished", "3 of 3")
    if name in ("prepare", "pack"):
        assert run(*words) == 0
        assert len(executor.calls) == 4
        check_equal(tmp_path / "split", tmp_path / "whole")
        work = [one for one in names if one.startswith(("album/", "shard-"))]
        assert len(work) == len(set(work)) + 1  # only what was being done is done twice


def test_an_object_store_is_read_like_a_folder(command, album, tmp_path, capsys):
    shutil.rmtree(album / "bad")
    words = command("prepare", "here")
    assert run(*words) == 0
    address = f"file://{album}/"
    in_store = [address, *command("prepare", "there")[2:]]
    assert run("prepare", *in_store, "--shards", 2) == 0
    for name in ("manifest.csv", "contact_sheet.png", "shard-00000.npy"):
        assert (tmp_path / "here/out" / name).read_bytes() == (
            tmp_path / "there/out" / name
        ).read_bytes()
    assert run("prepare", *in_store) == 0
    assert "0 of them new" in capsys.readouterr().out

    store = fsspec.filesystem("memory")
    store.put(str(album), "/bucket/album", recursive=True)
    store.pipe("/bucket/album/.hidden/a.png", b"")
    table = command("embed, NumPy", "here")
    assert run(*table) == 0
    assert run("embed", "memory://bucket/album", *command("embed, NumPy", "there")[2:]) == 0
    with np.load(tmp_path / "here/out.npz") as here, np.load(tmp_path / "there/out.npz") as there:
        for name in here.files:
            np.testing.assert_array_equal(here[name], there[name])
    for place, message in (
        ("memory://bucket/none", "memory://bucket/none: no file in it"),
        ("nowhere://bucket/a", "nowhere://bucket/a: can't be listed"),
    ):
        assert message in refusal(capsys, "prepare", place, *words[2:])


def test_a_file_that_leaves_the_store_is_skipped_and_a_broken_connection_is_not(
    monkeypatch, tmp_path, capsys
):
    store = fsspec.filesystem("memory")
    store.pipe({"/bucket/two/a.png": b"", "/bucket/two/b.png": b""})
    words = ("prepare", "memory://bucket/two", "--out", tmp_path / "out", "--workers", 1)
    monkeypatch.setattr("ssl_faces.data.store.fetching._TRIES", 1)
    with monkeypatch.context() as patch:
        patch.setattr("fsspec.open", lambda *_: (_ for _ in ()).throw(ConnectionError("reset")))
        assert "can't be fetched (ConnectionError: reset)" in refusal(capsys, *words)
        assert not (tmp_path / "out/manifest.csv").exists()
        patch.setattr("fsspec.open", lambda *_: (_ for _ in ()).throw(FileNotFoundError))
        assert "gone since it was listed 2" in refusal(capsys, *words)


def test_files_that_come_meanwhile_are_noticed(command, album, tmp_path, executor, capsys):
    words = (*command("embed, NumPy", "out"), "--shards", 2)
    embed = executor.__class__.__call__
    calls = []

    def comes(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            write_picture(album / "1/new.png", photo((40, 30, 70)))
        return embed(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InProcess, "__call__", comes)
        assert "have read other files, such as ones that came since" in refusal(capsys, *words)
    assert run(*words) == 0
    assert len(executor.calls) == 4
    with np.load(tmp_path / "out/out.npz") as table:
        assert len(set(table["keys"])) == len(table["keys"])
        assert "album/1/new.png" in table["keys"]


def test_bad_input_is_one_sentence(command, tmp_path, capsys):
    for words, message in (
        ("--shard 3/2", "argument --shard: 3/2; give I/N, such as 1/8"),
        ("--shard 2", "argument --shard: 2; give I/N"),
        ("--shards 2 --shard 1/2", "not allowed with argument"),
        ("--jobs 2", "--jobs 2: has no effect without --shards N; give both"),
        ("--executor ray --shard 1/2", "--executor ray: has no effect without --shards N"),
        ("--shards 2 --address auto", "--address auto: without a cluster; give --executor too"),
        ("--shards 2 --executor slurm --address x", "--address x: Slurm has no address"),
        ("--shards 2 --plot {out}.html", "no --plot and no --film of several shards"),
    ):
        more = words.format(out=tmp_path / "plot").split()
        assert message in refusal(capsys, *command("expressions", "out"), *more)
        assert not (tmp_path / "out/out.csv").exists()


def test_names_that_could_give_faces_the_same_key(command, album, capsys):
    write_picture(album / "a#1.png", photo((40, 30, 70)))
    message = refusal(capsys, *command("embed, NumPy", "out"), "--shards", 2)
    assert "a name has '#', so that keys of faces could be the same" in message


@pytest.mark.parametrize("total", [0, 1, 7, 100])
def test_shards_are_all_items_once_and_nearly_equal(total):
    items = list(range(total))
    parts = [Shard(number, 7).of(items) for number in range(1, 8)]
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
