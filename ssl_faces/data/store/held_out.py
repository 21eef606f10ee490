"""What pretraining must not see: test people, test images and their copies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COPIES = "left_out_as_copies_of_test_pictures"
OF_PEOPLE = "left_out_as_pictures_of_test_people"
NEAR_COPIES = "left_out_as_near_copies_of_test_pictures"
REASONS = (COPIES, OF_PEOPLE, NEAR_COPIES)
"""Why images are left out, as cards and indexes of packs count them."""


def number_of(name: str | bytes) -> int:
    """A number from 0 below 2^63 that stands for a name: the first bytes of its SHA-256.

    Numbers and not names are kept with every image: they take 8 bytes, mean the same in every
    pack, and two of a million people share one with odds of 1 in 10 million.
    """
    data = name.encode(errors="surrogateescape") if isinstance(name, str) else name
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little") >> 1


@dataclass(frozen=True)
class HeldOut:
    """What pretraining must not see.

    Attributes:
        people: int64 [p], sorted: `number_of` each test person's name.
        hashes: uint8 [m, 32], sorted: SHA-256 of each test image's stored bytes.
        near: uint8 [k, 32], sorted: SHA-256 of each training image that is a near-copy of a test
            image.
    """

    people: np.ndarray
    hashes: np.ndarray
    near: np.ndarray

    @staticmethod
    def of(
        people: Sequence[int] = (), hashes: Sequence[bytes] = (), near: Sequence[bytes] = ()
    ) -> HeldOut:
        return HeldOut(np.unique(np.asarray(people, np.int64)), _rows(hashes), _rows(near))

    @property
    def is_empty(self) -> bool:
        return not any(map(len, vars(self).values()))

    def __or__(self, other: HeldOut) -> HeldOut:
        return HeldOut(
            np.union1d(self.people, other.people),
            np.unique(np.concatenate((self.hashes, other.hashes)), axis=0),
            np.unique(np.concatenate((self.near, other.near)), axis=0),
        )

    def left_out(self, people: np.ndarray, hashes: np.ndarray) -> dict[str, np.ndarray]:
        """Which of n images (people int64 [n], hashes uint8 [n, 32]) are left out, bool [n], by the
        reason; each image has one at most."""
        of_people = np.isin(people, self.people)
        copies = isin_rows(hashes, self.hashes) & ~of_people
        near = isin_rows(hashes, self.near) & ~of_people & ~copies
        return {COPIES: copies, OF_PEOPLE: of_people, NEAR_COPIES: near}


def _rows(hashes: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(sorted(set(hashes))), np.uint8).reshape(-1, 32)


def isin_rows(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """bool [n]: which rows of uint8 [n, 32] are among those of [m, 32]."""
    if not len(hashes) or not len(others):
        return np.zeros(len(hashes), bool)
    # 32 bytes as one value each, which numpy can sort and search.
    first, second = (np.ascontiguousarray(h).view("S32")[:, 0] for h in (hashes, others))
    return np.isin(first, second)
