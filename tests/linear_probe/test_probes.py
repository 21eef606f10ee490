"""The ridge and kNN probes, and the split that L2 is chosen on, against scikit-learn and loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from linear_probe.probes.knn import KNN, knn_classes, neighbours_of
from linear_probe.probes.linear import Standardiser
from linear_probe.probes.ridge import L2_GRID, fit_ridge, ridge_path
from linear_probe.tasks.splits import stratified_group_split
from ssl_faces import InputError


def data(n, d, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3
    y = x @ rng.normal(size=(d, 3)) / d + rng.normal(size=(n, 3)) + 20
    return torch.from_numpy(x), torch.from_numpy(y)


@pytest.mark.parametrize(("n", "d"), [(80, 10), (20, 20), (15, 40)])
def test_every_l2_is_scikit_learns(n, d):
    features, targets = data(n, d)
    x = Standardiser.of(features)(features)
    y = targets - targets.mean(dim=0)
    for l2, weight in zip(L2_GRID, ridge_path(x, y, L2_GRID), strict=True):
        oracle = Ridge(alpha=n * l2, solver="svd").fit(x, targets)
        torch.testing.assert_close(weight, torch.from_numpy(oracle.coef_.T), rtol=1e-5, atol=1e-7)


def test_predictor_is_scikit_learns_on_other_rows():
    features, targets = data(90, 12)
    validation = np.arange(90) % 5 == 0
    predictor = fit_ridge(features, targets, validation)
    scaler = StandardScaler().fit(features)
    oracle = Ridge(alpha=90 * predictor.l2, solver="svd").fit(scaler.transform(features), targets)
    others, _ = data(30, 12, seed=1)
    np.testing.assert_allclose(predictor(others), oracle.predict(scaler.transform(others)))


def test_choice_is_the_grids_best_on_validation_rows():
    features, targets = data(60, 50)
    validation = np.arange(60) % 5 == 0
    predictor = fit_ridge(features, targets, validation)
    scaler = StandardScaler().fit(features[~validation])
    errors = {}
    for l2 in L2_GRID:
        oracle = Ridge(alpha=48 * l2, solver="svd")
        oracle.fit(scaler.transform(features[~validation]), targets[~validation])
        predicted = oracle.predict(scaler.transform(features[validation]))
        errors[l2] = np.abs(predicted - targets[validation].numpy()).mean()
    assert predictor.validation == pytest.approx(errors, rel=1e-5)
    assert predictor.l2 == min(L2_GRID, key=errors.__getitem__)
    assert not predictor.at_grid_edge


def test_tells_when_the_choice_is_at_the_edge():
    features, targets = data(60, 5)
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 3)))
    validation = np.arange(60) % 5 == 0
    assert fit_ridge(features, targets, validation, l2_grid=(1e-3,)).at_grid_edge
    predictor = fit_ridge(features, noise, validation, l2_grid=(1e9, 1e-1, 1e-2))
    assert predictor.at_grid_edge == (predictor.l2 != 1e-1)


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
