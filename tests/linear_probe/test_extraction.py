"""Features are extracted ahead and behind, listed, capped by last use, and removed."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linear_probe.cli import main
from linear_probe.features import frozen
from linear_probe.features.cache import ROOM, entries
from linear_probe.features.extraction import _AHEAD, Chunk, cut, extract
from linear_probe.features.files import write_features
from linear_probe.features.frozen import EncoderSource, FeatureCache
from ssl_faces.common.errors import InputError
from ssl_faces.data import BadImage, FaceSet
from ssl_faces.data.faces import FaceRecord
from tests.support.probing import CountingEncoder, all_of


class Grey(FaceSet):
    """`count` grey pictures, each of its own brightness; some can't be read. Counts its reads."""

    def __init__(self, count, bad=frozenset()):
        super().__init__("grey", "all", [FaceRecord(f"{i}.png", b"") for i in range(count)])
        self.bad = bad
        self.asked = 0

    def read(self, index, at_least=None):
        self.asked += 1
        if index in self.bad:
            raise BadImage("broken")
        return np.full((16, 16, 3), index, dtype=np.uint8)


def chunks_of(source, count, size):
    return [Chunk(images, 16, [source]) for images in cut(range(count), size)]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    count=st.integers(1, 23),
    piece=st.integers(1, 9),
    batch=st.integers(1, 9),
    bad=st.frozensets(st.integers(0, 22)),
    draw=st.randoms(use_true_random=False),
)
def test_each_picture_once_in_order(count, piece, batch, bad, draw):
    order = np.arange(count)
    draw.shuffle(order)
    source = EncoderSource("counting", CountingEncoder(), ["colour"])
    kept = list(extract(Grey(count, bad), order, chunks_of(source, count, piece), batch, "cpu"))
    assert [chunk.images for chunk, _ in kept] == cut(range(count), piece)
    records = [record for _, found in kept for record in found.records]
    assert records == [i for i in order.tolist() if i not in bad]
    skipped = [item.key for _, found in kept for item in found.skipped]
    assert skipped == [f"{i}.png" for i in order.tolist() if i in bad]
    values = torch.cat([found.values[0]["colour"] for _, found in kept])
    expected = torch.tensor(records, dtype=torch.float32)[:, None].expand(-1, 3) / 255
    torch.testing.assert_close(values, expected.reshape(len(records), 3))


def test_no_more_is_decoded_ahead_than_memory_is_for():
    faces, most = Grey(40), []

    class Watching(CountingEncoder):
        def __call__(self, images):
            most.append(faces.asked - 2 * self.calls)  # beyond the batches of two that came before
            return super().__call__(images)

    source = EncoderSource("watching", Watching())
    list(extract(faces, np.arange(40), chunks_of(source, 40, 4), 2, "cpu"))
    assert max(most) <= 2 * (1 + _AHEAD)


def test_the_next_batches_are_decoded_while_the_encoder_works():
    """The encoder's first call returns only when the next batch has been decoded."""
    decoded = threading.Event()

    class Telling(Grey):
        def read(self, index, at_least=None):
            if index == 2:
                decoded.set()
            return super().read(index, at_least)

    class Waiting(CountingEncoder):
        def __call__(self, images):
            assert decoded.wait(30)
            return super().__call__(images)

    source = EncoderSource("waiting", Waiting())
    list(extract(Telling(4), np.arange(4), chunks_of(source, 4, 2), 2, "cpu"))


def test_an_error_of_writing_stops_the_run_and_keeps_the_finished_chunks(
    folder, tmp_path, monkeypatch
):
    def full(path, *arguments):
        if path.name.startswith("4-"):
            raise InputError("the disk is full")
        write_features(path, *arguments)

    monkeypatch.setattr(frozen, "_PIECE", 2)
    monkeypatch.setattr(frozen, "write_features", full)
    source, features = EncoderSource("counting", CountingEncoder(), ["colour"]), tmp_path / "f"
    with pytest.raises(InputError, match="the disk is full"):
        frozen.FeatureCache(features, 2).fill([source], all_of(folder))
    names = {path.name for path in features.glob("*.pieces/*")}
    assert names == {"0-2-colour.safetensors", "2-4-colour.safetensors"}


DAY = 86_400


