"""The benches of feed, prepare, render and scale run, and count what they name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from ssl_faces.bench import scale
from ssl_faces.bench.feed import PicturePairs
from ssl_faces.data import ImageFolder
from tests.support.benches import run_bench
from tests.support.commands import refusal


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Six people with four images each; red is 40 times the person's number."""
    for i in range(24):
        path = tmp_path / "album" / f"p{i // 4}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (40 * (i // 4) + i % 4, 128, 128)).save(path)
    return tmp_path / "album"


def test_feed(
    album: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("ssl_faces.bench.feed._SHORTEST", 0.01)
    sizes = ("--size", 16, "--batch-size", 4, "--workers", "0,1", "--rounds", 1)
    rows = run_bench(tmp_path, "feed", "--data", album, *sizes)["rows"]
    assert len(rows) == 8
    for row in rows:
        assert row["ms a batch"] == pytest.approx(4000 / row["pairs/s"])
    by_name = {row["loader"]: row for row in rows if row["workers"] == 0}
    pil, packed = by_name["PIL, a picture at a time"], by_name["packed, disk"]
    assert pil["times PIL"] == 1
    assert packed["times PIL"] == pytest.approx(packed["pairs/s"] / pil["pairs/s"])
    argv = ["bench", "feed", "--data", str(album), "--batch-size", "64"]
    assert "24 pictures are fewer than a batch of 64" in refusal(capsys, *argv)


def test_the_pil_loaders_pairs_are_of_one_person(album: Path) -> None:
    faces = ImageFolder(album, people_from_folders=True)
    pairs = PicturePairs(faces, 16, flip_share=0.0)
    assert len(pairs) == 24
    torch.manual_seed(0)
    for i, record in enumerate(faces.records):
        pair = pairs[i]
        assert pair.shape == (2, 3, 16, 16)
        reds = pair[:, 0].mean((1, 2)) * 255  # the jitter moves it by less than half a step
        assert record.person is not None
        assert (reds / 40).round().tolist() == 2 * [float(record.person[1:])]


def test_prepare(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = run_bench(tmp_path, "prepare", "--faces", 6, "--data", real_data)
    assert "| one of YouTube's frames | 6 | 100 |" in capsys.readouterr().out
    rows = {row["what"]: row for row in measured["rows"]}
    for what in ("one of YouTube's frames", "groups of YouTube's frames"):
        assert rows[what]["found %"] == 100
        assert 0.01 < rows[what]["eyes, mean"] < 0.1
    assert rows["groups of LFW's crops"]["found %"] == 100
    assert not any(row["not faces"] for row in rows.values())


def test_render(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    sizes = ("--count", 24, "--size", 16, "--rounds", 2, "--threads", 2, "--device", "cpu")
    try:
        measured = run_bench(tmp_path, "render", *sizes)
    finally:
        torch.set_num_threads(before)
    assert {(row["nuisances"], row["threads"]) for row in measured["rows"]} == {
        (level, n) for level in ("none", "mild", "all") for n in (1, 2)
    }
    for row in measured["rows"]:
        seconds = measured["details"]["seconds"][f"{row['nuisances']}, {row['threads']} threads"]
        assert row["faces/s"] == pytest.approx(24 / (sum(seconds) / 2))
        assert row["best round faces/s"] == pytest.approx(24 / min(seconds))


def test_scale(tmp_path: Path) -> None:
    sizes = ("--size", "small", "--input-size", 16, "--pairs", 1, "--rounds", 1)
    measured = run_bench(tmp_path, "scale", *sizes, "--precision", "32")
    names = (scale.PRODUCTS, scale.ALONE, scale.DDP)
    assert tuple(row["what"] for row in measured["rows"]) == names


def test_the_gain_of_two_compares_the_same_rounds() -> None:
    def took(*walls: float) -> list[scale.Took]:
        return [scale.Took(wall, 0.5 * wall) for wall in walls]

    seconds = {
        "matrix products": {"one": took(1, 2, 4), "two": took(1, 2, 8)},
        "step": {"one": took(2, 2, 2), "two": [scale.Took(w, 2.0) for w in (4.0, 2.5, 2.0)]},
    }
    products, step = scale._rows(seconds, "32", images=8)
    assert products["gain of two, times"] == products["by CPU time, times"] == 2.0
    assert step["gain of two, times"] == pytest.approx(2 * 2 / 2.5)
    assert step["by CPU time, times"] == 1.0
    assert step["one process pictures/s"] == 4
    assert step["two processes pictures/s"] == pytest.approx(16 / 2.5)
