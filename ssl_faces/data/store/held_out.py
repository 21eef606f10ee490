"""What pretraining must not see: test people and test images, and the file of a pack for them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.numpy

from ssl_faces.common.errors import InputError
from ssl_faces.data.store.shards import MEND


@dataclass(frozen=True)
class HeldOut:
    """What pretraining must not see.

    Attributes:
        people: int64 [p], sorted: `number_of` each test person's name.
        hashes: uint8 [m, 32], sorted: SHA-256 of each test image's stored bytes.
    """

    people: np.ndarray
    hashes: np.ndarray

    @staticmethod
    def of(people: Sequence[int] = (), hashes: Sequence[bytes] = ()) -> HeldOut:
        joined = b"".join(sorted(set(hashes)))
        return HeldOut(
            np.unique(np.asarray(people, np.int64)),
            np.frombuffer(joined, np.uint8).reshape(-1, 32),
        )

    @property
    def is_empty(self) -> bool:
        return not len(self.people) and not len(self.hashes)

    def __or__(self, other: HeldOut) -> HeldOut:
        if other.is_empty:
            return self
        return HeldOut(
            np.union1d(self.people, other.people),
            np.unique(np.concatenate((self.hashes, other.hashes)), axis=0),
        )

    def covers(self, other: HeldOut) -> bool:
        """Whether all that `other` holds out is held out here."""
        people = np.isin(other.people, self.people).all()
        return bool(people and self.copies(other.hashes).all())

    def of_people(self, people: np.ndarray) -> np.ndarray:
        """bool [n]: which of these (int64 [n]) are test people."""
        return np.isin(people, self.people)

    def copies(self, hashes: np.ndarray) -> np.ndarray:
        """bool [n]: which of these (uint8 [n, 32]) are hashes of test images."""
        if not len(self.hashes) or not len(hashes):
            return np.zeros(len(hashes), bool)
        # 32 bytes as one value each, which numpy can sort and search.
        ours, tested = (np.ascontiguousarray(h).view("S32")[:, 0] for h in (hashes, self.hashes))
        return np.isin(ours, tested)


def dump_held_out(held_out: HeldOut) -> bytes:
    """As the file `tests.safetensors`."""
    columns = {"people": held_out.people, "hashes": np.ascontiguousarray(held_out.hashes)}
    return safetensors.numpy.save({**columns, "check": _check_of_tests(held_out)})


def _check_of_tests(held_out: HeldOut) -> np.ndarray:
    data = held_out.people.tobytes() + held_out.hashes.tobytes()
    return np.frombuffer(hashlib.sha256(data).digest(), np.uint8)


def parse_held_out(data: bytes, where: str) -> HeldOut:
    """Read it back.

    Raises:
        InputError: it is broken.
    """
    try:
        columns = safetensors.numpy.load(data)
        tests = HeldOut(columns["people"], columns["hashes"])
        if tests.people.dtype != np.int64 or tests.hashes.shape[1:] != (32,):
            raise ValueError("other columns")
        # Older packs have no check.
        if "check" in columns and not np.array_equal(columns["check"], _check_of_tests(tests)):
            raise ValueError("it was changed")
        return tests
    except Exception as error:
        # The error of safetensors is not a ValueError.
        raise InputError(f"{where}: a broken list of test pictures ({error}); {MEND}") from error
