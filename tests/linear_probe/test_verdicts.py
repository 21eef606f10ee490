"""Verdicts on claims: what they say of gains that are known."""

import numpy as np
import pytest
from scipy.stats import norm, t

from linear_probe.stats.over_seeds import Estimate, Spread
from linear_probe.stats.verdicts import MOST_SEEDS, Judged, corrected, judge, needed

ROWS = np.random.default_rng(0).standard_normal(1000)


def scored(values, noise=0.0):
    draws = np.array(values)[:, None] + noise * np.ones(1000)
    return Estimate(np.array(values), draws, tuple(range(len(values))))


def test_claims_without_an_effect_are_rarely_called_one():
    """At most 5 % of them are supported or contradicted, and few after Holm's correction."""
    rng = np.random.default_rng(0)
    judged = [
        judge(
            scored(list(rng.normal(50, 1, 4)), rng.normal(0.5, 1) + ROWS),
            scored(list(rng.normal(50, 1, 4))),
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
    gain = judge(scored([2.0, 2.0]), scored([1.0, 1.0]), 0.5).gain
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
