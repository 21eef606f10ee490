"""Timing side by side: machines are noisy and drift, so that candidates take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

Seconds = dict[str, list[float]]


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], rounds: int = 5, warmup: int = 1
) -> Seconds:
    """Seconds of each call of each candidate, `rounds` of them after `warmup` that don't count.

    In every round each candidate is called once, in turn, so that what else happens on the machine
    falls on all of them alike. On a GPU a call's time ends when its work has.
    """
    for _ in range(warmup):
        for call in candidates.values():
            call()
    seconds: Seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            _finish()
            started = time.perf_counter()
            call()
            _finish()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def processor_side_by_side(
    candidates: Mapping[str, Callable[[], object]], rounds: int = 5, warmup: int = 1
) -> Seconds:
    """As `side_by_side`, in the processor's seconds, all threads together: what other programs
    take, and waiting for them, doesn't count."""
    used: Seconds = {name: [] for name in candidates}

    def counting(name: str, call: Callable[[], object]) -> Callable[[], object]:
        def counted() -> None:
            before = time.process_time()
            call()
            used[name].append(time.process_time() - before)

        return counted

    side_by_side({name: counting(name, call) for name, call in candidates.items()}, rounds, warmup)
    return {name: taken[warmup:] for name, taken in used.items()}


def ratio(seconds: Seconds, slow: str, fast: str) -> float:
    """How many times faster `fast` is than `slow`: the median over rounds of their ratio."""
    return median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
