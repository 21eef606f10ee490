"""The conditions that figures are measured under, in words."""

from __future__ import annotations

from typing import Any

LABELS = "labels"
"""The factor of `condition` if only a share of the training labels was used."""


def condition_in_words(condition: dict[str, Any]) -> str:
    return f"{condition['factor']} {condition['level']:g} {condition['unit']}".strip()


def condition_note(condition: dict[str, Any]) -> str:
    """The note of figures under a condition."""
    if condition["factor"] == LABELS:
        return f"fitted with {condition['level']:g} % of the training labels, drawn by class"
    return f"test images degraded ({condition_in_words(condition)}), training images not"
