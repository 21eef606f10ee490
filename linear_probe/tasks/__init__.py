"""Tasks: which labelled faces, which split, which target, which metric, by whose protocol."""

from __future__ import annotations

from linear_probe.tasks.affect import Affect
from linear_probe.tasks.attributes import Attributes
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.exogenous import Exogenous
from linear_probe.tasks.expression import Expression
from linear_probe.tasks.identification import Identification
from linear_probe.tasks.identity import Identity
from linear_probe.tasks.landmarks import Landmarks
from linear_probe.tasks.light import Light
from linear_probe.tasks.pose import Pose
from linear_probe.tasks.task import Figure, MissingData, Task, Tasks

TASKS = Tasks()
"""By name; each file of this folder may add one."""

USUAL_TASKS = ("expression", "pose", "identity")
"""Those that a run scores by default, and names where it can't."""

__all__ = [
    "TASKS",
    "USUAL_TASKS",
    "Affect",
    "Attributes",
    "Classes",
    "Exogenous",
    "Expression",
    "Figure",
    "Identification",
    "Identity",
    "Landmarks",
    "Light",
    "MissingData",
    "Pose",
    "Task",
]
