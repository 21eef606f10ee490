"""Pairs for pretraining: two pictures of one person, or a picture and its mirror image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info


class PairBatch(TypedDict):
    """A batch of b pairs."""

    pairs: Tensor  # [b, 2, 3, S, S], uint8 RGB; float in [0, 1] once augmented
    seed: int  # of every random draw that the step makes


class PairBatches(IterableDataset[PairBatch]):
    """Batches of pairs, one epoch an iteration; all that is random follows from (seed, epoch).

    The order is a permutation of all pictures; each comes first in exactly one pair an epoch but
    for the last, incomplete batch. Batch i of an epoch is the same for any number of workers, and
    over several ranks the ranks' batches i together are one batch of all of them.

    Args:
        arrays: uint8 [N_k, 3, S, S] each; picture indices run through them one after another.
        chosen: the picture indices to train on.
        people: for each chosen picture a number that pictures of one person share, or -1.
        batch_size: pairs a batch, on each rank.
        flip_share: probability of the mirror image as partner where the person has other
            pictures (FaceCycle: 0.5); always where there are none.
        seed: see above.
        rank, world_size: of this process.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        chosen: np.ndarray,
        people: np.ndarray,
        *,
        batch_size: int,
        flip_share: float = 0.5,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.arrays = arrays
        self.starts = np.cumsum([0, *(len(a) for a in arrays)])
        self.chosen = chosen
        self.batch_size = batch_size
        self.flip_share = flip_share
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0  # batches of this epoch to leave out: those trained on before a resume
        # Pictures of one person lie next to each other in `by_person`.
        self.by_person = np.argsort(people, kind="stable")
        grouped = people[self.by_person]
        self.first = np.searchsorted(grouped, people, side="left")
        self.count = np.where(
            people < 0, 1, np.searchsorted(grouped, people, side="right") - self.first
        )
        self.place = np.empty_like(self.by_person)
        self.place[self.by_person] = np.arange(len(people))

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.chosen) // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[PairBatch]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.chosen))
        for batch in range(self.start + first, len(self), step):
            begin = (batch * self.world_size + self.rank) * self.batch_size
            yield self._batch(batch, order[begin : begin + self.batch_size])

    def _batch(self, batch: int, members: np.ndarray) -> PairBatch:
        images = []
        for member in members:
            draw = np.random.default_rng((self.seed, self.epoch, int(member)))
            first = self._image(member)
            if self.count[member] > 1 and draw.random() >= self.flip_share:
                # Any of the person's other pictures, all equally likely.
                shift = int(draw.integers(1, self.count[member]))
                within = (self.place[member] - self.first[member] + shift) % self.count[member]
                second = self._image(self.by_person[self.first[member] + within])
            else:
                second = first[..., ::-1]
            images.append(np.stack((first, second)))
        seed = np.random.SeedSequence((self.seed, self.epoch, batch, self.rank)).generate_state(1)
        return {"pairs": torch.from_numpy(np.stack(images)), "seed": int(seed[0])}

    def _image(self, member: int) -> np.ndarray:
        index = int(self.chosen[member])
        array = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.arrays[array][index - self.starts[array]]
