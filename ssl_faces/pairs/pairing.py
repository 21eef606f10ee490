"""Pairs for pretraining: two images of one person or of two, or an image and its mirror image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PlainValidator
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ssl_faces.common.arguments import whole
from ssl_faces.common.errors import InputError
from ssl_faces.data.store.stored_faces import Faces
from ssl_faces.pairs.order import EpochOrder


class PairBatch(TypedDict, total=False):
    """A batch of b pairs."""

    pairs: Tensor  # [b, 2, 3, S, S], uint8 RGB; float in [0, 1] once augmented
    seed: int  # of every random draw that the step makes
    mirrored: Tensor  # bool [b]: whether the second is the first one's mirror image
    people: Tensor  # int64 [b]: a number that pairs of one person share, or -1
    neutral: Tensor  # [b, 3, S, S] as `pairs`: the neutral frontal face of the first
    has_neutral: Tensor  # bool [b]: whether it is known; if not, `neutral` is the first
    # Instead of `pairs`, where pictures are gathered on the device that holds them all:
    numbers: Tensor  # int64 [b, 2]
    error: str  # instead of all: what a loader's process found wrong


MOST_CANDIDATES = 3
"""As each position of an epoch has four random numbers, and one decides on the mirror image."""
Candidates = Annotated[int, PlainValidator(whole(1, MOST_CANDIDATES))]

_COARSE = 8  # side of the images whose distance is how much two differ


class Draw(NamedTuple):
    """Which pictures meet: int64 [b] numbers of the first and the second ones, bool [b] whether
    the second is the first one's mirror image, and int64 [b] the first one's person or -1."""

    first: np.ndarray
    second: np.ndarray
    mirrored: np.ndarray
    people: np.ndarray


class PairBatches(IterableDataset[PairBatch]):
    """Batches of pairs, one epoch an iteration; all that is random follows from (seed, epoch).

    An epoch: every image comes first in exactly one pair, in an order drawn anew (`EpochOrder`).
    Those at its end that don't fill a batch on every rank (fewer than `batch_size * world_size`)
    are left out. With `different_share` an epoch has as many pairs, but images are drawn by group:
    those that have a partner for that share of the pairs, those without for the rest. Within a
    group no image comes first again before all have. With `by_clip` an epoch is one pair a person
    (or clip), whose first image is drawn, and one of each image of nobody known.

    Batch i of an epoch is the same for any number of workers, and over several ranks the ranks'
    batches i together are one batch of all of them.

    Args:
        faces: what is trained on.
        batch_size: pairs a batch, on each rank.
        flip_share: probability of the mirror image as partner where the person has other
            pictures (FaceCycle: 0.5); always where there are none.
        candidates: of so many images of the person, 1 to `MOST_CANDIDATES`, the one that differs
            most is the partner: by mean absolute difference of grey images of 8x8 pixels.
        different_share: probability, 0 to 1, that a pair is two images of one person; the others
            are mirror images, of images without a partner if there are any. Windows without
            partners give mirror images. `flip_share` then has no effect. None: each image comes
            first equally often.
        by_clip: see above; only without `window` and `different_share`.
        strangers: the second image is of another person, all equally likely, and never mirrored.
        neutral: as `StoredFaces.neutral_faces`: batches have `neutral` and `has_neutral`.
        seed: see above.
        rank, world_size: of this process.
        window: shards a window of the order; partners come from the same window. None: all.
        gather: whether batches have the pictures, or only their numbers.
    """

    def __init__(
        self,
        faces: Faces,
        *,
        batch_size: int,
        flip_share: float = 0.5,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        window: int | None = None,
        gather: bool = True,
        candidates: int = 1,
        different_share: float | None = None,
        by_clip: bool = False,
        strangers: bool = False,
        neutral: np.ndarray | None = None,
    ) -> None:
        self.faces = faces
        self.neutral = neutral
        self.different_share = different_share
        self.by_clip = by_clip
        self.strangers = strangers
        self.candidates = candidates
        self.batch_size = batch_size
        self.flip_share = flip_share
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.window = window
        self.gather = gather
        self.epoch = 0
        self.start = 0  # batches of this epoch to leave out: those trained on before a resume
        self._people: tuple[bytes, _People] | None = None

    def __len__(self) -> int:
        """Batches an epoch."""
        pairs = int(self.faces.counts.sum())
        if self.by_clip:
            pairs = len(self.people(np.arange(len(self.faces.counts))).groups) - 1
        return pairs // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[PairBatch]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        try:
            epoch = _Epoch(self)
            for batch in range(self.start + first, len(self), step):
                begin = (batch * self.world_size + self.rank) * self.batch_size
                yield self._batch(batch, epoch.draw(begin, begin + self.batch_size))
        except InputError as error:
            if worker is None:
                raise
            # An error would arrive from another process with that process's trace in its text.
            yield {"error": str(error)}

    def _batch(self, number: int, drawn: Draw) -> PairBatch:
        seed = np.random.SeedSequence((self.seed, self.epoch, number, self.rank)).generate_state(1)
        batch: PairBatch = {
            "mirrored": torch.from_numpy(drawn.mirrored),
            "people": torch.from_numpy(drawn.people),
            "seed": int(seed[0]),
        }
        numbers = [drawn.first, drawn.second]
        if self.neutral is not None:
            neutral = self.neutral[drawn.first]
            batch["has_neutral"] = torch.from_numpy(neutral >= 0)
            numbers.append(np.where(neutral >= 0, neutral, drawn.first))
        if not self.gather:
            return {**batch, "numbers": torch.from_numpy(np.stack(numbers, 1))}
        if self.neutral is not None:
            batch["neutral"] = self._images(numbers[2])
        return {**batch, "pairs": self.pictures(drawn)}

    def sample(self, shards: np.ndarray, count: int) -> PairBatch:
        """`count` pairs (or as many as there are pictures) spread evenly over these shards."""
        people = self.people(shards)
        step = max(1, len(people.numbers) // count)
        members = np.arange(0, step * count, step)[: len(people.numbers)]
        uniform = np.random.default_rng(self.seed).random((len(members), 1 + self.candidates))
        flips = self.flip_share if self.different_share is None else 1 - self.different_share
        return self._batch(0, self.draw(people, members, uniform, flips))

    def draw(
        self,
        people: _People,
        members: np.ndarray,
        uniform: np.ndarray,
        flip_share: float | np.ndarray,
    ) -> Draw:
        """The pairs of places in a window.

        Args:
            uniform: float [b, 1 + candidates or more] in [0, 1).
            flip_share: probability of the mirror image where there is a partner: one, or [b].
        """
        if self.strangers:
            return people.strangers(members, uniform)
        drawn = [
            people.draw(members, uniform[:, [0, 1 + k]], flip_share) for k in range(self.candidates)
        ]
        # Mirror images have but one candidate.
        rows = np.flatnonzero(~drawn[0].mirrored)
        if self.candidates == 1 or not len(rows):
            return drawn[0]
        seconds = np.stack([one.second for one in drawn], 1)
        numbers = np.concatenate((drawn[0].first[rows, None], seconds[rows]), 1)
        images = np.empty((numbers.size, 3 * self.faces.size**2), np.uint8)
        self.faces.read(numbers.ravel(), images, np.arange(numbers.size))
        coarse = _coarse(images, self.faces.size).reshape(*numbers.shape, -1)
        distance = np.abs(coarse[:, 1:] - coarse[:, :1]).mean(-1)
        second = seconds[:, 0].copy()
        second[rows] = seconds[rows, distance.argmax(1)]
        return drawn[0]._replace(second=second)

    def pictures(self, drawn: Draw) -> Tensor:
        """The pictures of a draw: uint8 [b, 2, 3, S, S]."""
        count, size = len(drawn.first), self.faces.size
        out = np.empty((count, 2, 3, size, size), np.uint8)
        rows = out.reshape(2 * count, -1)
        others = np.flatnonzero(~drawn.mirrored)
        self.faces.read(
            np.concatenate((drawn.first, drawn.second[others])),
            rows,
            np.concatenate((np.arange(0, 2 * count, 2), 2 * others + 1)),
        )
        flipped = np.flatnonzero(drawn.mirrored)
        out[flipped, 1] = out[flipped, 0, ..., ::-1]
        return torch.from_numpy(out)

    def _images(self, numbers: np.ndarray) -> Tensor:
        """The images of these numbers: uint8 [b, 3, S, S]."""
        out = np.empty((len(numbers), 3, self.faces.size, self.faces.size), np.uint8)
        self.faces.read(numbers, out.reshape(len(numbers), -1), np.arange(len(numbers)))
        return torch.from_numpy(out)

    def people(self, shards: np.ndarray) -> _People:
        """Who is on the pictures of these shards; those asked for last are kept."""
        key = shards.tobytes()
        if self._people is None or self._people[0] != key:
            self._people = (key, _People(*self.faces.listed(shards)))
        return self._people[1]


def _coarse(images: np.ndarray, size: int) -> np.ndarray:
    """Grey images float32 [N, 8 * 8], or of their own size below, of images uint8 [N, 3 S S]."""
    grey = torch.from_numpy(images).view(-1, 3, size, size).float().mean(1, keepdim=True)
    return F.adaptive_avg_pool2d(grey, min(_COARSE, size)).flatten(1).numpy()


def gather(pictures: Tensor, numbers: Tensor, mirrored: Tensor) -> Tensor:
    """Pairs uint8 [b, K, 3, S, S] of `pictures` [N, 3, S, S], on their device.

    Args:
        numbers: int64 [b, K] into them; K is 2, or 3 with neutral faces.
        mirrored: bool [b], whether the second is to be mirrored.
    """
    first, second, *rest = (pictures[column] for column in numbers.unbind(1))
    second = torch.where(mirrored[:, None, None, None], second.flip(-1), second)
    return torch.stack((first, second, *rest), 1)


class _People:
    """The pictures of a window, and whose others each can meet.

    The pictures of a person lie side by side in `by_person`, whose stretches begin at `starts`.
    With the images of nobody known behind them, one by one, `everyone` begins its stretches at
    `groups`, and ends there.
    """

    def __init__(self, numbers: np.ndarray, people: np.ndarray) -> None:
        small = not len(numbers) or numbers.max() < 2**31
        self.numbers = numbers.astype(np.int32) if small else numbers
        self.people = people
        known = np.flatnonzero(people >= 0).astype(np.int32)
        self.by_person = known[np.argsort(people[known], kind="stable")]
        ordered = people[self.by_person]
        new = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        self.starts = np.concatenate(([0], new, [len(ordered)])).astype(np.int32)
        # -1: of nobody.
        self.place = np.full(len(numbers), -1, np.int32)
        self.place[self.by_person] = np.arange(len(ordered), dtype=np.int32)
        alone = np.flatnonzero(self.place < 0).astype(np.int32)
        self.everyone = np.concatenate((self.by_person, alone))
        people = self.starts[:-1] if len(ordered) else self.starts[:0]
        ends = np.arange(len(ordered), len(numbers) + 1)
        self.groups: np.ndarray = np.concatenate((people, ends)).astype(np.int64)

    def partners(self, members: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For places in the window, another place of the same person's each, all equally likely,
        by uniform numbers in [0, 1); and whether there is one."""
        place = self.place[members].astype(np.int64)
        person = np.searchsorted(self.starts, place, side="right") - 1
        person = np.clip(person, 0, len(self.starts) - 2)
        first = self.starts[person].astype(np.int64)
        count = self.starts[person + 1].astype(np.int64) - first
        has = (place >= 0) & (count > 1)
        other = members.astype(np.int64)
        shift = 1 + (uniform * (count - 1)).astype(np.int64)
        within = (place - first + shift)[has] % count[has]
        other[has] = self.by_person[first[has] + within]
        return other, has

    def one_each(self, random: np.random.Generator) -> np.ndarray:
        """One place in the window of each group, in random order."""
        place = random.integers(self.groups[:-1], self.groups[1:])
        return random.permutation(self.everyone[place])

    def strangers(self, members: np.ndarray, uniform: np.ndarray) -> Draw:
        """Pairs of places in the window with a place of another group, which is drawn before its
        image, by uniform numbers [b, 2 or more] in [0, 1)."""
        place_of = np.empty(len(self.everyone), np.int64)
        place_of[self.everyone] = np.arange(len(self.everyone))
        count = len(self.groups) - 1
        own = np.searchsorted(self.groups, place_of[members], side="right") - 1
        group = (own + 1 + (uniform[:, 0] * (count - 1)).astype(np.int64)) % count
        sizes = self.groups[group + 1] - self.groups[group]
        second = self.everyone[self.groups[group] + (uniform[:, 1] * sizes).astype(np.int64)]
        first, second = (self.numbers[p].astype(np.int64) for p in (members, second))
        return Draw(first, second, np.zeros(len(members), bool), self.people[members])

    def weighted(self, share: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """An order in which a share of the places have a partner.

        Returns:
            As many places as the window has, int32, and for each whether it meets its partner.
        """
        every = np.arange(len(self.numbers), dtype=np.int32)
        paired = self.partners(every, np.zeros(len(every)))[1]
        different = (random.random(len(every)) < share) & paired.any()
        order = np.empty_like(every)
        alone = every if paired.all() else every[~paired]
        for positions, group in ((different, every[paired]), (~different, alone)):
            count = int(positions.sum())
            # Each round has the whole group.
            rounds = [random.permutation(group) for _ in range(0, count, max(1, len(group)))]
            order[positions] = np.concatenate([*rounds, group[:0]])[:count]
        return order, different

    def draw(
        self, members: np.ndarray, uniform: np.ndarray, flip_share: float | np.ndarray
    ) -> Draw:
        """The pairs of places in the window, by uniform numbers [b, 2 or more] in [0, 1)."""
        other, has = self.partners(members, uniform[:, 1])
        mirrored = ~has | (uniform[:, 0] < flip_share)
        second = np.where(mirrored, members, other)
        first, second = (self.numbers[p].astype(np.int64) for p in (members, second))
        return Draw(first, second, mirrored, self.people[members])


class _Epoch:
    """Draws of one epoch, in rising order or any other."""

    def __init__(self, batches: PairBatches) -> None:
        self.batches = batches
        self.order = EpochOrder(batches.faces.counts, batches.window, batches.seed, batches.epoch)
        # A random stream apart from the orders, counted by position.
        words = np.random.SeedSequence((batches.seed, batches.epoch, 0, 0, 1))
        self.key = words.generate_state(2, np.uint64)
        self.window = -1

    def _enter(self, window: int) -> None:
        if window == self.window:
            return
        faces, windows = self.batches.faces, self.order.windows
        if self.window < 0:
            faces.ahead(windows[window])
        if window >= 2:
            # Not the last one: a batch may have pictures of two windows.
            faces.leave(windows[window - 2])
        self.window = window
        self.people = self.batches.people(windows[window])
        share = self.batches.different_share
        if self.batches.by_clip:
            words = np.random.SeedSequence((self.batches.seed, self.batches.epoch, window, 0, 3))
            self.within = self.people.one_each(np.random.default_rng(words))
            self.flip_shares = np.full(len(self.within), self.batches.flip_share)
        elif share is None:
            self.within = self.order.within(window)
            self.flip_shares = np.full(len(self.within), self.batches.flip_share)
        else:
            words = np.random.SeedSequence((self.batches.seed, self.batches.epoch, window, 0, 2))
            self.within, different = self.people.weighted(share, np.random.default_rng(words))
            self.flip_shares = (~different).astype(float)
        if window + 1 < len(windows):
            faces.ahead(windows[window + 1])

    def draw(self, begin: int, end: int) -> Draw:
        """The pairs at these positions of the epoch."""
        # Four numbers a position: the draw of a pair doesn't change with the batch it falls in.
        words = np.random.Philox(key=self.key, counter=begin).random_raw(4 * (end - begin))
        uniform = (words.reshape(-1, 4) >> np.uint64(11)) * 2.0**-53
        found: list[Draw] = []
        done = 0
        for window, first, last in self.order.spans(begin, end):
            self._enter(window)
            part = uniform[done : done + last - first]
            done += last - first
            members, flips = self.within[first:last], self.flip_shares[first:last]
            found.append(self.batches.draw(self.people, members, part, flips))
        return Draw(*(np.concatenate(column) for column in zip(*found, strict=True)))
