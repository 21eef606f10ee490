"""Features that are extracted in shards equal those of one process; runs that find them."""

import json

import pytest

from linear_probe.features import frozen
from linear_probe.features.frozen import EncoderSource, FeatureCache
from ssl_faces.common.shards import Shard
from ssl_faces.plan import engine
from tests.support.in_process import InProcess
from tests.support.probing import CountingEncoder, all_of, own_images, run


class Killed(CountingEncoder):
    """Stops the run in its second call."""

    def __call__(self, images):
        if self.calls == 1:
            raise KeyboardInterrupt
        return super().__call__(images)


def test_features_of_shards_equal_the_whole(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "_PIECE", 2)  # 4 chunks
    (folder / "4.png").write_bytes(b"")
    encoder = CountingEncoder()
    source, pictures = EncoderSource("x", encoder), all_of(folder)
    skipped = FeatureCache(tmp_path / "whole", batch_size=2).fill([source], pictures)
    split = tmp_path / "split"
    killed = EncoderSource("x", Killed())
    with pytest.raises(KeyboardInterrupt):
        FeatureCache(split, 2, shard=Shard(1, 2)).fill([killed], pictures)
    for shard, calls in ((Shard(2, 2), 2), (Shard(1, 2), 1)):
        encoder.calls = 0
        FeatureCache(split, 2, shard=shard).fill([source], pictures)
        assert encoder.calls == calls
        assert not list(split.glob("*.safetensors"))
    encoder.calls = 0
    assert FeatureCache(split, batch_size=2).fill([source], pictures) == skipped
    assert encoder.calls == 0
    files = {path.name: path.read_bytes() for path in split.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}


def scores(out):
    records = map(json.loads, (out / "records.jsonl").read_text().splitlines())
    keys = ("encoder", "feature_space", "probe", "metric", "value", "low", "high", "n")
    return [tuple(record[key] for key in keys) for record in records]


def test_a_run_in_shards_equals_the_whole(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "_PIECE", 8)
    executor = InProcess()
    monkeypatch.setattr(engine, "executor", executor)
    own_images(tmp_path, ("a", "b"))
    words = ["--encoder", str(tiny), "--baselines", "pixels", "--batch-size", "8"]
    words += ["--train", str(tmp_path / "train"), "--test", str(tmp_path / "test")]
    assert run(*words, "--out", tmp_path / "whole") == 0
    assert run(*words, "--out", tmp_path / "split", "--shards", "3") == 0
    assert [call[-2:] for call in executor.calls] == [["--shard", f"{i}/3"] for i in (1, 2, 3)]
    assert scores(tmp_path / "split") == scores(tmp_path / "whole")
    for path in (tmp_path / "whole/features").glob("*.safetensors"):
        assert (tmp_path / "split/features" / path.name).read_bytes() == path.read_bytes()
