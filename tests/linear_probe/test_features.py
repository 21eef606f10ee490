"""Frozen features: right, computed once, and what happens to pictures that are none."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linear_probe.features.files import write_features
from linear_probe.features.frozen import EncoderSource, FeatureCache
from linear_probe.sources.baselines import PixelSource
from ssl_faces import InputError, load_encoder
from ssl_faces.data.pictures import square
from tests.support.probing import CountingEncoder, all_of


def test_features_are_the_encoders(folder, tmp_path):
    pictures, source = all_of(folder), EncoderSource("counting", CountingEncoder())
    cache = FeatureCache(tmp_path / "features", batch_size=3)
    assert cache.fill([source], pictures) == []
    found = cache.read(source, pictures, "colour")
    assert found.values.dtype == torch.float32
    assert found.records.tolist() == list(range(7))
    for i in range(7):
        expected = np.asarray(Image.open(folder / f"{i}.png")).mean(axis=(0, 1)) / 255
        np.testing.assert_allclose(found.values[i], expected, rtol=1e-5)


def test_a_saved_encoders_features(folder, tmp_path, save_tiny):
    encoder = load_encoder(save_tiny(tmp_path / "e", identity=True))
    pictures, source = all_of(folder), EncoderSource("tiny", encoder)
    cache = FeatureCache(tmp_path / "features", batch_size=3)
    cache.fill([source], pictures)
    images = torch.from_numpy(square(pictures.faces.read(4), 32).copy())[None] / 255
    for space, expected in encoder(images).items():
        found = cache.read(source, pictures, space).values
        assert found.shape == (7, encoder.feature_dims[space])
        torch.testing.assert_close(found[4:5], expected, rtol=1e-4, atol=1e-5)


def test_features_in_bf16_are_near_and_kept_apart(folder, tmp_path, save_tiny):
    pictures, encoder = all_of(folder), load_encoder(save_tiny(tmp_path / "e"))
    precisions = ("32", "bf16", "32")
    found = {}
    for precision in precisions:
        cache = FeatureCache(tmp_path / "features")
        source = EncoderSource("tiny", encoder, None, precision)
        cache.fill([source], pictures)
        values = cache.read(source, pictures, "expression_map").values
        assert values.dtype == torch.float32
        if precision in found:
            torch.testing.assert_close(values, found[precision], rtol=0, atol=0)
        found[precision] = values
    assert not torch.equal(found["32"], found["bf16"])
    gap = (found["32"] - found["bf16"]).norm() / found["32"].norm()
    assert gap < 0.02


def test_the_second_time_nothing_is_computed(folder, tmp_path):
    encoder = CountingEncoder()
    cache = FeatureCache(tmp_path / "features", batch_size=3)
    cache.fill([EncoderSource("counting", encoder)], all_of(folder))
    assert encoder.calls == 3  # one pass for both spaces
    again = CountingEncoder()
    other = FeatureCache(tmp_path / "features", batch_size=5)
    other.fill([EncoderSource("by another name", again)], all_of(folder))
    assert again.calls == 0


@pytest.mark.parametrize("change", ["weights", "picture", "name of a picture", "fewer pictures"])
def test_what_changes_the_features_is_seen(change, folder, tmp_path):
    cache = FeatureCache(tmp_path / "features")
    cache.fill([EncoderSource("counting", CountingEncoder())], all_of(folder))
    encoder = CountingEncoder(gain=2.0 if change == "weights" else 1.0)
    if change == "picture":
        # The same size and time, other pixels.
        stat, size = (folder / "3.png").stat(), (folder / "3.png").stat().st_size
        Image.new("RGB", (16, 16)).save(folder / "3.png")
        (folder / "3.png").write_bytes((folder / "3.png").read_bytes().ljust(size, b"\0"))
        os.utime(folder / "3.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif change == "name of a picture":
        (folder / "3.png").rename(folder / "3b.png")
    elif change == "fewer pictures":
        (folder / "3.png").unlink()
    cache.fill([EncoderSource("counting", encoder)], all_of(folder))
    assert encoder.calls == 1


def test_damaged_features_are_computed_anew(folder, tmp_path):
    cache = FeatureCache(tmp_path / "features")
    source = EncoderSource("counting", CountingEncoder())
    cache.fill([source], all_of(folder))
    before = cache.read(source, all_of(folder), "corner").values.clone()
    (damaged,) = (tmp_path / "features").glob("*corner*")
    for data in (b"", damaged.read_bytes()[:-9], b"\xff" * 200):
        damaged.unlink()  # not in place: tensors may be mapped to the old file
        damaged.write_bytes(data)
        encoder = CountingEncoder()
        cache.fill([EncoderSource("counting", encoder)], all_of(folder))
        assert encoder.calls == 1
        assert cache.read(source, all_of(folder), "corner").values.equal(before)


def test_corrupt_pictures_are_skipped_and_listed_each_time(folder, tmp_path):
    (folder / "2.png").write_bytes(b"")
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:200])
    cache = FeatureCache(tmp_path / "features", batch_size=3)
    source = EncoderSource("counting", CountingEncoder())
    for _ in range(2):
        skipped = cache.fill([source], all_of(folder))
        assert [item.key for item in skipped] == ["2.png", "5.png"]
        assert all(item.reason for item in skipped)
    found = cache.read(source, all_of(folder), "colour")
    assert found.records.tolist() == [0, 1, 3, 4, 6]
    expected = np.asarray(Image.open(folder / "6.png")).mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(found.values[4], expected, rtol=1e-5)


def test_no_picture_whole(folder, tmp_path):
    for path in folder.iterdir():
        path.write_bytes(b"no picture")
    cache = FeatureCache(tmp_path / "features")
    with pytest.raises(InputError, match="none of its 7 pictures can be decoded"):
        cache.fill([PixelSource(16)], all_of(folder))
    assert not (tmp_path / "features").exists()


def test_features_are_memory_mapped(folder, tmp_path):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux lists mapped files")
    cache, source = FeatureCache(tmp_path / "features"), PixelSource(16)
    cache.fill([source], all_of(folder))
    (path,) = (tmp_path / "features").iterdir()
    assert str(path) not in maps.read_text()
    found = cache.read(source, all_of(folder), "grey 16x16")
    assert str(path) in maps.read_text()
    assert found.values.shape == (7, 256)


class Wrong(CountingEncoder):
    """Gives what `change` makes of its features."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def __call__(self, images):
        return self.change(super().__call__(images))


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (
            lambda f: f | {"corner": f["corner"][:, :2]},
            "mine, corner: gave features of length 2, though it says 3",
        ),
        (
            lambda f: f | {"corner": f["corner"][:, :, None]},
            r"mine, corner: gave features of shape \[7, 3, 1\] for 7 pictures, not \[7, 3\]",
        ),
        (lambda f: f | {"colour": f["colour"].mean(dim=1)}, r"mine, colour: .* shape \[7\]"),
        (lambda f: f | {"colour": f["colour"][:5]}, r"mine, colour: .* shape \[5, 3\]"),
        (lambda f: {"colour": f["colour"]}, "mine: gave no features 'corner'"),
    ],
)
def test_other_features_than_it_says(change, shown, folder, tmp_path):
    cache = FeatureCache(tmp_path / "features")
    with pytest.raises(InputError, match=shown):
        cache.fill([EncoderSource("mine", Wrong(change))], all_of(folder))
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_no_numbers(bad, folder, tmp_path):
    (folder / "0.png").write_bytes(b"")  # so that row and record differ

    def spoil(features):
        features["corner"][[2, 4], 1] = bad
        return features

    cache = FeatureCache(tmp_path / "features")
    shown = (
        r"mine, corner: features of 2 of 6 pictures of .* are NaN or infinite, the first of 3.png"
    )
    pixels = PixelSource(8)
    for _ in range(2):
        with pytest.raises(InputError, match=shown):
            cache.fill([EncoderSource("mine", Wrong(spoil)), pixels], all_of(folder))
    # What was good is kept, and nothing of what was not.
    assert cache.read(pixels, all_of(folder), "grey 8x8").values.shape == (6, 64)
    names = [path.name for path in (tmp_path / "features").iterdir()]
    assert len(names) == 2
    assert not any("corner" in name for name in names)


def test_kept_features_that_are_no_numbers(folder, tmp_path):
    cache, source = FeatureCache(tmp_path / "features"), PixelSource(8)
    cache.fill([source], all_of(folder))
    (path,) = (tmp_path / "features").iterdir()
    values = torch.ones(7, 64)
    values[3, 3] = torch.nan
    write_features(path, values, range(7), [])
    with pytest.raises(InputError, match="NaN or infinite features; delete it"):
        cache.read(source, all_of(folder), "grey 8x8")


def test_spaces_of_like_names_are_kept_apart(folder, tmp_path):
    class Alike(CountingEncoder):
        feature_dims = {"a/b": 3, "a.b": 3}  # noqa: RUF012

        def __call__(self, images):
            return dict(zip(self.feature_dims, super().__call__(images).values(), strict=True))

    cache, source = FeatureCache(tmp_path / "features"), EncoderSource("x", Alike())
    cache.fill([source], all_of(folder))
    one, other = (cache.read(source, all_of(folder), s).values for s in ("a/b", "a.b"))
    assert not torch.equal(one, other)
