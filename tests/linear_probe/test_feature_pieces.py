"""Features are computed in chunks: interrupted, damaged, and by two processes at once."""

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from linear_probe.features import frozen as module
from linear_probe.features.frozen import EncoderSource, FeatureCache
from linear_probe.sources.baselines import PixelSource
from tests.support.probing import CountingEncoder, all_of
from tests.support.processes import begin, eventually


def test_many_sources_in_small_pieces(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 2)
    (folder / "4.png").write_bytes(b"")
    sources = [PixelSource(8), PixelSource(16), EncoderSource("counting", CountingEncoder())]
    in_pieces = FeatureCache(tmp_path / "features", batch_size=2)
    assert [s.key for s in in_pieces.fill(sources, all_of(folder))] == ["4.png"]
    monkeypatch.setattr(module, "_PIECE", 100)
    at_once = FeatureCache(tmp_path / "others", batch_size=100)
    at_once.fill(sources, all_of(folder))
    for source in sources:
        for space, dim in source.dims.items():
            found = in_pieces.read(source, all_of(folder), space)
            expected = at_once.read(source, all_of(folder), space)
            assert found.records.tolist() == expected.records.tolist() == [0, 1, 2, 3, 5, 6]
            assert found.values.shape == (6, dim)
            torch.testing.assert_close(found.values, expected.values)
    # Of the pieces nothing is left.
    assert all(path.suffix == ".safetensors" for path in (tmp_path / "features").iterdir())


class Killed(CountingEncoder):
    """Stops the run in the middle."""

    def __init__(self, calls, gain=1.0):
        super().__init__(gain)
        self.most = calls

    def __call__(self, images):
        if self.calls == self.most:
            raise KeyboardInterrupt
        return super().__call__(images)


def test_a_stopped_run_goes_on_where_it_was(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 2)
    cache = FeatureCache(tmp_path / "features", batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        cache.fill([EncoderSource("x", Killed(3))], all_of(folder))
    assert not list((tmp_path / "features").glob("*.safetensors"))
    encoder = CountingEncoder()
    source = EncoderSource("x", encoder)
    cache.fill([source], all_of(folder))
    assert encoder.calls == 1  # of 4 pieces 3 were done
    found = cache.read(source, all_of(folder), "colour")
    for i in range(7):
        expected = np.asarray(Image.open(folder / f"{i}.png")).mean(axis=(0, 1)) / 255
        np.testing.assert_allclose(found.values[i], expected, rtol=1e-5)


@pytest.mark.parametrize("change", ["weights", "picture"])
def test_pieces_of_older_weights_or_pictures_are_not_used(change, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 2)
    cache = FeatureCache(tmp_path / "features", batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        cache.fill([EncoderSource("x", Killed(3))], all_of(folder))
    if change == "picture":
        Image.new("RGB", (16, 16)).save(folder / "0.png")
    encoder = CountingEncoder(gain=0.5 if change == "weights" else 1.0)
    source = EncoderSource("x", encoder)
    cache.fill([source], all_of(folder))
    assert encoder.calls == 4
    first = np.asarray(Image.open(folder / "0.png")).mean(axis=(0, 1)) / 255 * encoder.gain
    found = cache.read(source, all_of(folder), "colour")
    np.testing.assert_allclose(found.values[0], first, rtol=1e-5)


def test_a_sources_features_do_not_depend_on_the_others(tmp_path):
    """Large JPEGs are decoded at a reduced size; a larger source beside must not change which."""
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 256, (128, 128, 3)).astype(np.uint8)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.jpg")
    found = []
    for name, beside in (("alone", []), ("beside", [PixelSource(96)])):
        cache, source = FeatureCache(tmp_path / name), PixelSource(16)
        cache.fill([*beside, source], all_of(tmp_path / "pictures"))
        found.append(cache.read(source, all_of(tmp_path / "pictures"), "grey 16x16").values)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_one_encoder_by_two_names_is_computed_once(folder, tmp_path):
    one, other = CountingEncoder(), CountingEncoder()
    sources = [EncoderSource("one", one, ["colour"]), EncoderSource("other", other, ["colour"])]
    cache = FeatureCache(tmp_path / "features")
    cache.fill(sources, all_of(folder))
    assert one.calls + other.calls == 1
    # Also by another of its spaces.
    more = [EncoderSource("one", one, ["colour"]), EncoderSource("other", other)]
    cache.fill(more, all_of(folder))
    assert cache.read(more[1], all_of(folder), "corner").values.shape == (7, 3)


class Slow(CountingEncoder):
    """Rests in its second call until there is a file `go on`; leaves a file for each call."""

    def __init__(self, calls):
        super().__init__()
        self.place = calls

    def __call__(self, images):
        found = super().__call__(images)
        (self.place / f"call {self.calls}").touch()
        if self.calls == 2:
            eventually((self.place / "go on").exists, 60)
        return found


def fill_slowly(folder, features, calls):
    module._PIECE = 2
    FeatureCache(features, batch_size=2).fill([EncoderSource("x", Slow(calls))], all_of(folder))


def start_another(folder, tmp_path):
    """Another process that fills the cache and rests in its second of four chunks."""
    calls, features = tmp_path / "calls", tmp_path / "features"
    calls.mkdir()
    process = begin(fill_slowly, folder, features, calls)
    # The first piece, a file for each of the two spaces, is written while the second is computed.
    eventually(
        lambda: (calls / "call 2").exists() and len([*features.glob("*.pieces/*.safetensors")]) == 2
    )
    return process


def test_the_second_of_two_processes_waits_and_takes_the_firsts(
    folder, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(module, "_PIECE", 2)
    process = start_another(folder, tmp_path)
    encoder = CountingEncoder()
    source = EncoderSource("y", encoder)
    cache = FeatureCache(tmp_path / "features", batch_size=2)

    def release():
        while "another process" not in caplog.text:
            time.sleep(0.02)
        (tmp_path / "calls" / "go on").touch()

    threading.Thread(target=release, daemon=True).start()
    cache.fill([source], all_of(folder))
    process.join()
    assert process.exitcode == 0
    assert encoder.calls == 0
    assert len(list((tmp_path / "calls").glob("call *"))) == 4
    assert cache.read(source, all_of(folder), "colour").records.tolist() == list(range(7))


def test_what_no_other_process_is_at_is_computed_before_waiting(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 2)
    process = start_another(folder, tmp_path)

    class Other(CountingEncoder):
        def __call__(self, images):
            if self.calls == 3:  # the last chunk: all is computed while the other process rests
                assert not (tmp_path / "calls" / "call 3").exists()
                (tmp_path / "calls" / "go on").touch()
            return super().__call__(images)

    same = CountingEncoder()
    sources = [EncoderSource("same", same), EncoderSource("other", Other(gain=0.5))]
    FeatureCache(tmp_path / "features", batch_size=2).fill(sources, all_of(folder))
    process.join()
    assert process.exitcode == 0
    assert same.calls == 0


def test_a_killed_process_blocks_nobody_and_its_pieces_serve(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 2)
    process = start_another(folder, tmp_path)
    process.kill()
    process.join()
    assert list((tmp_path / "features").glob(".*.lock"))
    encoder = CountingEncoder()
    FeatureCache(tmp_path / "features", batch_size=2).fill(
        [EncoderSource("x", encoder)], all_of(folder)
    )
    assert encoder.calls == 3
    assert not list((tmp_path / "features").glob(".*"))
