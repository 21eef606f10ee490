"""The logistic probe against scikit-learn, and what it may not see."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from linear_probe.probes import logistic_solver
from linear_probe.probes.linear import Standardiser
from linear_probe.probes.logistic import L2_GRID, fit_logistic, fit_splits, solve


def data(n=240, d=12, classes=4, seed=0):
    """Correlated features of very unequal scale, and noisy classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * 10.0 ** rng.uniform(-3, 3, d) + 5
    scores = StandardScaler().fit_transform(x) @ rng.normal(size=(d, classes))
    y = (scores + 2 * rng.gumbel(size=scores.shape)).argmax(axis=1)
    return torch.from_numpy(x), torch.from_numpy(y)


def validation_of(n):
    return np.arange(n) % 10 == 0


@pytest.mark.parametrize(
    ("l2", "preconditioned"), [*((l2, True) for l2 in L2_GRID), (10.0, False), (1e-2, False)]
)
def test_solution_is_scikit_learns(l2, preconditioned, monkeypatch):
    if not preconditioned:
        monkeypatch.setattr(logistic_solver, "MOST_PRECONDITIONED", 0)
    features, targets = data()
    x = Standardiser.of(features)(features)
    weight, bias = solve(x, targets, l2, most_steps=2000, tolerance=1e-9)
    oracle = LogisticRegression(C=1 / (len(x) * l2), tol=1e-10, max_iter=10000).fit(x, targets)
    torch.testing.assert_close(
        torch.softmax(x @ weight + bias, 1),
        torch.from_numpy(oracle.predict_proba(x.numpy())),
        rtol=0,
        atol=1e-5,
    )
    torch.testing.assert_close(weight, torch.from_numpy(oracle.coef_.T), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
def test_with_fewer_rows_than_features_too(l2):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(40, 90)))
    targets = torch.from_numpy(rng.integers(0, 5, 40))
    weight, bias = solve(x, targets, l2, most_steps=2000, tolerance=1e-9)
    oracle = LogisticRegression(C=1 / (len(x) * l2), tol=1e-10, max_iter=10000).fit(x, targets)
    torch.testing.assert_close(weight, torch.from_numpy(oracle.coef_.T), rtol=1e-3, atol=1e-4)
    # From where it ended it starts: the directions that no row has lose nothing.
    start = (weight[None], bias[None])
    design = logistic_solver.Design(x)
    again = logistic_solver.solve_together(
        design, targets, x.new_tensor([l2]), most_steps=0, start=start
    )
    torch.testing.assert_close(again[0][0], weight)


def test_defaults_in_float32_are_as_good():
    features, targets = data(n=2000, d=60)
    validation = validation_of(len(features))
    predictor = fit_logistic(features.float(), targets, validation)
    oracle = LogisticRegression(C=1 / (len(features) * predictor.l2), tol=1e-8, max_iter=10000)
    scaler = StandardScaler()
    expected = oracle.fit(scaler.fit_transform(features), targets).predict_proba(
        scaler.transform(features)
    )
    found = torch.softmax(predictor(features.float()), dim=1)
    assert np.abs(found.numpy() - expected).max() < 0.02


def test_choice_is_the_grids_best_on_validation_rows():
    features, targets = data(n=400)
    validation = validation_of(len(features))
    predictor = fit_logistic(features, targets, validation, most_steps=2000, tolerance=1e-8)
    scaler = StandardScaler().fit(features)
    x = scaler.transform(features)
    accuracies = {}
    for l2 in L2_GRID:
        oracle = LogisticRegression(C=1 / ((~validation).sum() * l2), tol=1e-10, max_iter=10000)
        oracle.fit(x[~validation], targets[~validation])
        accuracies[l2] = oracle.score(x[validation], targets[validation])
    assert predictor.validation == pytest.approx(accuracies)
    assert predictor.l2 == max(L2_GRID, key=lambda l2: (accuracies[l2], l2))


def test_splits_together_are_splits_alone():
    features, targets = data(n=300)
    rng = np.random.default_rng(0)
    validations = rng.uniform(size=(3, 300)) < 0.2
    solver = {"most_steps": 2000, "tolerance": 1e-8}
    together = fit_splits(features, targets, validations, **solver)
    for found, validation in zip(together, validations, strict=True):
        alone = fit_logistic(features, targets, validation, **solver)
        assert (found.l2, found.validation) == (alone.l2, alone.validation)
        torch.testing.assert_close(found.weight, alone.weight, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.bias, alone.bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bytes_", [1, 1 << 30])
def test_blocks_of_rows_change_nothing(bytes_, monkeypatch):
    features, targets = data(n=600)
    weight, bias = solve(features, targets, 1e-2, tolerance=1e-8)
    monkeypatch.setattr(logistic_solver, "_BLOCK_BYTES", bytes_)
    again, again_bias = solve(features, targets, 1e-2, tolerance=1e-8)
    torch.testing.assert_close(again, weight, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(again_bias, bias, rtol=1e-6, atol=1e-8)


def test_tells_when_the_choice_is_at_the_edge():
    features, targets = data()
    validation = validation_of(len(features))
    assert fit_logistic(features, targets, validation, l2_grid=(1e-2,)).at_grid_edge
    free = fit_logistic(features, targets, validation, l2_grid=(1e6, 1e-2, 1e-12))
    assert free.at_grid_edge == (free.l2 != 1e-2)


def test_constant_features_and_other_scales_do_no_harm():
    features, targets = data()
    validation = validation_of(len(features))
    plain = fit_logistic(features, targets, validation)
    constant = torch.full((len(features), 2), 1e4, dtype=torch.float64)
    other = fit_logistic(torch.cat([features * 100, constant], 1), targets, validation)
    assert other.l2 == plain.l2
    torch.testing.assert_close(other.weight[:-2], plain.weight, rtol=1e-2, atol=1e-3)
    assert other.weight.isfinite().all()
