"""Timing of candidates in turns, since machines are noisy and drift."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

Seconds = dict[str, list[float]]


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], rounds: int = 5, warmup: int = 1
) -> Seconds:
    """Seconds of each call of each candidate, for `rounds` rounds after `warmup` unmeasured ones.

    Every round calls each candidate once, so that other load on the machine affects all alike. On
    a GPU a call ends when its kernels have finished.
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
    """As `side_by_side`, but CPU seconds of all threads: other programs' time is not counted."""
    used: Seconds = {name: [] for name in candidates}

    def counting(name: str, call: Callable[[], object]) -> Callable[[], object]:
        def counted() -> None:
            before = time.process_time()
            call()
            used[name].append(time.process_time() - before)

        return counted

    side_by_side({name: counting(name, call) for name, call in candidates.items()}, rounds, warmup)
    return {name: values[warmup:] for name, values in used.items()}


def ratio(seconds: Seconds, slow: str, fast: str) -> float:
    """Speed-up of `fast` over `slow`: the median over rounds of the ratio of seconds."""
    return median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
