"""The benches of the feed: they run, and count what they say they count."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_faces.bench.feed import PicturePairs
from ssl_faces.bench.shuffling import stored_places
from ssl_faces.cli import main
from ssl_faces.data import PictureFolder


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for i in range(24):
        path = tmp_path / "album" / f"p{i // 4}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (40 * (i // 4) + i % 4, 128, 128)).save(path)
    return tmp_path / "album"


def bench(out: Path, *arguments: object) -> dict[str, object]:
    assert main(["bench", *map(str, arguments), "--out", str(out)]) == 0
    found: dict[str, object] = json.loads(out.read_text())
    return found


def test_feed(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_faces.bench.feed._SHORTEST", 0.01)
    found = bench(
        tmp_path / "feed.json",
        *("feed", "--data", album, "--size", 16, "--batch-size", 4, "--workers", "0,1"),
        *("--rounds", 1),
    )
    rows = found["rows"]
    assert isinstance(rows, list)
    assert len(rows) == 10
    for row in rows:
        assert row["ms a batch"] == pytest.approx(4000 / row["pairs/s"])
    by_name = {row["loader"]: row for row in rows if row["workers"] == 0}
    pil = by_name["PIL, a picture at a time"]
    assert pil["times PIL"] == 1
    packed = by_name["packed, disk"]
    assert packed["times PIL"] == pytest.approx(packed["pairs/s"] / pil["pairs/s"])


def test_feed_refuses(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "feed", "--data", str(album), "--workers", "two"]) == 2
    assert "--workers: two; give a whole number" in capsys.readouterr().err
    assert main(["bench", "feed", "--data", str(album), "--batch-size", "64"]) == 2
    assert "24 pictures are fewer than a batch of 64" in capsys.readouterr().err


def test_the_pil_loaders_pairs_are_of_one_person(album: Path) -> None:
    """Red tells people apart; the jitter moves it by less than half a step."""
    faces = PictureFolder(album, people_from_folders=True)
    pairs = PicturePairs(faces, 16, flip_share=0.0)
    assert len(pairs) == 24
    torch.manual_seed(0)
    for i, record in enumerate(faces.records):
        pair = pairs[i]
        assert pair.shape == (2, 3, 16, 16)
        reds = pair[:, 0].mean((1, 2)) * 255
        assert record.person is not None
        assert (reds / 40).round().tolist() == 2 * [float(record.person[1:])]


def test_memory(tmp_path: Path) -> None:
    found = bench(
        tmp_path / "memory.json",
        *("memory", "--pictures", "600", "--size", 8, "--batches", 3, "--batch-size", 32),
    )
    rows = found["rows"]
    assert isinstance(rows, list)
    assert [row["pictures"] for row in rows] == [600]
    for row in rows:
        assert row["pictures read"] == 2 * 3 * 32
        assert row["peak MB"] >= row["imports MB"] > 50


def test_shuffling(tmp_path: Path) -> None:
    found = bench(
        tmp_path / "shuffling.json",
        *("shuffling", "--pictures", 50_000, "--windows", "2", "--epochs", 2),
    )
    rows = found["rows"]
    assert isinstance(rows, list)
    by_order = {row["order"]: row for row in rows}
    assert by_order["as stored"]["correlation"] == pytest.approx(1)
    full = by_order["one permutation (packs here)"]
    # Five standard deviations of a random permutation's.
    assert full["correlation"] < 5 / 50_000**0.5
    assert full["neighbours"] == pytest.approx(1, abs=0.02)
    for window in (None, 3):
        places = stored_places(np.array([5, 0, 4, 7]), window, 1)
        assert sorted(places) == list(range(16))


def test_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra: what is missing is told."""
    monkeypatch.setattr("ssl_faces.bench.formats.find_spec", lambda package: None)
    found = bench(
        tmp_path / "formats.json", *("formats", "--pictures", 200, "--size", 8, "--rounds", 1)
    )
    rows, notes = found["rows"], found["notes"]
    assert isinstance(rows, list)
    assert isinstance(notes, list)
    assert [row["container"] for row in rows] == ["shards, pread", "npy, memory map"]
    assert rows[0]["shards are times as fast"] == 1
    assert sum("is not installed" in note for note in notes) == 2
