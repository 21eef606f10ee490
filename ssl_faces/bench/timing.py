"""Timing of candidates in turns, since machines are noisy and drift."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

Seconds = dict[str, list[float]]


def processor_side_by_side(
    candidates: Mapping[str, Callable[[], object]], rounds: int = 5
) -> Seconds:
    """CPU seconds of all threads of each call of each candidate, after one unmeasured round.

    Every round calls each candidate once, so that other load on the machine affects all alike.
    """
    seconds: Seconds = {name: [] for name in candidates}
    for _ in range(1 + rounds):
        for name, call in candidates.items():
            before = time.process_time()
            call()
            seconds[name].append(time.process_time() - before)
    return {name: values[1:] for name, values in seconds.items()}


def ratio(seconds: Seconds, slow: str, fast: str) -> float:
    """Speed-up of `fast` over `slow`: the median over rounds of the ratio of seconds."""
    return median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))
