"""The order of an epoch: a permutation of all pictures, or of shards and then within windows.

It follows from (seed, epoch) and what is stored alone. Packs on this machine are one window, so
that their order is a full permutation. Where shards are fetched and not all can be kept, an epoch
goes through windows of so many shards, drawn at random; within a window the order is a permutation
again.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Shuffling:
    """How well an order is shuffled.

    Attributes:
        correlation: of a picture's stored place with its place in the order (Spearman's; 0 for a
            random permutation, with a standard deviation of 1 / sqrt(n - 1); 1 unshuffled).
        neighbours: the mean distance between the stored places of neighbours in the order, as a
            share of a random permutation's, (n + 1) / 3; about 0 unshuffled, 1 at best.
    """

    correlation: float
    neighbours: float


def shuffling(order: np.ndarray) -> Shuffling:
    """Measure an order: the stored places, 0 to n - 1, in the order they come in.

    Both figures need n of 2 at least.
    """
    count = len(order)
    places = np.arange(count)
    correlation = float(np.corrcoef(places, order)[0, 1])
    distance = float(np.abs(np.diff(order.astype(np.int64))).mean())
    return Shuffling(correlation, distance / ((count + 1) / 3))
