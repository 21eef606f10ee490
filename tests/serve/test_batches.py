"""Faces of concurrent requests are computed together, and each request gets its own."""

import asyncio
import threading

import numpy as np
import pytest
import torch

pytest.importorskip("fastapi")


def face(value):
    return np.full((2, 2, 3), value, np.uint8)


class Encoder:
    """Codes that name the face; the first batch waits until `go`."""

    def __init__(self):
        self.sizes: list[int] = []
        self.spaces: list[set[str]] = []
        self.go = threading.Event()

    def __call__(self, crops, spaces):
        self.sizes.append(len(crops))
        self.spaces.append({*spaces})
        if len(self.sizes) == 1:
            assert self.go.wait(10)
        if any(crop[0, 0, 0] == 255 for crop in crops):
            raise ValueError("white")
        codes = torch.tensor([[float(crop[0, 0, 0])] for crop in crops])
        return {space: codes + 1000 * (space == "b") for space in spaces}


async def _batched(requests, most):
    from ssl_faces.apps.serve.batches import Batcher

    encoder = Encoder()
    batcher = Batcher(encoder, most)
    running = asyncio.create_task(batcher.run())
    asked = []
    for values, spaces in requests:
        asked.append(asyncio.create_task(batcher([face(v) for v in values], spaces)))
        await asyncio.sleep(0.02)
    asked[1].cancel()
    await asyncio.sleep(0)
    encoder.go.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return encoder, answers


def test_requests_that_wait_share_a_batch():
    requests = [
        ([0], {"a"}),  # alone: nothing else waits
        ([9], {"a"}),  # cancelled while it waits: computed for nobody
        ([1, 2], {"a"}),
        ([3], {"b"}),
        ([4, 5], {"a", "b"}),  # would make five
        ([6] * 7, {"a"}),  # more than a batch: alone
        ([7], {"a"}),
    ]
    encoder, answers = asyncio.run(_batched(requests, 4))
    assert encoder.sizes == [1, 3, 2, 7, 1]
    assert encoder.spaces[1] == {"a", "b"}
    assert isinstance(answers[1], asyncio.CancelledError)
    for (values, spaces), codes in zip(requests, answers, strict=True):
        if values == [9]:
            continue
        assert set(codes) == spaces
        for space in spaces:
            assert codes[space][:, 0].tolist() == [v + 1000 * (space == "b") for v in values]


def test_a_batch_that_fails_stops_no_other():
    requests = [([0], {"a"}), ([9], {"a"}), ([255], {"a"}), ([1] * 4, {"a"})]
    _, answers = asyncio.run(_batched(requests, 4))
    assert isinstance(answers[2], ValueError)
    assert answers[3]["a"][:, 0].tolist() == [1] * 4
