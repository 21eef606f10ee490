"""The images of packs to train on: all but test people and test images, whole or in windows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.near_copies import Described, find_near_copies
from ssl_faces.data.sets.across import same_pictures
from ssl_faces.data.sets.recognised import RecognisedSet
from ssl_faces.data.store.held_out import HeldOut, number_of
from ssl_faces.data.store.index import ShardEntry
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.stored_faces import StoredFaces, knows_people

_log = logging.getLogger(__name__)
_FOR_PROBE = "left_out_for_the_online_probe"


class Selection(NamedTuple):
    """The images of a pack to train on.

    Attributes:
        kept: bool [n], which.
        description: a dict for each of its face sets, for the card.
    """

    kept: np.ndarray
    description: list[dict[str, Any]]


def held_out_by(
    sets: Sequence[FaceSet], near_copies: bool = True, cache: Path | None = None
) -> HeldOut:
    """The test people and test images of face sets, which no pretraining may see.

    Args:
        near_copies: find the near-copies of test images among the sets' images, too. This reads
            all images of the sets with `near_copies` at the first time, and is then kept in
            `cache` (as in `find_near_copies`).
    """
    people: set[str] = set()
    hashes: list[bytes] = []
    for faces in sets:
        people |= faces.held_out_people
        test = faces.test_part()
        if test is not None:
            # No probe can test on an image that can't be read.
            hashes += filter(None, map(test.hash_if_readable, range(len(test))))
    near = _near_copies(sets, cache) if near_copies else []
    return HeldOut.of([number_of(person) for person in people], hashes, near)


def _near_copies(sets: Sequence[FaceSet], cache: Path | None) -> list[bytes]:
    photographs = [faces for faces in sets if faces.near_copies]
    parts = [test for faces in photographs if (test := faces.test_part()) is not None]
    tests = [Described(test) for test in parts if len(test)]
    hashes: list[bytes] = []
    for faces in photographs if tests else ():
        train = Described(faces)
        for tested in (one for one in tests if _may_share(faces, one.faces)):
            hashes += [row.tobytes() for row in find_near_copies(train, tested, cache).hashes]
    return hashes


def _may_share(train: FaceSet, test: FaceSet) -> bool:
    """Whether two sets may have the same photographs in like crops: one set, sets of the same
    images, and folders of any images with all sets.

    Data sets cut faces out each in its way: of FER-2013, UTKFace, LFW, CFP and the YouTube
    keypoints no image has a cosine of 0.7 with a test image of another.
    """
    anything = not isinstance(train, RecognisedSet) or train.repeatable
    return anything or same_pictures(train, test)


def select(
    pack: Pack,
    held_out: HeldOut,
    use_people: bool,
    identity_labels: bool = True,
    online: HeldOut | None = None,
) -> Selection:
    """Leave test people and test images out of a pack, and count what is left out, now and when it
    was packed.

    Args:
        use_people, identity_labels: whether people are known, see `StoredFaces`.
        online: people and images for the online probe, left out too and counted separately.
    """
    images, index = pack.index.images, pack.index
    left_out = {
        reason: which & ~images.dropped
        for reason, which in held_out.left_out(images.people, images.hashes).items()
    }
    kept = ~np.logical_or.reduce([images.dropped, *left_out.values()])
    if online is not None:
        probed = online.left_out(images.people, images.hashes).values()
        left_out[_FOR_PROBE] = np.logical_or.reduce([*probed]) & kept
        kept &= ~left_out[_FOR_PROBE]
    counts = {reason: index.counts(which).tolist() for reason, which in left_out.items()}
    pictures = index.counts(kept).tolist()
    skipped = Counter(name for name, _ in pack.skipped())
    description = []
    for number, stored in enumerate(index.sets):
        paired = knows_people(stored, use_people, identity_labels)
        about = {"name": stored["name"], "part": stored["part"], "pictures": pictures[number]}
        about |= {key: stored.get(key, 0) + of[number] for key, of in counts.items()}
        about["skipped"] = skipped[stored["name"]]
        about["pairs"] = "pictures of one person, or mirror images" if paired else "mirror images"
        description.append(about)
    return Selection(kept, description)


class Paired(NamedTuple):
    """The images of people with two images or more.

    Attributes:
        kept: of each pack, bool [n].
        pictures: their number.
        alone: the number of other images.
        alone_of: of these, the number of each face set.
    """

    kept: list[np.ndarray]
    pictures: int
    alone: int
    alone_of: dict[str, float]

    def describe(self, description: list[dict[str, Any]]) -> None:
        """Add to the sets' descriptions what pairs are, and what is left out for it."""
        for about in description:
            alone = int(self.alone_of.get(about["name"], 0))
            about["pairs"] = "pictures of one person"
            about["pictures"] -= alone
            about["left_out_as_only_pictures_of_their_person"] = alone


def only_paired(faces: StoredFaces) -> Paired:
    """Leave out images that are the only one of their person in `faces`. Raises InputError: all of
    them are."""
    people = np.where(faces.kept, faces.people, -1)
    _, inverse, counts = np.unique(people, return_inverse=True, return_counts=True)
    paired = (people >= 0) & (counts[inverse] > 1)
    alone = faces.kept & ~paired
    ends = np.cumsum([len(pack.index.images) for pack in faces.packs])[:-1]
    selected = Paired(
        np.split(paired, ends), int(paired.sum()), int(alone.sum()), faces.by_set(alone)
    )
    if not selected.pictures:
        raise InputError(
            "data.positives: person, but no person has two pictures; set data.positives=frames or "
            "picture, or give faces of known people"
        )
    if selected.alone:
        _log.warning(
            "data.positives: person leaves out %s pictures that are the only one known of their "
            "person; %s are trained on",
            f"{selected.alone:,}",
            f"{selected.pictures:,}",
        )
    return selected


def all_fit(packs: Sequence[Pack], most: int | None) -> bool:
    """Whether all remote shards fit so many bytes of cache; None: any do."""
    return most is None or sum(entry.bytes for entry in _remote(packs)) <= most


def check_two_windows(packs: Sequence[Pack], most: int, window: int) -> None:
    """A window is read while the next one is fetched. Raises InputError: two windows of so many
    shards are more than `most` bytes."""
    needed = 2 * window * max(entry.bytes for entry in _remote(packs))
    if needed > most:
        raise InputError(
            f"data.cache_gb: {most / 1e9:g} holds fewer than two windows of {window} shards "
            f"({needed / 1e9:.3g} GB); raise it, or lower data.window"
        )


def _remote(packs: Sequence[Pack]) -> list[ShardEntry]:
    return [entry for pack in packs if pack.remote for entry in pack.index.shards]