def source(gain):
    return EncoderSource(f"gain {gain}", CountingEncoder(gain))


def age(folder, days):
    """Features are as if last used so many days earlier."""
    for entry in entries(folder):
        os.utime(entry.path, (entry.used - days * DAY,) * 2)


def filled(cache, pictures, gain):
    made = FeatureCache(cache)
    made.fill([source(gain)], all_of(pictures))
    return made


def test_what_was_not_used_for_long_makes_room(folder, tmp_path, monkeypatch):
    cache = tmp_path / "features"
    size = 0
    for gain in (1.0, 2.0, 3.0):
        age(cache, 2)
        filled(cache, folder, gain)
        size = size or sum(entry.size for entry in entries(cache))
    assert len(entries(cache)) == 6, "by default there is room for 20 GB"
    age(cache, 2)
    filled(cache, folder, 1.0)  # is used again, and so the latest
    monkeypatch.setenv(ROOM, str(2.2 * size / 1e9))
    last = filled(cache, folder, 4.0)
    held = {
        gain: last._path(source(gain), all_of(folder), "colour").exists()
        for gain in (1.0, 2.0, 3.0, 4.0)
    }
    assert held == {1.0: True, 2.0: False, 3.0: False, 4.0: True}


def test_features_of_the_run_itself_stay_and_others_come_back(folder, tmp_path, monkeypatch):
    cache = tmp_path / "features"
    monkeypatch.setenv(ROOM, "0")
    first, one, pictures = filled(cache, folder, 1.0), source(1.0), all_of(folder)
    expected = first.read(one, pictures, "colour").values.clone()
    filled(cache, folder, 2.0)  # of another process, which has room for its own alone
    assert not first._path(one, pictures, "colour").exists()
    assert torch.equal(first.read(one, pictures, "colour").values, expected)


def test_pieces_of_an_interrupted_run_make_room_unless_it_is_at_work(folder, tmp_path, monkeypatch):
    from linear_probe.features.files import lock

    cache = tmp_path / "features"
    filled(cache, folder, 1.0)
    stem = next(iter(cache.glob("*-colour.safetensors"))).name.removesuffix("-colour.safetensors")
    pieces = cache / f"{stem[:-4]}0000.pieces"
    pieces.mkdir()
    (pieces / "0-7-colour.safetensors").write_bytes(bytes(1000))
    monkeypatch.setenv(ROOM, "0")
    with lock(cache / f".{pieces.stem}.lock", wait=True):
        filled(cache, folder, 1.0)
        assert pieces.exists()
    filled(cache, folder, 1.0)
    assert not pieces.exists()


@pytest.mark.parametrize("text", ["much", "-1", "nan"])
def test_a_size_that_is_none(text, monkeypatch, capsys):
    monkeypatch.setenv(ROOM, text)
    assert main(["cache"]) == 2
    assert f"{ROOM}: '{text}'; give gigabytes" in capsys.readouterr().err


def test_a_run_says_where_its_features_are_and_they_can_be_removed(
    tiny, few_rendered, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["run", "--encoder", str(tiny), "--task", "expression", "--data", "rendered"]
    words += ["--no-baselines", "--bootstrap", "20", "--features", "expression"]
    assert main([*words, "--out", "runs/a/probe"]) == 0
    features = Path("runs/a/probe/features")
    size = sum(entry.size for entry in entries(features)) / 1e6
    assert f"features: {features}, {size:.1f} MB, kept for other runs" in capsys.readouterr().out
    kept = {path: path.read_bytes() for path in Path("runs").rglob("*.jsonl")}
    (features / "notes.safetensors").write_text("a user's own")
    (tmp_path / "other").mkdir()
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{features}: {size:.1f} MB, last used 2")
    assert f"{size:.1f} MB in runs; a folder keeps at most 20.00 GB ({ROOM})" in shown
    assert main(["cache", "--clean", "other", "runs/a"]) == 0
    assert f"{size:.1f} MB removed in other, runs/a" in capsys.readouterr().out
    assert [path.name for path in features.iterdir()] == ["notes.safetensors"]
    assert {path: path.read_bytes() for path in Path("runs").rglob("*.jsonl")} == kept
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.startswith("0.0 MB in runs; ")
    assert main(["cache", "nowhere"]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err
