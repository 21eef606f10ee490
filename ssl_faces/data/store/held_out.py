"""What pretraining must not see: test people, test images and their copies; a pack's file of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.numpy

from ssl_faces.common.errors import InputError
from ssl_faces.data.store.shards import MEND

COPIES = "left_out_as_copies_of_test_pictures"
OF_PEOPLE = "left_out_as_pictures_of_test_people"
NEAR_COPIES = "left_out_as_near_copies_of_test_pictures"
REASONS = (COPIES, OF_PEOPLE, NEAR_COPIES)
"""Why images are left out, as cards and indexes of packs count them."""


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
        return not len(self.people) and not len(self.hashes) and not len(self.near)

    def __or__(self, other: HeldOut) -> HeldOut:
        if other.is_empty:
            return self
        return HeldOut(
            np.union1d(self.people, other.people),
            np.unique(np.concatenate((self.hashes, other.hashes)), axis=0),
            np.unique(np.concatenate((self.near, other.near)), axis=0),
        )

    def covers(self, other: HeldOut) -> bool:
        """Whether all that `other` holds out is held out here."""
        people = np.isin(other.people, self.people).all()
        near = _isin(other.near, self.near) | self.copies(other.near)
        return bool(people and self.copies(other.hashes).all() and near.all())

    def of_people(self, people: np.ndarray) -> np.ndarray:
        """bool [n]: which of these (int64 [n]) are test people."""
        return np.isin(people, self.people)

    def copies(self, hashes: np.ndarray) -> np.ndarray:
        """bool [n]: which of these (uint8 [n, 32]) are hashes of test images."""
        return _isin(hashes, self.hashes)

    def near_copies(self, hashes: np.ndarray) -> np.ndarray:
        """bool [n]: which of these (uint8 [n, 32]) are hashes of near-copies of test images."""
        return _isin(hashes, self.near)

    def left_out(self, people: np.ndarray, hashes: np.ndarray) -> dict[str, np.ndarray]:
        """Which of n images are left out, bool [n], by the reason; each image has one at most.

        Args:
            people: int64 [n].
            hashes: uint8 [n, 32].
        """
        of_people = self.of_people(people)
        copies = self.copies(hashes) & ~of_people
        near = self.near_copies(hashes) & ~of_people & ~copies
        return {COPIES: copies, OF_PEOPLE: of_people, NEAR_COPIES: near}


def _rows(hashes: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(sorted(set(hashes))), np.uint8).reshape(-1, 32)


def _isin(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    if not len(hashes) or not len(others):
        return np.zeros(len(hashes), bool)
    # 32 bytes as one value each, which numpy can sort and search.
    first, second = (np.ascontiguousarray(h).view("S32")[:, 0] for h in (hashes, others))
    return np.isin(first, second)


def dump_held_out(held_out: HeldOut) -> bytes:
    """As the file `tests.safetensors`."""
    columns = {
        name: np.ascontiguousarray(column)
        for name, column in vars(held_out).items()
        # As in older packs, which have no near-copies.
        if name != "near" or len(column)
    }
    return safetensors.numpy.save({**columns, "check": _check_of_tests(held_out)})


def _check_of_tests(held_out: HeldOut) -> np.ndarray:
    data = b"".join(column.tobytes() for column in vars(held_out).values())
    return np.frombuffer(hashlib.sha256(data).digest(), np.uint8)


def parse_held_out(data: bytes, where: str) -> HeldOut:
    """Read it back.

    Raises:
        InputError: it is broken.
    """
    try:
        columns = safetensors.numpy.load(data)
        near = columns.get("near", np.zeros((0, 32), np.uint8))
        tests = HeldOut(columns["people"], columns["hashes"], near)
        if tests.people.dtype != np.int64 or {tests.hashes.shape[1:], near.shape[1:]} != {(32,)}:
            raise ValueError("other columns")
        # Older packs have no check.
        if "check" in columns and not np.array_equal(columns["check"], _check_of_tests(tests)):
            raise ValueError("it was changed")
        return tests
    except Exception as error:
        # The error of safetensors is not a ValueError.
        raise InputError(f"{where}: a broken list of test pictures ({error}); {MEND}") from error
