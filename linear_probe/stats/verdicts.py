"""Verdicts on claims: by the interval of a gain, and by the smallest effect of interest.

A gain over several seeds, with its 95 % interval (`over_seeds`), is

- of no interest, if the interval lies within the smallest effect of interest on both sides of 0
  (two one-sided tests: Schuirmann, J. Pharmacokin. Biopharm. 15, 1987; Lakens, SPPS 8(4), 2017);
- else supported or contradicted, if the interval lies above or below 0;
- else inconclusive: the interval is too wide.

A claim that an idea costs at most a margin is supported or contradicted if the interval lies above
or below minus the margin. One seed gives no verdict: how seeds vary is not known then.

Of many claims some are found true by chance. Holm's correction bounds the probability of any such
verdict by 5 % among all claims of a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from linear_probe.stats.over_seeds import Estimate, Gap, Spread, gap, holm, spread_of_gap

Verdict = Literal[
    "supported",
    "no effect of interest",
    "inconclusive",
    "contradicted",
    "one seed: no verdict",
    "no data",
    "not run",
]

LEVEL = 0.05
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Judged:
    """The verdict on a gain.

    Attributes:
        gain: with its 95 % interval.
        verdict: by the interval.
        p: two-sided p-value of no gain (or of a loss of just the margin); below 0.05 the verdict
            is `supported` or `contradicted`; None with one seed.
        p_effect: twice the p-value of an effect of at least the smallest of interest; below 0.05
            the verdict is `no effect of interest`; None with one seed, or a margin.
        needed: how many seeds, and how many times as many test rows, would settle an
            inconclusive claim; None if it is settled, or with one seed.
    """

    gain: Gap
    verdict: Verdict
    p: float | None = None
    p_effect: float | None = None
    needed: tuple[int, float] | None = None


def judge(
    better: Estimate, worse: Estimate, smallest: float, at_most_worse: float | None = None
) -> Judged:
    """The verdict on the claim that one side is better, with higher values for better ones.

    Args:
        smallest: the smallest effect of interest, above 0.
        at_most_worse: the claim is that `better` is worse by no more than this; it replaces
            `smallest`.
    """
    gain = gap(better, worse)
    if min(len(better.values), len(worse.values)) < 2:
        return Judged(gain, "one seed: no verdict")
    spread = spread_of_gap(better, worse)
    least = 0.0 if at_most_worse is None else -at_most_worse
    effect = smallest if at_most_worse is None else at_most_worse
    p, p_effect = spread.p(least), None
    if at_most_worse is None:
        p_effect = 2 * max(spread.below(-smallest), spread.above(smallest))
    if p_effect is not None and -smallest < gain.low and gain.high < smallest:
        return Judged(gain, "no effect of interest", p, p_effect)
    if gain.low > least or gain.high < least:
        return Judged(gain, "supported" if gain.low > least else "contradicted", p, p_effect)
    seeds = min(len(better.values), len(worse.values))
    return Judged(gain, "inconclusive", p, p_effect, needed(spread, seeds, effect))


def needed(spread: Spread, seeds: int, effect: float) -> tuple[int, float]:
    """How many seeds, and how many times as many test rows, make the interval narrow enough.

    An interval of half-width h <= effect / 2 settles a claim whatever its gain: if 0 is in it, it
    lies within the smallest effect. (A margin is settled unless the gain is within h of it.) With S
    seeds and m times as many test rows

        h² = 1.96² v / m + t² s² / S,

    where v is the variance of the gain over test rows, s² that of the gain over seeds, and t the
    97.5 % quantile of Student's t with S - 1 degrees of freedom. m is 1 if the first term is at
    most half of (effect / 2)², else it makes it that half; S is the smallest that does for the
    rest. Of more than `MOST_SEEDS` it is that number.
    """
    allowed = (effect / 2) ** 2
    rows = norm.ppf(0.975) ** 2 * float(np.nanvar(spread.rows))
    times = max(1.0, rows / (allowed / 2))
    counts = np.arange(2, MOST_SEEDS)
    of_seeds = student.ppf(0.975, counts - 1) ** 2 * spread.variance * seeds / counts
    enough = counts[of_seeds <= allowed - rows / times]
    return (int(enough[0]) if len(enough) else MOST_SEEDS), times


def corrected(judged: Sequence[Judged]) -> list[Verdict]:
    """The verdicts after Holm's correction, in the same order: those that don't survive it are
    inconclusive. Verdicts of an effect, and of no effect of interest, are a family each."""
    verdicts: list[Verdict] = [claim.verdict for claim in judged]
    for of, kept in (
        ("p", ("supported", "contradicted")),
        ("p_effect", ("no effect of interest",)),
    ):
        tested = [i for i, claim in enumerate(judged) if getattr(claim, of) is not None]
        for i, p in zip(tested, holm([getattr(judged[i], of) for i in tested]), strict=True):
            if judged[i].verdict in kept and p >= LEVEL:
                verdicts[i] = "inconclusive"
    return verdicts
