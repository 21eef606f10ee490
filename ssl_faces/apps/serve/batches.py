"""Dynamic batches: faces of requests that wait go through the encoder together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from torch import Tensor

Encode = Callable[[Sequence[np.ndarray], Collection[str]], dict[str, Tensor]]
"""Codes [N, D] by feature space of N crops uint8 [S, S, 3]."""


class _Waiting(NamedTuple):
    crops: Sequence[np.ndarray]
    spaces: Collection[str]
    codes: asyncio.Future[dict[str, Tensor]]


class Batcher:
    """Awaiting `batcher(crops, spaces)` gives their codes.

    While the encoder computes a batch, requests collect, and the next batch takes as many as fit:
    a lone request never waits for others.

    Args:
        encode: runs in its own thread.
        most: faces per batch; a request with more is a batch alone.
        observe: called with the number of faces of each batch.
    """

    def __init__(
        self, encode: Encode, most: int, observe: Callable[[int], object] = lambda count: None
    ) -> None:
        self._encode, self._most, self._observe = encode, most, observe
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()

    async def __call__(
        self, crops: Sequence[np.ndarray], spaces: Collection[str]
    ) -> dict[str, Tensor]:
        codes: asyncio.Future[dict[str, Tensor]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(crops, spaces, codes))
        self._wake.set()
        return await codes

    async def run(self) -> None:
        """Compute batches until cancelled; requests that wait then are cancelled too."""
        loop = asyncio.get_running_loop()
        batch: list[_Waiting] = []
        with ThreadPoolExecutor(1, "encoder") as thread:
            try:
                while True:
                    await self._wake.wait()
                    batch = self._next()
                    if not batch:
                        self._wake.clear()
                        continue
                    crops = [crop for request in batch for crop in request.crops]
                    spaces = {space for request in batch for space in request.spaces}
                    self._observe(len(crops))
                    try:
                        codes = await loop.run_in_executor(thread, self._encode, crops, spaces)
                    except Exception as error:
                        for request in batch:
                            if not request.codes.done():
                                request.codes.set_exception(error)
                        continue
                    _hand_out(batch, codes)
            finally:
                for request in (*batch, *self._waiting):
                    request.codes.cancel()

    def _next(self) -> list[_Waiting]:
        """The requests of the next batch, without those that are no longer awaited."""
        batch: list[_Waiting] = []
        count = 0
        while self._waiting:
            request = self._waiting[0]
            if batch and count + len(request.crops) > self._most:
                break
            self._waiting.popleft()
            if not request.codes.done():
                batch.append(request)
                count += len(request.crops)
        return batch


def _hand_out(batch: Sequence[_Waiting], codes: dict[str, Tensor]) -> None:
    start = 0
    for request in batch:
        rows = slice(start, start + len(request.crops))
        start = rows.stop
        if not request.codes.done():
            request.codes.set_result({space: codes[space][rows] for space in request.spaces})
