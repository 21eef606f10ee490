"""CFP's official frontal-profile pairs, and their images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from linear_probe.heads.pictures import decode_all
from ssl_faces import InputError
from ssl_faces.data import CFP, FaceSet
from ssl_faces.data.faces import distinct_pairs

_SHOWN = 8  # people of the panel


@dataclass(frozen=True)
class ProfilePairs:
    """The official pairs of a CFP folder, by places in its lists of images.

    Attributes:
        faces: the test people's images.
        frontal, profile: int [F] and [P], records of `faces` by view, the profiles those of pairs.
        first, second: int [N], places in `frontal` and `profile`.
        other: int [N], in `frontal`: another photograph of the person in `second`.
        same: bool [N].
        folds: int [N].
        people_of: of each record of `faces`, the number of its person.
    """

    faces: FaceSet
    frontal: np.ndarray
    profile: np.ndarray
    first: np.ndarray
    second: np.ndarray
    other: np.ndarray
    same: np.ndarray
    folds: np.ndarray
    people_of: np.ndarray

    @classmethod
    def of(cls, faces: CFP) -> ProfilePairs:
        """Read the pairs; InputError if there are fewer than two folds, or a person has one frontal
        photograph only."""
        keys = [record.key for record in faces.records]
        is_profile = np.array(["/profile/" in key for key in keys])
        _, people = np.unique([str(r.person) for r in faces.records], return_inverse=True)
        number = {key: i for i, key in enumerate(keys)}
        rows = []
        for pair in distinct_pairs(faces.pairs, faces.title):
            both = sorted((number[pair.first], number[pair.second]), key=lambda i: is_profile[i])
            if is_profile[both].tolist() == [False, True]:
                rows.append((*both, pair.same, pair.fold))
        if len({fold for *_, fold in rows}) < 2:
            raise InputError(
                f"{faces.place or faces.name}: {len(rows)} frontal-profile pairs in fewer than two "
                "folds, which leaves none to choose the threshold on; add the official pairs"
            )
        front, side, same, folds = (np.array(column) for column in zip(*rows, strict=True))
        frontal, profile = np.flatnonzero(~is_profile), np.unique(side)
        other = []
        for i, (a, b) in enumerate(zip(front, side, strict=True)):
            theirs = frontal[(people[frontal] == people[b]) & (frontal != a)]
            if not len(theirs):
                raise InputError(
                    f"{keys[b]}: its person has no other frontal photograph than {keys[a]}; add "
                    "the official images"
                )
            other.append(theirs[i % len(theirs)])
        return cls(
            faces,
            frontal,
            profile,
            np.searchsorted(frontal, front),
            np.searchsorted(profile, side),
            np.searchsorted(frontal, other),
            same.astype(bool),
            folds,
            people,
        )

    def images(self, records: np.ndarray, size: int) -> Tensor:
        """Float [N, 3, size, size] in [0, 1]; InputError if an image can't be decoded."""
        return decode_all(self.faces, records, size)

    def shown(self) -> np.ndarray:
        """Places in `profile` of one image each of some people."""
        _, first = np.unique(self.people_of[self.profile], return_index=True)
        return first[np.linspace(0, len(first) - 1, min(_SHOWN, len(first))).round().astype(int)]
