"""Pairs: whom each picture meets, and that all follows from seed, epoch and rank alone."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ssl_faces.data.pairs import PairBatch, PairBatches

MARK = 255


def pictures(numbers: range) -> np.ndarray:
    """uint8 [N, 3, 4, 4]: flat, of a level that is the picture's number, marked at the left."""
    images = np.empty((len(numbers), 3, 4, 4), np.uint8)
    images[:] = np.array(numbers, np.uint8)[:, None, None, None]
    images[..., 0] = MARK
    return images


def shown(picture: torch.Tensor) -> tuple[int, bool]:
    """The number of a picture of a pair, and whether it is mirrored."""
    left, right = picture[..., 0].unique().tolist(), picture[..., -1].unique().tolist()
    assert len(left) == len(right) == 1
    assert (left[0] == MARK) != (right[0] == MARK)
    return (right[0], False) if left[0] == MARK else (left[0], True)


def pairs_of(batches: list[PairBatch]) -> list[tuple[int, int, bool]]:
    """Number of the first, number of the second, whether the second is mirrored."""
    rows = []
    for batch in batches:
        for first, second in batch["pairs"]:
            number, mirrored = shown(first)
            assert not mirrored, "the first picture is never mirrored"
            rows.append((number, *shown(second)))
    return rows


def batches_of(
    count: int = 24, people: list[int] | None = None, epoch: int = 0, **kwargs: object
) -> PairBatches:
    found = PairBatches(
        [pictures(range(count))],
        np.arange(count),
        np.array(people if people is not None else [-1] * count),
        **{"batch_size": 4, **kwargs},  # type: ignore[arg-type]
    )
    found.epoch = epoch
    return found


