"""The pipeline of extraction: what runs ahead and behind, and what its bench says."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linear_probe.features import frozen
from linear_probe.features.extraction import _AHEAD, Chunk, cut, extract
from linear_probe.features.files import write_features
from linear_probe.features.frozen import EncoderSource
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
