"""Tasks: which labelled faces, which split, which target, which metric, by whose protocol."""

from __future__ import annotations

from linear_probe.tasks.attributes import Attributes
from linear_probe.tasks.expression import Expression
from linear_probe.tasks.identity import Identity
from linear_probe.tasks.pose import Pose
from linear_probe.tasks.task import Figure, MissingData, Task, TaskKind

TASKS: dict[str, type[Task]] = {
    "expression": Expression,
    "pose": Pose,
    "identity": Identity,
    "attributes": Attributes,
}

USUAL_TASKS = ("expression", "pose", "identity")
"""Those that a run scores unless it is told which."""

__all__ = [
    "TASKS",
    "USUAL_TASKS",
    "Attributes",
    "Expression",
    "Figure",
    "Identity",
    "MissingData",
    "Pose",
    "Task",
    "TaskKind",
]