def assert_same(ours: list[PairBatch], theirs: list[PairBatch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one["pairs"], other["pairs"])
        assert one["seed"] == other["seed"]


# Whom each picture meets ------------------------------------------------------------------------


def test_a_batch_is_pairs_of_uint8_pictures() -> None:
    batch = next(iter(batches_of()))
    assert batch["pairs"].shape == (4, 2, 3, 4, 4)
    assert batch["pairs"].dtype == torch.uint8
    assert isinstance(batch["seed"], int)


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_each_picture_comes_first_once_an_epoch(
    count: int, batch_size: int, epoch: int, seed: int
) -> None:
    """But for those that an incomplete last batch would hold."""
    batches = batches_of(count, batch_size=batch_size, epoch=epoch, seed=seed)
    found = list(batches)
    assert len(found) == len(batches) == count // batch_size
    firsts = [first for first, _, _ in pairs_of(found)]
    assert len(firsts) == len(set(firsts)) == count - count % batch_size
    assert set(firsts) <= set(range(count))


def test_pictures_of_nobody_meet_their_mirror_image() -> None:
    for first, second, mirrored in pairs_of(list(batches_of(flip_share=0.0))):
        assert first == second
        assert mirrored


PEOPLE = [0] * 8 + [-1] * 4 + [2] * 3 + [1] + [0] * 2 + [7] * 6
"""Person 0 in two stretches, person 1 with one picture, four pictures of nobody."""


def test_pictures_of_a_person_meet_that_persons_others() -> None:
    rows = [
        row
        for epoch in range(20)
        for row in pairs_of(list(batches_of(24, PEOPLE, epoch, flip_share=0.0)))
    ]
    partners: dict[int, set[int]] = {}
    for first, second, mirrored in rows:
        partners.setdefault(first, set()).add(second)
        alone = PEOPLE.count(PEOPLE[first]) == 1 or PEOPLE[first] == -1
        assert mirrored == (first == second) == alone
    # In 20 epochs person 2's three pictures have met both others (missed with odds of 1e-6).
    for first in range(12, 15):
        assert partners[first] == set(range(12, 15)) - {first}
    assert partners[15] == {15}, "person 1 has but one"


def test_all_others_are_equally_likely() -> None:
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
def test_flip_share_is_the_share_of_mirror_images(share: float) -> None:
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


def test_only_the_chosen_of_several_arrays_are_seen() -> None:
    arrays = [pictures(range(10)), pictures(range(10, 13)), pictures(range(13, 30))]
    chosen = np.array([2, 3, 9, 10, 12, 13, 29])
    people = np.array([5, -1, 5, -1, 5, -1, -1])
    batches = PairBatches(arrays, chosen, people, batch_size=7, flip_share=0.0)
    rows = pairs_of(list(batches))
    assert {first for first, _, _ in rows} == set(chosen.tolist())
    for first, second, _ in rows:
        if first in (2, 9, 12):
            assert second in {2, 9, 12} - {first}, "partners cross arrays"
        else:
            assert second == first


def test_pictures_are_not_changed() -> None:
    array = pictures(range(24))
    before = array.copy()
    batches = PairBatches([array], np.arange(24), np.full(24, -1), batch_size=24)
    next(iter(batches))["pairs"].zero_()
    np.testing.assert_array_equal(array, before)


# What it all follows from -----------------------------------------------------------------------


def test_an_epoch_can_be_had_again() -> None:
    batches = batches_of(24, PEOPLE, 3, seed=7)
    first = list(batches)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    assert_same(list(batches), first)
    assert_same(list(batches_of(24, PEOPLE, 3, seed=7)), first)


def test_an_epoch_does_not_follow_from_the_one_before() -> None:
    batches = batches_of(24, PEOPLE)
    list(islice(batches, 2))
    batches.epoch = 4
    assert_same(list(batches), list(batches_of(24, PEOPLE, 4)))


@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 1}])
def test_other_epochs_and_seeds_are_other_pairs(change: dict[str, int]) -> None:
    people = [i // 6 for i in range(60)]
    ours = list(batches_of(60, people))
    theirs = list(batches_of(60, people, **change))
    assert [row[0] for row in pairs_of(ours)] != [row[0] for row in pairs_of(theirs)], "order"
    partner = {first: rest for first, *rest in pairs_of(ours)}
    assert partner != {first: rest for first, *rest in pairs_of(theirs)}, "partners"
    assert not {b["seed"] for b in ours} & {b["seed"] for b in theirs}


def test_every_batch_has_a_seed_of_its_own() -> None:
    seeds = [
        batch["seed"]
        for epoch in range(3)
        for rank in range(2)
        for batch in batches_of(60, epoch=epoch, batch_size=2, rank=rank, world_size=2)
    ]
    assert len(set(seeds)) == len(seeds) == 3 * 2 * 15
    for seed in seeds:
        torch.manual_seed(seed)


@pytest.mark.parametrize("start", range(7))
def test_a_later_start_gives_the_tail(start: int) -> None:
    whole = list(batches_of(24, PEOPLE, 2))
    batches = batches_of(24, PEOPLE, 2)
    batches.start = start
    assert_same(list(batches), whole[start:])


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_form_the_one_process_batch(world_size: int) -> None:
    each = 6 // world_size
    whole = list(batches_of(24, PEOPLE, 1, batch_size=6))
    ranks = [
        list(batches_of(24, PEOPLE, 1, batch_size=each, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert {len(batches) for batches in ranks} == {len(whole)} == {4}
    for i, batch in enumerate(whole):
        together = torch.cat([batches[i]["pairs"] for batches in ranks])
        assert torch.equal(together, batch["pairs"])
        assert len({batches[i]["seed"] for batches in ranks}) == world_size


def test_all_ranks_have_as_many_batches() -> None:
    batches = [batches_of(23, batch_size=5, rank=rank, world_size=2) for rank in range(2)]
    assert [len(b) for b in batches] == [len(list(b)) for b in batches] == [2, 2]


@pytest.mark.parametrize("start", [0, 1])
def test_loader_processes_change_nothing(start: int) -> None:
    batches = batches_of(24, PEOPLE, 1)
    batches.start = start
    loader = DataLoader(batches, batch_size=None, num_workers=2)
    assert_same(list(loader), list(batches))
