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
from ssl_faces.data.store.held_out import REASONS, HeldOut
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.shards import ShardEntry, number_of
from ssl_faces.data.store.stored_faces import StoredFaces

_log = logging.getLogger(__name__)
_FOR_PROBE = "left_out_for_the_online_probe"


class Selection(NamedTuple):
    """The images of a pack to train on.

    Attributes:
        rows: of each shard, int32; None: all that the pack keeps.
        description: a dict for each of its face sets, for the card.
    """

    rows: list[np.ndarray] | None
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
    pack: Pack, held_out: HeldOut, use_people: bool, online: HeldOut | None = None
) -> Selection:
    """Leave test people and test images out of a pack, and count what is left out, now and when it
    was packed.

    Args:
        online: people and images for the online probe, left out too and counted separately.
    """
    kept_back = online or HeldOut.of()
    if pack.held_out.covers(held_out | kept_back):
        # All were left out when the pack was made: no need to read the shards.
        return select_unread(pack, use_people)
    rows, names = [], len(pack.index.sets)
    counts = {key: np.zeros(names, np.int64) for key in ("pictures", *REASONS, _FOR_PROBE)}
    for number in range(len(pack.index.shards)):
        with pack.open(number) as shard:
            kept = pack.kept(number)
            sets = shard.column("sets")[kept]
            people, hashes = shard.column("people")[kept], shard.column("hashes")[kept]
        left_out = held_out.left_out(people, hashes)
        keep = ~np.logical_or.reduce(list(left_out.values()))
        probed = (kept_back.of_people(people) | kept_back.copies(hashes)) & keep
        keep &= ~probed
        for key, which in (left_out | {"pictures": keep, _FOR_PROBE: probed}).items():
            counts[key] += np.bincount(sets[which], minlength=names)
        rows.append(kept[keep])
    description = select_unread(pack, use_people).description
    for i, about in enumerate(description):
        about["pictures"] = int(counts["pictures"][i])
        for key in REASONS:
            about[key] += int(counts[key][i])
        if online is not None:
            about[_FOR_PROBE] = int(counts[_FOR_PROBE][i])
    return Selection(rows, description)


def select_unread(pack: Pack, use_people: bool) -> Selection:
    """All that a pack keeps, without reading its shards."""
    skipped = Counter(name for name, _ in pack.skipped())
    description = []
    for stored in pack.index.sets:
        paired = use_people and stored["people"]
        about = {key: stored[key] for key in ("name", "part", "pictures")}
        # Older packs don't count near-copies.
        about |= {key: stored.get(key, 0) for key in REASONS}
        about["skipped"] = skipped[stored["name"]]
        about["pairs"] = "pictures of one person, or mirror images" if paired else "mirror images"
        description.append(about)
    return Selection(None, description)


class Paired(NamedTuple):
    """The images of people with two images or more.

    Attributes:
        rows: of each pack, of each shard, int32.
        pictures: their number.
        alone: the number of other images.
        alone_of: of these, the number of each face set.
    """

    rows: list[list[np.ndarray]]
    pictures: int
    alone: int
    alone_of: Counter[str]

    def describe(self, description: list[dict[str, Any]]) -> None:
        """Add to the sets' descriptions what pairs are, and what is left out for it."""
        for about in description:
            alone = self.alone_of[about["name"]]
            about["pairs"] = "pictures of one person"
            about["pictures"] -= alone
            about["left_out_as_only_pictures_of_their_person"] = alone


def only_paired(faces: StoredFaces) -> Paired:
    """Leave out images that are the only one of their person in `faces`.

    Raises:
        InputError: all of them are.
    """
    shards = np.arange(len(faces.counts))
    numbers, people = faces.listed(shards)
    _, inverse, counts = np.unique(people, return_inverse=True, return_counts=True)
    paired = (people >= 0) & (counts[inverse] > 1)
    rows: list[list[np.ndarray]] = [[] for _ in faces.packs]
    alone_of: Counter[str] = Counter()
    ends = np.cumsum(faces.counts)
    for shard, end in enumerate(ends.tolist()):
        k, _ = faces.shards[shard]
        here = slice(end - int(faces.counts[shard]), end)
        own = (numbers[here] - faces.starts[shard]).astype(np.int32)
        rows[k].append(own[paired[here]])
        sets = faces.shard(shard).column("sets")[own[~paired[here]]]
        names = [about["name"] for about in faces.packs[k].index.sets]
        alone_of.update(names[number] for number in sets.tolist())
    selected = Paired(rows, int(paired.sum()), int((~paired).sum()), alone_of)
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
    """A window is read while the next one is fetched.

    Raises:
        InputError: two windows of so many shards are more than `most` bytes.
    """
    needed = 2 * window * max(entry.bytes for entry in _remote(packs))
    if needed > most:
        raise InputError(
            f"data.cache_gb: {most / 1e9:g} holds fewer than two windows of {window} shards "
            f"({needed / 1e9:.3g} GB); raise it, or lower data.window"
        )


def _remote(packs: Sequence[Pack]) -> list[ShardEntry]:
    return [entry for pack in packs if pack.remote for entry in pack.index.shards]


def check_left_out_alike(packs: Sequence[Pack]) -> None:
    """Streamed shards aren't read before training: all packs must have left out the same people
    and images when they were packed.

    Raises:
        InputError: two packs have left out different people or images.
    """
    first = packs[0].held_out
    for pack in packs[1:]:
        alike = np.array_equal(first.people, pack.held_out.people)
        alike = alike and np.array_equal(first.near, pack.held_out.near)
        if not alike or not np.array_equal(first.hashes, pack.held_out.hashes):
            raise InputError(
                f"{packs[0].place} and {pack.place} left out other test pictures, and are more "
                "than data.cache_gb can keep to compare them; pack all of it to one pack, raise "
                "data.cache_gb, or set data.leave_out_tests=false"
            )
