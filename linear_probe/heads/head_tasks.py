"""Tasks as heads learn them: labels, and the figures of a head's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.regression import concordance_corrcoef

from linear_probe.features.frozen import Features, Pictures
from linear_probe.heads.fit import in_batches
from linear_probe.heads.goals import AGES, Goal, Meaning, Part
from linear_probe.heads.head import Head
from linear_probe.records.measured import Figure
from linear_probe.tasks.affect import AFFECT, Affect
from linear_probe.tasks.attributes import AttributePrediction, Attributes
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.exogenous import Exogenous
from linear_probe.tasks.labelled import LabelTask, Split
from linear_probe.tasks.sample import Sample
from linear_probe.tasks.task import Task, carries

PROBE = "against the true pictures"
READOUT = "exogenous readout"


def measure_figures(
    head: Head, images: Tensor, keys: Sequence[str], replicates: int, bfloat16: bool = False
) -> list[Figure]:
    """The mean of each of the head's `measures` of test images uint8 [N, 3, R, R], with intervals
    by bootstrap over images; `bfloat16` as in `head_outputs`."""
    if type(head).measures is Head.measures:
        return []
    parts = in_batches(head, images, head.measures, bfloat16)
    sample = Sample(keys, replicates)
    more: dict[str, Any] = {"factor": 1, "note": f"{len(images):,} pictures", "probe": PROBE}
    figures = []
    for name, (_, unit, higher_is_better) in parts[0].items():
        values = torch.cat([part[name].values for part in parts]).double().cpu().numpy()
        figures.append(sample.mean(name, values, unit, higher_is_better, **more))
    return figures


def has_readout(task: LabelTask) -> bool:
    """Whether its pictures have the label `exogenous`, beside what the task is about."""
    return Exogenous.serves(task.faces) and not isinstance(task, Exogenous) and task.folds is None


def exogenous_readout(task: LabelTask, records: np.ndarray, representation: Tensor) -> Figure:
    """Accuracy of a linear probe of the label `exogenous`, fitted on the training images, on the
    test images: the lower the better.

    Args:
        task: one that `has_readout`.
        records: int64 [N], of the task's face set.
        representation: float32 [N, D], what a head makes of them.
    """
    probe = Exogenous([task.faces], task.seed, task.replicates, task.device, task.max_train)
    pictures = Pictures(task.faces, task.indices)
    figures = probe.score(Features(representation, records), pictures)
    accuracy = next(figure for figure in figures if figure.metric == "accuracy")
    note = f"by logistic regression on the representation; {accuracy.note}"
    return replace(accuracy, metric=READOUT, higher_is_better=False, note=note, predictions=None)


@dataclass(frozen=True)
class HeadTask:
    """A task as a head learns it.

    Attributes:
        task: the task.
        labels: of all records, as the goal has them; those that the task leaves out have any.
        meaning: of a head's outputs.
    """

    task: LabelTask
    labels: Tensor
    meaning: Meaning

    def goal(self) -> Goal:
        return self.meaning.goal()

    def validation(self, outputs: Tensor, labels: Tensor) -> dict[str, float]:
        """Figures of outputs [N, outputs] on validation images."""
        figures: dict[str, float] = {}
        columns = [labels] if labels.ndim == 1 else labels.unbind(1)
        for (part, of), column in zip(self.meaning.split(outputs), columns, strict=True):
            if part.years:
                figures[f"MAE {part.name}"] = float((of[:, 0] - column).abs().mean())
            elif not part.classes:
                agreement = concordance_corrcoef(of[:, 0].float(), column)
                figures[f"CCC {part.name}"] = float(agreement)
            elif not isinstance(self.task, Affect):  # whose expression is learned and not scored
                metric = f"{part.name} accuracy" if self.meaning.several else "accuracy"
                figures[metric] = 100 * float((of.argmax(1) == column).double().mean())
        return figures

    def figures(
        self,
        rows: Features,
        splits: list[Split],
        outputs: Tensor,
        chosen: dict[str, Any],
        more: str,
    ) -> list[Figure]:
        """The figures of outputs [M, outputs] for the test rows of splits.

        Args:
            rows: of the splits; only their records matter.
            chosen: hyper-parameters, for the records.
            more: to be added to their note.
        """
        task, records = self.task, self.task.tested_records(rows, splits)
        if isinstance(task, Classes):
            note = task.note(splits, task.labels[records]) + more
            return task.main_figures(records, outputs, {"hyperparameters": chosen}, note)
        if isinstance(task, Attributes):
            predicted = {
                part.name: AttributePrediction(
                    of[:, 0] if part.years else of, {"hyperparameters": chosen}
                )
                for part, of in self.meaning.split(outputs)
            }
            return task.figures(records, predicted, task.note(splits) + more)
        assert isinstance(task, Affect)
        figures = task.figures(rows, splits, outputs[:, -2:].numpy(), hyperparameters=chosen)
        return [replace(figure, note=figure.note + more) for figure in figures]


def learnable(kind: type[Task] | None) -> bool:
    """Whether heads learn tasks of this kind."""
    return kind is not None and issubclass(kind, Classes | Attributes | Affect)


def head_task(task: LabelTask) -> HeadTask:
    """A `learnable` task as heads learn it: a class; age (as the mean of `AGES` classes), gender
    and race; or valence and arousal with the expression, where the set has it."""
    names = task.faces.class_names
    if isinstance(task, Classes):
        part = Part(task.label_name, tuple(task.class_names))
        return HeadTask(task, torch.from_numpy(task.labels), Meaning((part,), several=False))
    if isinstance(task, Attributes):
        parts = [
            Part(n, years=True) if n == "age" else Part(n, tuple(names[n])) for n in task.labels
        ]
        columns = [torch.from_numpy(np.asarray(v, np.float32)) for v in task.labels.values()]
        columns = [
            column.round().clamp(max=AGES - 1) if part.years else column
            for part, column in zip(parts, columns, strict=True)
        ]
    else:
        assert isinstance(task, Affect)
        parts, columns = (
            [Part(name) for name in AFFECT],
            [*torch.from_numpy(task.targets).unbind(1)],
        )
        if carries(task.faces, "expression"):
            known = [record.labels.get("expression", -1) for record in task.faces.records]
            parts.insert(0, Part("expression", tuple(names["expression"])))
            columns.insert(0, torch.tensor(known, dtype=torch.float32))
    return HeadTask(task, torch.stack(columns, 1), Meaning(tuple(parts), several=True))
