"""Tasks as heads learn them: labels, and the figures of a head's outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.regression import concordance_corrcoef

from linear_probe.features.frozen import Features
from linear_probe.heads.goals import AGES, Goal, Several, expected_age
from linear_probe.heads.meaning import Meaning, Part
from linear_probe.tasks.affect import AFFECT, Affect
from linear_probe.tasks.attributes import CLASSES, AttributePrediction, Attributes
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.labelled import LabelTask, Split
from linear_probe.tasks.task import Figure, Task, carries

T = TypeVar("T", bound=LabelTask)


class Tested(NamedTuple):
    """A head's outputs for the test rows of splits.

    Attributes:
        rows: of the splits; only their records matter.
        outputs: [M, outputs].
    """

    rows: Features
    splits: list[Split]
    outputs: Tensor

    @property
    def records(self) -> np.ndarray:
        """int [M], of the face set."""
        return np.concatenate([self.rows.records[split.test] for split in self.splits])


class HeadTask(ABC, Generic[T]):
    """A task as a head learns it.

    Args:
        task: the task.

    Attributes:
        labels: of all records, as the goal has them; those that the task leaves out have any.
    """

    of: ClassVar[type[LabelTask]]
    labels: Tensor

    def __init__(self, task: T) -> None:
        self.task: T = task

    @abstractmethod
    def meaning(self) -> Meaning:
        """The meaning of a head's outputs."""

    def goal(self) -> Goal:
        """The goal of a head."""
        return self.meaning().goal()

    @abstractmethod
    def validation(self, outputs: Tensor, labels: Tensor) -> dict[str, float]:
        """Figures of outputs [N, outputs] on validation images."""

    @abstractmethod
    def figures(self, tested: Tested, chosen: dict[str, Any], more: str) -> list[Figure]:
        """The figures of outputs for test rows.

        Args:
            chosen: hyper-parameters, for the records.
            more: to be added to their note.
        """


class HeadClasses(HeadTask[Classes]):
    """A class of each picture."""

    of = Classes

    def __init__(self, task: Classes) -> None:
        super().__init__(task)
        self.labels = torch.from_numpy(task.labels)

    def meaning(self) -> Meaning:
        name = {"category": "class"}.get(self.task.label, self.task.label)
        return Meaning((Part(name, tuple(self.task.class_names)),), several=False)

    def validation(self, outputs: Tensor, labels: Tensor) -> dict[str, float]:
        return {"accuracy": 100 * float((outputs.argmax(1) == labels).double().mean())}

    def figures(self, tested: Tested, chosen: dict[str, Any], more: str) -> list[Figure]:
        note = self.task.note(tested.splits, self.task.labels[tested.records]) + more
        chosen = {"hyperparameters": chosen}
        return self.task.main_figures(tested.records, tested.outputs, chosen, note)


class HeadAttributes(HeadTask[Attributes]):
    """Age, as the mean of `AGES` classes; gender; race."""

    of = Attributes

    def __init__(self, task: Attributes) -> None:
        super().__init__(task)
        columns = [torch.from_numpy(np.asarray(v, dtype=np.float32)) for v in task.labels.values()]
        self.labels = torch.stack(columns, 1)
        if "age" in task.labels:
            place = [*task.labels].index("age")
            self.labels[:, place] = self.labels[:, place].round().clamp(max=AGES - 1)

    def meaning(self) -> Meaning:
        names = self.task.faces.class_names
        parts = (
            Part(n, years=True) if n == "age" else Part(n, tuple(names[n]))
            for n in self.task.labels
        )
        return Meaning(tuple(parts), several=True)

    def _predicted(self, outputs: Tensor) -> dict[str, Tensor]:
        goal = self.goal()
        assert isinstance(goal, Several)
        parts = goal.parts(outputs)
        return {n: expected_age(part) if n == "age" else part for n, part in parts.items()}

    def validation(self, outputs: Tensor, labels: Tensor) -> dict[str, float]:
        found = {}
        columns = zip(self._predicted(outputs).items(), labels.unbind(1), strict=True)
        for (name, predicted), column in columns:
            if name in CLASSES:
                right = (predicted.argmax(1) == column).double()
                found[f"{name} accuracy"] = 100 * float(right.mean())
            else:
                found[f"MAE {name}"] = float((predicted - column).abs().mean())
        return found

    def figures(self, tested: Tested, chosen: dict[str, Any], more: str) -> list[Figure]:
        predicted = {
            n: AttributePrediction(t, {"hyperparameters": chosen})
            for n, t in self._predicted(tested.outputs).items()
        }
        note = self.task.note(tested.splits) + more
        return self.task.figures(tested.records, predicted, note)


class HeadAffect(HeadTask[Affect]):
    """Valence and arousal, and where the set has it the expression, which is learnt and not
    scored."""

    of = Affect

    def __init__(self, task: Affect) -> None:
        super().__init__(task)
        columns = [torch.from_numpy(task.targets)]
        self.expressions = 0
        if carries(task.faces, "expression"):
            self.expressions = len(task.faces.class_names["expression"])
            known = [record.labels.get("expression", -1) for record in task.faces.records]
            columns.insert(0, torch.tensor(known, dtype=torch.float32)[:, None])
        self.labels = torch.cat(columns, 1)

    def meaning(self) -> Meaning:
        parts = [Part(name) for name in AFFECT]
        if self.expressions:
            names = tuple(self.task.faces.class_names["expression"])
            parts.insert(0, Part("expression", names))
        return Meaning(tuple(parts), several=True)

    def validation(self, outputs: Tensor, labels: Tensor) -> dict[str, float]:
        agreement = concordance_corrcoef(outputs[:, -2:].float(), labels[:, -2:])
        return {f"CCC {n}": float(v) for n, v in zip(AFFECT, agreement, strict=True)}

    def figures(self, tested: Tested, chosen: dict[str, Any], more: str) -> list[Figure]:
        predicted = tested.outputs[:, -2:].numpy()
        figures = self.task.figures(tested.rows, tested.splits, predicted, chosen)
        return [replace(figure, note=figure.note + more) for figure in figures]


HEAD_TASKS: tuple[type[HeadTask[Any]], ...] = (HeadClasses, HeadAttributes, HeadAffect)


def head_task(kind: type[Task]) -> type[HeadTask[Any]] | None:
    """How heads learn this kind of task; None where they don't."""
    return next((one for one in HEAD_TASKS if issubclass(kind, one.of)), None)
