"""Windows of shards: the order of images of packs that are read shard by shard."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ssl_faces.pairs.order import EpochOrder
from tests.support.array_faces import PEOPLE, SHARD, assert_same, batches_of, pairs_of


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=9),
    window=st.integers(1, 10),
    epoch=st.integers(0, 3),
)
def test_windows_of_shards_hold_each_picture_once(counts, window, epoch):
    order = EpochOrder(np.array(counts), window, 5, epoch)
    assert sorted(shard for members in order.windows for shard in members) == list(
        range(len(counts))
    )
    assert all(len(members) <= window for members in order.windows)
    assert len(order) == sum(counts)
    for number, members in enumerate(order.windows):
        assert sorted(order.within(number)) == list(range(sum(counts[m] for m in members)))


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    window=st.integers(1, 3),
    data=st.data(),
)
def test_spans_are_the_positions_asked_for(counts, window, data):
    order = EpochOrder(np.array(counts), window, 0, 0)
    begin = data.draw(st.integers(0, len(order)))
    end = data.draw(st.integers(begin, len(order)))
    places = [
        (number, place)
        for number in range(len(order.windows))
        for place in range(int(order.starts[number + 1] - order.starts[number]))
    ]
    found = [(w, p) for w, first, last in order.spans(begin, end) for p in range(first, last)]
    assert found == places[begin:end]


def test_partners_come_from_the_window():
    """Shards of five pictures; person 0 has pictures in four of them."""
    people = [0, 1, 1, 1, 0] * 4
    for epoch in range(10):
        batches = batches_of(20, people, epoch, window=2, flip_share=0.0, batch_size=3)
        order = EpochOrder(batches.faces.counts, 2, 0, epoch)
        together = {
            int(shard): {int(m) for m in members} for members in order.windows for shard in members
        }
        rows = pairs_of(list(batches))
        for first, second, mirrored in rows:
            assert not mirrored
            assert people[first] == people[second]
            assert second // SHARD in together[first // SHARD]
        shards = [first // SHARD for first, _, _ in rows]
        assert set(shards[:10]) == {int(m) for m in order.windows[0]}


@pytest.mark.parametrize("start", [1, 2, 6])
def test_a_later_start_within_windows_gives_the_tail(start):
    """As a run that is resumed in the middle of an epoch, with other workers."""
    whole = list(batches_of(24, PEOPLE, 2, window=2, batch_size=3))
    batches = batches_of(24, PEOPLE, 2, window=2, batch_size=3)
    batches.start = start
    loader = DataLoader(batches, batch_size=None, num_workers=start % 3)
    assert_same(list(loader), whole[start:])


# Shuffling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 10])
def test_orders_are_well_shuffled(window):
    """5,000 pictures in 50 shards; a random permutation's figures have a spread of 0.014."""
    for epoch in range(3):
        order = EpochOrder(np.full(50, 100), window, 0, epoch)
        stored = np.concatenate(
            [
                (members[:, None] * 100 + np.arange(100)).ravel()[order.within(number)]
                for number, members in enumerate(order.windows)
            ]
        )
        assert sorted(stored) == list(range(5000))
        # Windows are five draws of ten shards: their means spread by 0.13.
        correlation = np.corrcoef(np.arange(5000), stored)[0, 1]
        assert abs(correlation) < (0.07 if window is None else 0.5)
        # Of neighbours in a random permutation the stored places are (n + 1) / 3 apart.
        neighbours = np.abs(np.diff(stored.astype(np.int64))).mean() / (5001 / 3)
        assert neighbours > (0.95 if window is None else 0.75)
