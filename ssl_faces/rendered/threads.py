"""Parallel work on a CPU, each item in one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def each(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int
) -> list[_Result]:
    """`function` of every item, in up to `workers` threads, each with one torch thread.

    With several torch threads, thousands of small operations wait for each other, and are very slow
    on busy cores.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)  # the pool has changed the default of new threads
