"""The neighbours' vote against a naive loop."""

import numpy as np
import pytest
import torch

from linear_probe.probes.knn import KNN, knn_classes, neighbours_of


@pytest.mark.parametrize("neighbours", [1, 7, 500])
def test_votes_by_a_loop(neighbours):
    draw = torch.Generator().manual_seed(0)
    train = torch.randn(300, 6, generator=draw) * torch.tensor([1.0, 5, 0.1, 1, 1, 1]) + 3
    test = torch.randn(270, 6, generator=draw) * torch.tensor([1.0, 5, 0.1, 1, 1, 1]) + 3
    targets = torch.randint(0, 4, (300,), generator=draw)
    found = knn_classes(train, targets, test, neighbours, temperature=0.2)
    # No more neighbours than the smallest class has rows.
    neighbours = min(neighbours, int(torch.bincount(targets).min()))
    mean, scale = train.numpy().mean(0), train.numpy().std(0)
    bank = [(x - mean) / scale for x in train.numpy()]
    for row, klass in zip(test.numpy()[::13], found.tolist()[::13], strict=True):
        x = (row - mean) / scale
        cosines = [x @ b / np.linalg.norm(x) / np.linalg.norm(b) for b in bank]
        nearest = sorted(range(300), key=lambda i: -cosines[i])[:neighbours]
        votes = [0.0] * 4
        for i in nearest:
            votes[int(targets[i])] += float(np.exp(cosines[i] / 0.2))
        assert klass == int(np.argmax(votes))


def test_scales_and_constants_of_features_do_not_matter():
    draw = torch.Generator().manual_seed(1)
    train, test = torch.randn(100, 5, generator=draw), torch.randn(40, 5, generator=draw)
    targets = torch.randint(0, 3, (100,), generator=draw)
    scale = torch.tensor([1.0, 100, 0.01, 5, 1])
    plain = knn_classes(train, targets, test, 9)
    assert torch.equal(knn_classes(train * scale + 7, targets, test * scale + 7, 9), plain)
    with_constant = [torch.cat([x, torch.full((len(x), 1), 3.0)], 1) for x in (train, test)]
    assert torch.equal(knn_classes(with_constant[0], targets, with_constant[1], 9), plain)


def test_no_more_neighbours_than_the_smallest_class_has_rows():
    targets = torch.tensor([0] * 50 + [2] * 3)
    assert neighbours_of(targets) == 3  # class 1 has no row
    assert neighbours_of(targets, 2) == 2
    assert KNN().chosen(targets) == {"neighbours": 3}
    # Three rows beside three of 53: with 53 neighbours the larger class would win everywhere.
    train = torch.cat([torch.randn(50, 4) * 0.1, torch.randn(3, 4) * 0.1 + 5])
    assert knn_classes(train, targets, torch.full((1, 4), 5.0)).tolist() == [2]
