"""Statistics of sequences: a loop over frames and features says the same."""

import math

import numpy as np
import pytest
import torch

from linear_probe.experiments.video.sequences import (
    STATISTICS,
    check_statistics,
    sequence_statistics,
)
from ssl_faces import InputError


def by_loop(frames, statistics):
    """The vector of one sequence, number by number."""
    vector = []
    for name in statistics:
        for column in zip(*frames, strict=True):
            mean = sum(column) / len(column)
            spread = math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))
            of = {"mean": mean, "std": spread, "min": sorted(column)[0], "max": sorted(column)[-1]}
            vector.append(of[name])
    length = math.sqrt(sum(value**2 for value in vector))
    return [value / length for value in vector]


@pytest.mark.parametrize("statistics", [["mean", "std", "min", "max"], ["mean"], ["max", "std"]])
def test_a_loop_says_the_same(statistics):
    features = torch.from_numpy(np.random.default_rng(0).normal(1, 2, (9, 5)))
    sequences = [np.array([0, 1, 2]), np.array([8]), np.array([3, 7, 5, 4])]
    found = sequence_statistics(features, sequences, statistics)
    expected = [by_loop(features[rows].tolist(), statistics) for rows in map(list, sequences)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert found.shape == (3, 5 * len(statistics))


def test_frames_may_come_in_any_order_and_the_whole_vector_has_length_one():
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 3)))
    one = sequence_statistics(features, [np.arange(6)])
    other = sequence_statistics(features, [np.array([5, 2, 0, 1, 4, 3])])
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(1, dtype=torch.float64))
    # Not each statistic: they keep their proportions.
    parts = one.view(len(STATISTICS), 3).norm(dim=1)
    assert parts.max() < 1
    torch.testing.assert_close(one[0, :3] / one[0, 6:9], features.mean(0) / features.amin(0))


def test_what_is_nowhere_stays_nowhere():
    single = sequence_statistics(torch.ones(1, 4), [np.array([0])], ["std"])
    assert (single == 0).all()
    assert sequence_statistics(torch.ones(1, 4), [], ["mean", "max"]).shape == (0, 8)


@pytest.mark.parametrize("statistics", [[], ["median"], ["mean", "mean"]])
def test_bad_statistics(statistics):
    with pytest.raises(InputError, match="give some of mean, std, min, max, each once"):
        check_statistics(statistics)
