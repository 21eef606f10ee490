"""Means over seeds, their intervals and tests, and verdicts on claims, against closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t, ttest_ind, ttest_rel

from linear_probe.stats.intervals import row_weights
from linear_probe.stats.over_seeds import Estimate, Spread, gap, holm
from linear_probe.stats.paired import difference
from linear_probe.stats.verdicts import MOST_SEEDS, Judged, corrected, judge, needed
from tests.support.records import ONE


def scored(values, noise=0.0, seed=0):
    """Figures whose test rows stray by `noise`, alike for all seeds."""
    rows = noise * np.random.default_rng(seed).standard_normal(4000)
    return Estimate(np.array(values), np.array(values)[:, None] + rows)


def test_the_interval_of_seeds_alone_is_students():
    low, high = scored([40.0, 42.0, 44.0]).interval
    half = t.ppf(0.975, 2) * 2 / np.sqrt(3)
    assert (low, high) == pytest.approx((42 - half, 42 + half), rel=0.01)


def test_the_interval_of_test_rows_alone_is_the_bootstraps():
    one = scored([42.0], noise=1.0)
    assert one.interval == pytest.approx(tuple(np.percentile(one.replicates, (2.5, 97.5))))
    assert one.spread is None
    # Seeds that agree add nothing.
    assert scored([42.0, 42.0], noise=1.0).interval == pytest.approx(one.interval)


def test_both_add_up_as_variances():
    many = [50 + 3 * float(x) for x in np.random.default_rng(1).standard_normal(50)]
    low, high = scored(many, noise=0.5).interval
    error = np.sqrt(np.var(many, ddof=1) / 50 + 0.5**2)
    assert high - low == pytest.approx(2 * 1.98 * error, rel=0.05)


def test_without_noise_of_test_rows_the_test_is_welchs():
    a, b = [40.0, 41.0, 43.0], [44.0, 45.0, 45.5]
    found = gap(scored(a), scored(b))
    expected = ttest_ind(a, b, equal_var=False)
    assert found.value == pytest.approx(np.mean(a) - np.mean(b))
    assert found.p == pytest.approx(expected.pvalue, abs=0.003)
    limits = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high), abs=0.1)


def test_seeds_that_both_sides_name_are_paired():
    """Without noise of test rows it is the paired t-test."""
    a, b = [40.0, 44.0, 47.0, 49.0], [40.6, 44.1, 47.9, 49.3]
    one, other = (replace(scored(values), seeds=(0, 1, 2, 3)) for values in (a, b))
    found = gap(one, other)
    expected = ttest_rel(a, b)
    limits = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high), abs=0.02)
    assert found.p == pytest.approx(expected.pvalue, abs=0.003)
    assert found.significant == (expected.pvalue < 0.05)
    # Other seeds can't be paired.
    unpaired = gap(one, replace(other, seeds=(0, 1, 2, 4)))
    assert unpaired == gap(scored(a), scored(b))
    assert unpaired.high - unpaired.low > 5 * (found.high - found.low)


def test_one_pair_of_runs_has_one_interval():
    """The comparison of two runs is the comparison of means over one seed."""
    right = np.random.default_rng(0).random((2, 300)) < [[0.6], [0.5]]
    draws = 100 * row_weights(300, 500, 0) @ right.T.astype(np.float32) / 300
    records = [
        replace(ONE, encoder=name, value=100 * float(r.mean()), sample="s")
        for name, r in zip("ab", right, strict=True)
    ]
    replicates = {r.key: draws[:, i] for i, r in enumerate(records)}
    one, other = (Estimate.of([r], replicates) for r in records)
    by_pair = difference(*records, draws[:, 0], draws[:, 1])
    by_seeds = gap(one, other)
    assert (by_pair.value, by_pair.low, by_pair.high) == (
        by_seeds.value,
        by_seeds.low,
        by_seeds.high,
    )
    assert by_pair.p == by_seeds.p
    naive = np.percentile(draws[:, 0] - draws[:, 1], (2.5, 97.5))
    assert (by_pair.low, by_pair.high) == pytest.approx(tuple(naive))
    assert one.comparable(other)
    assert not one.comparable(Estimate.of([replace(records[1], sample="t")], replicates))
    assert not one.comparable(Estimate.of([records[1]]))


def test_estimates_from_records_alone():
    """One seed has the record's interval; that of several needs replicates."""
    one = Estimate.of([ONE])
    assert one.interval == (ONE.low, ONE.high)
    assert str(one) == "44.12 [42.50, 45.75]"
    records = [replace(ONE, seed=1, value=46.12), ONE]
    two = Estimate.of(records)
    assert not two.has_interval
    assert str(two) == "45.12 ± 1.41"
    assert [r.seed for r in two.records] == [0, 1]
    noise = np.random.default_rng(0).standard_normal(1000)
    whole = Estimate.of(records, {r.key: r.value + noise for r in records})
    half = t.ppf(0.975, 1) * 1.0
    assert whole.interval == pytest.approx((45.12 - half, 45.12 + half), rel=0.05)
    # Within the range of the metric.
    low = [replace(ONE, value=v, low=v - 1, high=v + 1, seed=v) for v in (1, 9)]
    assert Estimate.of(low, {r.key: r.value + noise for r in low}).interval[0] == 0


