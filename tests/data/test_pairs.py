"""Pairs: whom each picture meets, and that all follows from seed, epoch and rank alone."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ssl_faces.pairs.pairing import PairBatches, gather
from tests.support.array_faces import (
    GROUPS,
    PEOPLE,
    ArrayFaces,
    assert_same,
    batches_of,
    pairs_of,
    pictures,
)


def test_candidates_of_nobody_known_are_mirror_images():
    found = pairs_of(list(batches_of(8, candidates=3)))
    assert all(first == second and mirrored for first, second, mirrored in found)


def test_of_more_candidates_the_partner_differs_more():
    """Levels of the pictures are their numbers: the furthest number differs most."""
    people = [0] * 14 + [-1] * 2 + [1] * 8
    drawn = [
        pairs_of(
            list(batches_of(24, people, flip_share=0.25, seed=3, batch_size=24, candidates=count))
        )
        for count in (1, 2, 3)
    ]
    distances = np.array([[abs(first - second) for first, second, _ in of] for of in drawn])
    # The candidates before are among those of more.
    assert (distances[1:] >= distances[:-1]).all()
    assert (distances[1:] > distances[:-1]).any(1).all()
    # Who comes first, and who is mirrored, stays; partners are of the same person.
    assert len({tuple((first, mirrored) for first, _, mirrored in of) for of in drawn}) == 1
    assert all(people[first] == people[second] for of in drawn for first, second, _ in of)


# Whom each picture meets ------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_each_picture_comes_first_once_an_epoch(count, batch_size, epoch, seed):
    """But for those that an incomplete last batch would hold."""
    batches = batches_of(count, batch_size=batch_size, epoch=epoch, seed=seed)
    found = list(batches)
    assert len(found) == len(batches) == count // batch_size
    firsts = [first for first, _, _ in pairs_of(found)]
    assert len(firsts) == len(set(firsts)) == count - count % batch_size
    assert set(firsts) <= set(range(count))


GROUP_OF = {number: group for group, members in enumerate(GROUPS) for number in members}


def test_pictures_of_a_person_meet_that_persons_others():
    rows = [
        row
        for epoch in range(20)
        for row in pairs_of(list(batches_of(24, PEOPLE, epoch, flip_share=0.0)))
    ]
    partners = {}
    for first, second, mirrored in rows:
        partners.setdefault(first, set()).add(second)
        alone = PEOPLE.count(PEOPLE[first]) == 1 or PEOPLE[first] == -1
        assert mirrored == (first == second) == alone
    # In 20 epochs person 2's three pictures have met both others (missed with odds of 1e-6).
    for first in range(12, 15):
        assert partners[first] == set(range(12, 15)) - {first}
    assert partners[15] == {15}, "person 1 has but one"


def test_all_others_are_equally_likely():
    people = [3] * 6
    met = Counter(
        (first, second)
        for epoch in range(500)
        for first, second, _ in pairs_of(
            list(batches_of(6, people, epoch, batch_size=6, flip_share=0.0))
        )
    )
    assert len(met) == 6 * 5
    # 500 draws of 1 in 5 each: 100, with a standard deviation of 9.
    assert all(abs(times - 100) < 45 for times in met.values())


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_flip_share_is_the_share_of_mirror_images(share):
    people = [i // 4 for i in range(40)]
    rows = [
        row
        for epoch in range(50)
        for row in pairs_of(list(batches_of(40, people, epoch, flip_share=share)))
    ]
    assert all(mirrored == (first == second) for first, second, mirrored in rows)
    assert all(people[first] == people[second] for first, second, _ in rows)
    mirrored = sum(m for _, _, m in rows) / len(rows)
    # 2000 draws: five standard deviations.
    assert abs(mirrored - share) <= 5 * (share * (1 - share) / 2000) ** 0.5


@pytest.mark.parametrize("strangers", [False, True])
def test_an_epoch_of_clips_is_one_pair_a_person(strangers):
    """And one of each image of nobody; strangers are images of two people, all equally likely."""
    firsts, partners = Counter[int](), Counter[int]()
    for epoch in range(200):
        settings = {"by_clip": True, "strangers": strangers, "flip_share": 0.5}
        batches = batches_of(24, PEOPLE, epoch, batch_size=1, **settings)
        rows = pairs_of(list(batches))
        assert len(rows) == len(batches) == len(GROUPS)
        assert sorted(GROUP_OF[first] for first, _, _ in rows) == list(range(len(GROUPS)))
        for first, second, mirrored in rows:
            assert mirrored == (first == second)
            assert (GROUP_OF[first] != GROUP_OF[second]) == strangers
        firsts.update(first for first, _, _ in rows)
        partners.update(GROUP_OF[second] for _, second, _ in rows)
    # Six standard deviations.
    for members in GROUPS:
        expected = 200 / len(members)
        assert all(abs(firsts[number] - expected) < 6 * expected**0.5 for number in members)
    assert all(abs(partners[group] - 200) < 6 * 200**0.5 for group in range(len(GROUPS)))


@pytest.mark.parametrize("strangers", [False, True])
def test_epochs_of_clips_resume_and_are_shared_among_ranks(strangers):
    settings = {"people": PEOPLE, "epoch": 1, "by_clip": True, "strangers": strangers}
    whole = list(batches_of(24, batch_size=4, **settings))
    tail = batches_of(24, batch_size=4, **settings)
    tail.start = 1
    assert_same(list(DataLoader(tail, batch_size=None, num_workers=1)), whole[1:])
    ranks = [
        list(batches_of(24, batch_size=2, rank=rank, world_size=2, **settings)) for rank in range(2)
    ]
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert torch.equal(torch.cat([part["pairs"] for part in parts]), batch["pairs"])


MIXED = [0] * 2 + [1] * 4 + [-1] * 16 + [2, 3]
"""Six images have a partner, 18 have none."""


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_different_share_is_the_share_of_two_images_of_one_person(share):
    firsts = Counter()
    different = 0
    for epoch in range(100):
        rows = pairs_of(list(batches_of(24, MIXED, epoch, flip_share=1.0, different_share=share)))
        assert len(rows) == 24
        for first, second, mirrored in rows:
            assert mirrored == (first == second) == (first >= 6)
            assert MIXED[first] == MIXED[second]
            different += not mirrored
        firsts.update(first for first, _, _ in rows)
    # 2400 draws: five standard deviations.
    assert abs(different / 2400 - share) <= 5 * (share * (1 - share) / 2400) ** 0.5
    groups = [range(6), range(6, 24)]
    for group, total in zip(groups, (different, 2400 - different), strict=True):
        seen = [firsts[number] for number in group]
        # Rounds of the whole group: more even than independent draws.
        expected = total / len(group)
        assert all(abs(count - expected) <= 6 * max(expected, 1) ** 0.5 for count in seen)


def test_within_an_epoch_images_are_repeated_evenly():
    firsts = Counter(
        first for first, _, _ in pairs_of(list(batches_of(24, MIXED, different_share=0.9)))
    )
    times = [firsts[number] for number in range(6)]
    assert max(times) > 1
    assert max(times) - min(times) <= 1


@pytest.mark.parametrize(("person", "mirrored"), [(0, range(1, 12)), (-1, range(24, 25))])
def test_empty_groups_leave_their_pairs_to_the_other_group(person, mirrored):
    """Where all have a partner, mirror images are of them; where none has, all are."""
    rows = pairs_of(list(batches_of(24, [person] * 24, different_share=0.8)))
    assert sum(m for _, _, m in rows) in mirrored
    assert all(m == (first == second) for first, second, m in rows)


def test_only_the_chosen_of_several_arrays_are_seen():
    arrays = [pictures(range(10)), pictures(range(10, 13)), pictures(range(13, 30))]
    chosen = np.array([2, 3, 9, 10, 12, 13, 29])
    people = np.array([5, -1, 5, -1, 5, -1, -1])
    batches = PairBatches(ArrayFaces(arrays, people, chosen), batch_size=7, flip_share=0.0)
    rows = pairs_of(list(batches))
    assert {first for first, _, _ in rows} == set(chosen.tolist())
    for first, second, _ in rows:
        if first in (2, 9, 12):
            assert second in {2, 9, 12} - {first}, "partners cross arrays"
        else:
            assert second == first


# What it all follows from -----------------------------------------------------------------------


def test_an_epoch_can_be_had_again():
    batches = batches_of(24, PEOPLE, 3, seed=7)
    first = list(batches)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    assert_same(list(batches), first)
    assert_same(list(batches_of(24, PEOPLE, 3, seed=7)), first)


@pytest.mark.parametrize("share", [None, 0.5])
@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 1}])
def test_other_epochs_and_seeds_are_other_pairs(change, share):
    people = [i // 6 for i in range(60)]
    ours = list(batches_of(60, people, different_share=share))
    theirs = list(batches_of(60, people, different_share=share, **change))
    assert [row[0] for row in pairs_of(ours)] != [row[0] for row in pairs_of(theirs)], "order"
    partner = {first: rest for first, *rest in pairs_of(ours)}
    assert partner != {first: rest for first, *rest in pairs_of(theirs)}, "partners"
    assert not {b["seed"] for b in ours} & {b["seed"] for b in theirs}


def test_every_batch_has_a_seed_of_its_own():
    seeds = [
        batch["seed"]
        for epoch in range(3)
        for rank in range(2)
        for batch in batches_of(60, epoch=epoch, batch_size=2, rank=rank, world_size=2)
    ]
    assert len(set(seeds)) == len(seeds) == 3 * 2 * 15
    for seed in seeds:
        torch.manual_seed(seed)


@pytest.mark.parametrize("share", [None, 0.8])
@pytest.mark.parametrize("start", [0, 1, 5])
def test_a_later_start_gives_the_tail(start, share):
    whole = list(batches_of(24, PEOPLE, 2, different_share=share))
    batches = batches_of(24, PEOPLE, 2, different_share=share)
    batches.start = start
    assert_same(list(batches), whole[start:])


@pytest.mark.parametrize("share", [None, 0.8])
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_form_the_one_process_batch(world_size, share):
    each = 6 // world_size
    settings = {"people": PEOPLE, "epoch": 1, "different_share": share}
    whole = list(batches_of(24, batch_size=6, **settings))
    ranks = [
        list(batches_of(24, batch_size=each, rank=rank, world_size=world_size, **settings))
        for rank in range(world_size)
    ]
    assert {len(batches) for batches in ranks} == {len(whole)} == {4}
    for i, batch in enumerate(whole):
        together = torch.cat([batches[i]["pairs"] for batches in ranks])
        assert torch.equal(together, batch["pairs"])
        assert len({batches[i]["seed"] for batches in ranks}) == world_size


@pytest.mark.parametrize(("start", "share", "workers"), [(0, None, 1), (1, None, 2), (1, 0.8, 2)])
def test_loader_processes_change_nothing(start, workers, share):
    batches = batches_of(24, PEOPLE, 1, window=2, different_share=share)
    batches.start = start
    loader = DataLoader(batches, batch_size=None, num_workers=workers)
    assert_same(list(loader), list(batches))


@pytest.mark.parametrize(
    ("world_size", "workers", "window"),
    [(1, 0, None), (1, 2, 2), (2, 0, 1), (2, 1, None), (3, 0, None), (3, 2, 2)],
)
def test_ranks_and_workers_together_see_each_picture_once(world_size, workers, window):
    """But for the fewer than one batch of all ranks at the end; 23 is a multiple of none."""
    seen = []
    for rank in range(world_size):
        batches = batches_of(
            23, batch_size=2, rank=rank, world_size=world_size, epoch=1, window=window
        )
        found = list(DataLoader(batches, batch_size=None, num_workers=workers))
        assert len(found) == 23 // (2 * world_size)
        seen += [first for first, _, _ in pairs_of(found)]
    assert len(seen) == len(set(seen)) == 23 - 23 % (2 * world_size)
    assert set(seen) <= set(range(23))


def test_other_pictures_are_left_out_at_the_end_of_each_epoch():
    left = set()
    for epoch in range(40):
        firsts = {first for first, _, _ in pairs_of(list(batches_of(23, epoch=epoch)))}
        left |= set(range(23)) - firsts
    # Three of 23 an epoch: one is never left out with odds of (20/23)^40, 0.4 %, each.
    assert len(left) >= 21


# On the device ----------------------------------------------------------------------------------


def test_gathered_pairs_are_those_of_the_loader():
    ours, theirs = batches_of(24, PEOPLE, 1), batches_of(24, PEOPLE, 1, gather=False)
    images = torch.from_numpy(pictures(range(24)))
    for batch, numbers in zip(ours, theirs, strict=True):
        assert "pairs" not in numbers
        pairs = gather(images, numbers["numbers"], numbers["mirrored"])
        assert torch.equal(pairs, batch["pairs"])
        assert numbers["seed"] == batch["seed"]
