"""Work side by side on a CPU, each piece in one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


def each(function: Callable[[_Item], _Found], items: Iterable[_Item], workers: int) -> list[_Found]:
    """`function` of every item, in up to `workers` threads, in which torch uses no more of its own.

    Sharing each of thousands of small operations out among torch's threads makes them wait for
    each other every time, and crawls where cores are busy.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)  # the pool's threads have changed it for threads to come
