"""The ridge probe against scikit-learn, for every L2 of its grid."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from linear_probe.probes.linear import Standardiser
from linear_probe.probes.ridge import L2_GRID, fit_ridge, ridge_path


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
