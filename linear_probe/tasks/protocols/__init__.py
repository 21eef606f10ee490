"""Papers' protocols by name: how others measured, so that a figure can stand beside theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from linear_probe.tasks import Task
from linear_probe.tasks.protocols.facecycle import facecycle_tasks

PROTOCOLS: dict[str, Callable[[int], Mapping[str, type[Task]]]] = {"facecycle": facecycle_tasks}
"""By name, what makes the tasks of a protocol that trains for so many epochs."""
