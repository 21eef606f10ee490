"""Frozen features on the disk: listed, capped by last use, and removed."""

import os
from pathlib import Path

import pytest
import torch

from linear_probe.cli import main
from linear_probe.features.cache import ROOM, entries
from linear_probe.features.frozen import EncoderSource, FeatureCache
from tests.support.probing import CountingEncoder, all_of

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
