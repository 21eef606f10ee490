"""Papers' protocols by name: how others measured, so that a figure can stand beside theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from linear_probe.protocols.facecycle import facecycle_tasks
from linear_probe.tasks import Task

PROTOCOLS: dict[str, Callable[[int], Mapping[str, type[Task]]]] = {"facecycle": facecycle_tasks}
"""By name, what makes the tasks of a protocol that trains for so many epochs."""
