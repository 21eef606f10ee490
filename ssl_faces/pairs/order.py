"""The order of an epoch: a permutation of all pictures, or of shards and then within windows.

It follows from (seed, epoch) and what is stored alone. Packs on this machine are one window, so
that their order is a full permutation. Where shards are fetched and not all can be kept, an epoch
goes through windows of so many shards, drawn at random; within a window the order is a permutation
again.
"""

from __future__ import annotations

import numpy as np


class EpochOrder:
    """One epoch's windows.

    Args:
        counts: int64 [shards], pictures of each shard.
        window: shards a window; None: all in one.
        seed, epoch: what it follows from.

    Attributes:
        windows: of each window its shards, int64.
        starts: int64 [windows + 1], positions in the epoch at which windows begin; the last one
            is the number of pictures.
    """

    def __init__(self, counts: np.ndarray, window: int | None, seed: int, epoch: int) -> None:
        shards = np.arange(len(counts))
        self.seed, self.epoch = seed, epoch
        if window is None or window >= len(counts):
            self.windows = [shards]
        else:
            shards = np.random.default_rng((seed, epoch)).permutation(shards)
            # No short last window, whose pictures would be shuffled among few.
            self.windows = np.array_split(shards, max(1, -(-len(shards) // window)))
        sizes = [int(counts[members].sum()) for members in self.windows]
        self.starts = np.cumsum([0, *sizes])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def within(self, window: int) -> np.ndarray:
        """int32: the order of the pictures of a window, as places in its list of pictures."""
        count = int(self.starts[window + 1] - self.starts[window])
        draw = np.random.default_rng((self.seed, self.epoch, window))
        return draw.permutation(np.arange(count, dtype=np.int32))

    def spans(self, begin: int, end: int) -> list[tuple[int, int, int]]:
        """(window, first, last + 1) for the positions from `begin` to before `end`, the latter
        two counted from the window's start."""
        found = []
        window = int(np.searchsorted(self.starts, begin, side="right")) - 1
        while begin < end:
            start, stop = int(self.starts[window]), int(self.starts[window + 1])
            last = min(end, stop)
            if last > begin:
                found.append((window, begin - start, last - start))
            begin, window = max(begin, last), window + 1
        return found
