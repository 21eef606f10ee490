"""Means over training seeds: intervals and tests against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t, ttest_ind

from linear_probe.stats.over_seeds import OverSeeds, gap, holm


def scored(values: list[float], noise: float = 0.0, seed: int = 0) -> OverSeeds:
    """Figures whose test rows stray by `noise`, alike for all seeds."""
    rows = noise * np.random.default_rng(seed).standard_normal(4000)
    return OverSeeds(np.array(values), np.array(values)[:, None] + rows)


def test_the_interval_of_seeds_alone_is_students() -> None:
    low, high = scored([40.0, 42.0, 44.0]).interval
    half = t.ppf(0.975, 2) * 2 / np.sqrt(3)
    assert (low, high) == pytest.approx((42 - half, 42 + half), rel=0.01)


def test_the_interval_of_test_rows_alone_is_the_bootstraps() -> None:
    one = scored([42.0], noise=1.0)
    assert one.interval == pytest.approx(tuple(np.percentile(one.replicates, (2.5, 97.5))))
    assert one.spread is None
    # Seeds that agree add nothing.
    assert scored([42.0, 42.0], noise=1.0).interval == pytest.approx(one.interval)


def test_both_add_up_as_variances() -> None:
    many = [50 + 3 * float(x) for x in np.random.default_rng(1).standard_normal(50)]
    low, high = scored(many, noise=0.5).interval
    error = np.sqrt(np.var(many, ddof=1) / 50 + 0.5**2)
    assert high - low == pytest.approx(2 * 1.98 * error, rel=0.05)


def test_without_noise_of_test_rows_the_test_is_welchs() -> None:
    a, b = [40.0, 41.0, 43.0], [44.0, 45.0, 45.5]
    found = gap(scored(a), scored(b))
    expected = ttest_ind(a, b, equal_var=False)
    assert found.value == pytest.approx(np.mean(a) - np.mean(b))
    assert found.p == pytest.approx(expected.pvalue, abs=0.003)
    limits = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high), abs=0.1)


def test_what_is_hard_for_both_cancels_out() -> None:
    found = gap(scored([42.0], noise=5.0), scored([41.0], noise=5.0))
    assert (found.low, found.high) == pytest.approx((1.0, 1.0))
    assert found.p == pytest.approx(1 / 4000)
    apart = gap(scored([42.0], noise=5.0), scored([41.0], noise=5.0, seed=1))
    assert apart.low < 0 < apart.high
    assert apart.p > 0.5


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_as_it_was_written_down(values: list[float]) -> None:
    """Naively: the k-th smallest times the number not smaller, and never below one before it."""
    corrected = holm(values)
    order = sorted(range(len(values)), key=lambda i: values[i])
    for rank, place in enumerate(order):
        expected = max(min(1, (len(values) - r) * values[order[r]]) for r in range(rank + 1))
        assert corrected[place] == pytest.approx(expected)
