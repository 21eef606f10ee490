"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(is_true: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until it is true; fails if that takes longer."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)
