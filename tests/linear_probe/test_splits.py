"""The split that L2 is chosen on: stratified, groups whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_probe.tasks.splits import stratified_group_split
from ssl_faces import InputError


def test_classes_are_taken_in_proportion():
    labels = np.repeat(np.arange(3), (500, 200, 20))
    chosen = stratified_group_split(labels, np.arange(720), 0.1, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [50, 20, 2]


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 30)), min_size=1, max_size=80),
    st.integers(0, 5),
)
def test_groups_stay_whole(rows, seed):
    labels, groups = map(np.array, zip(*rows, strict=True))
    try:
        chosen = stratified_group_split(labels, groups, 0.3, seed)
    except InputError:
        return
    assert chosen.any()
    assert not chosen.all()
    for group in np.unique(groups):
        assert len(np.unique(chosen[groups == group])) == 1


def test_one_group_can_not_be_split():
    with pytest.raises(InputError, match="too few"):
        stratified_group_split(np.zeros(5, dtype=int), np.zeros(5), 0.1, seed=0)


def test_few_large_groups_give_the_one_that_strays_the_least():
    labels = np.array([0, 1] * 6 + [0] * 4)
    groups = np.array([0] * 6 + [1] * 6 + [2] * 4)
    # A tenth is 1 of class 0 and 0.6 of class 1: no group comes closer than none at all.
    for seed in range(5):
        chosen = stratified_group_split(labels, groups, 0.1, seed)
        assert set(groups[chosen]) <= {0, 1, 2}
        strays = [
            (np.bincount(labels[groups == g], minlength=2) - [1.0, 0.6])
            @ (np.bincount(labels[groups == g], minlength=2) - [1.0, 0.6])
            for g in range(3)
        ]
        assert set(groups[chosen]) == {int(np.argmin(strays))}
