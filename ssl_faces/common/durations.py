"""Durations in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Such as `2 h 05 min`; at least a minute."""
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