def test_what_is_hard_for_both_cancels_out():
    found = gap(scored([42.0], noise=5.0), scored([41.0], noise=5.0))
    assert (found.low, found.high) == pytest.approx((1.0, 1.0))
    assert found.p == pytest.approx(1 / 4000)
    apart = gap(scored([42.0], noise=5.0), scored([41.0], noise=5.0, seed=1))
    assert apart.low < 0 < apart.high
    assert apart.p > 0.5


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_as_it_was_written_down(values):
    """Naively: the k-th smallest times the number not smaller, and never below one before it."""
    corrected = holm(values)
    order = sorted(range(len(values)), key=lambda i: values[i])
    for rank, place in enumerate(order):
        expected = max(min(1, (len(values) - r) * values[order[r]]) for r in range(rank + 1))
        assert corrected[place] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("unit", "higher", "values", "bounds"),
    [
        ("%", True, (99.0, 90.0), (0, 100)),
        ("", True, (0.99, 0.9), (-1, 1)),  # a fairness score, or CCC
        ("degrees", False, (0.1, 2.0), (0, np.inf)),
        ("dB", True, (0.1, 2.0), (-np.inf, np.inf)),
    ],
)
def test_intervals_stay_where_a_metric_can_be(unit, higher, values, bounds):
    records = [
        replace(ONE, unit=unit, higher_is_better=higher, value=value, seed=seed)
        for seed, value in enumerate(values)
    ]
    low, high = Estimate.of(records, {r.key: np.full(200, r.value) for r in records}).interval
    assert bounds[0] <= low < high <= bounds[1]
    assert (low, high) == pytest.approx(np.clip(scored(list(values)).interval, *bounds), abs=0.1)


ROWS = np.random.default_rng(0).standard_normal(1000)


def by_seed(values, noise=0.0):
    draws = np.array(values)[:, None] + noise * np.ones(1000)
    return Estimate(np.array(values), draws, tuple(range(len(values))))


def test_claims_without_an_effect_are_rarely_called_one():
    """At most 5 % of them are supported or contradicted, and few after Holm's correction."""
    rng = np.random.default_rng(0)
    judged = [
        judge(
            by_seed(list(rng.normal(50, 1, 4)), rng.normal(0.5, 1) + ROWS),
            by_seed(list(rng.normal(50, 1, 4))),
            smallest=1.0,
        )
        for _ in range(120)
    ]
    called = np.mean([one.verdict in ("supported", "contradicted") for one in judged])
    assert 0.0 < called < 0.12
    assert corrected(judged).count("inconclusive") >= 119
    # p is what the verdict is by.
    assert all((one.p or 0) < 0.05 for one in judged if one.verdict == "supported")
    assert all((one.p or 0) >= 0.05 for one in judged if one.verdict == "inconclusive")


def test_what_would_settle_a_claim_settles_it():
    """With so many seeds and rows half of the interval is half of the smallest effect."""
    spread = Spread(3 * ROWS, 0.8**2 / 3, 2)
    seeds, times = needed(spread, 3, 2.0)
    assert times > 1
    half = np.hypot(
        norm.ppf(0.975) * 3 * ROWS.std() / times**0.5, t.ppf(0.975, seeds - 1) * 0.8 / seeds**0.5
    )
    assert half == pytest.approx(1.0, abs=0.05)
    assert half <= 1.0
    # Enough rows: only seeds are lacking.
    assert needed(Spread(0.1 * ROWS, 0.8**2 / 3, 2), 3, 2.0)[1] == 1
    assert needed(Spread(ROWS, 1e4, 2), 3, 0.1)[0] == MOST_SEEDS


def test_corrected_verdicts_keep_the_order_of_claims():
    gain = judge(by_seed([2.0, 2.0]), by_seed([1.0, 1.0]), 0.5).gain
    judged = [
        Judged(gain, "supported", 0.04, 1.0),
        Judged(gain, "contradicted", 0.001, 1.0),
        Judged(gain, "one seed: no verdict"),
        Judged(gain, "no effect of interest", 0.5, 0.01),
        Judged(gain, "inconclusive", 0.3, 0.3),
    ]
    assert corrected(judged) == [
        *("inconclusive", "contradicted", "one seed: no verdict"),
        *("no effect of interest", "inconclusive"),
    ]
