"""Classification of single pictures by a linear classifier, and the figures of such tasks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import recall_score
from torch import Tensor

from linear_probe.features.frozen import Features, Pictures
from linear_probe.probes.kinds import ClassProbe, class_probes
from linear_probe.probes.logistic import LogisticPredictor, LogisticProbe
from linear_probe.records.predictions import Predictions
from linear_probe.tasks.labelled import LabelTask, Split, check_classes
from linear_probe.tasks.splits import stratified_group_split
from linear_probe.tasks.task import Figure, percentage, rows_of


class Classes(LabelTask):
    """Accuracy and mean class recall of multinomial logistic regression, and kNN's accuracy.

    The classes are those of a user's own folders; see `Expression` for expressions. The label is
    the one that is required.
    """

    name = "classes"
    order = 8
    required_labels = ("category",)
    probe = "logistic regression"
    needs = "pictures in a folder for each class"
    baseline_side = 48
    validation_share = 0.1
    label: ClassVar[str] = "category"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        (cls.label,) = cls.required_labels

    def _prepare(self) -> None:
        self._split(self.required_labels)
        self.class_names = self.faces.class_names[self.label]
        self.labels = np.array([record.labels.get(self.label, -1) for record in self.faces.records])
        self._draw(self.labels)
        self.protocol = (
            "multinomial logistic regression on frozen features, standardised; L2 chosen by "
            f"accuracy on {self.validation_share:.0%} of the training part (stratified, copies of "
            "a picture and pictures of a person together), then fitted on all of it"
        )
        self.protocol += "".join(f"; {probe.name}: {probe.about}" for probe in class_probes())
        if self.folds is not None:
            self.protocol += (
                "; each fold is predicted by what the others teach, and figures are of all "
                "predictions together"
            )
        if any(self.faces.records[i].person is not None for i in self.indices):
            self.protocol += "; intervals by bootstrap over people"

    def _check(self, train: np.ndarray, test: np.ndarray) -> None:
        what = {"category": "class"}.get(self.label, self.label)
        check_classes(self.name, what, self.class_names, self.labels[train], self.labels[test])

    def _validation(self, train: np.ndarray, groups: np.ndarray) -> np.ndarray:
        return stratified_group_split(self.labels[train], groups, self.validation_share, self.seed)

    def fit(self, features: Features, rows: Split) -> LogisticPredictor:
        """The probe fitted on the training rows; sees neither features nor labels of others."""
        probe = LogisticProbe(device=self.device)
        values = features.values[torch.from_numpy(rows.train)]
        return probe.fit(values, self._targets(features, rows), rows.validation)

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        splits = self.splits(features, pictures)
        return self._figures(features, splits, [self.fit(features, rows) for rows in splits])

    @classmethod
    def score_together(
        cls, tasks: Sequence[Self], features: Features, pictures: Pictures
    ) -> list[list[Figure]]:
        """`score` of tasks that differ by seed; fits on the same training rows are one problem."""
        first = tasks[0]
        if len(tasks) == 1 or first.folds is not None:
            return super().score_together(tasks, features, pictures)
        rows = [task.rows(features, pictures) for task in tasks]
        if any(not np.array_equal(r.train, rows[0].train) for r in rows):
            return super().score_together(tasks, features, pictures)
        predictors = LogisticProbe(device=first.device).fit_splits(
            features.values[torch.from_numpy(rows[0].train)],
            torch.from_numpy(first.labels[features.records[rows[0].train]]),
            np.stack([r.validation for r in rows]),
        )
        return [
            task._figures(features, [part], [predictor])
            for task, part, predictor in zip(tasks, rows, predictors, strict=True)
        ]

    def strata(self) -> np.ndarray | None:
        return None if self.folds is not None else np.where(self.is_test, -1, self.labels)

    def tested(self) -> np.ndarray | None:
        return self.scored()

    def score_degraded(
        self, features: Features, pictures: Pictures, degraded: Iterable[Features]
    ) -> Iterator[list[Figure]]:
        splits = self.splits(features, pictures)
        predictors = [self.fit(features, rows) for rows in splits]
        records = self.tested_records(features, splits)
        note = self.note(splits, self.labels[records])
        for changed in degraded:
            logits = [
                self._logits(
                    predictor,
                    changed.values[torch.from_numpy(rows_of(changed, features.records[rows.test]))],
                )
                for predictor, rows in zip(predictors, splits, strict=True)
            ]
            yield self.main_figures(records, torch.cat(logits), how_chosen(*predictors), note)

    def _logits(self, predictor: LogisticPredictor, values: Tensor) -> Tensor:
        """[M, all classes]; -inf for those after the last that the probe knows."""
        logits = predictor(values)
        return F.pad(logits, (0, len(self.class_names) - logits.shape[1]), value=-torch.inf)

    def main_figures(
        self, records: np.ndarray, logits: Tensor, chosen: dict[str, Any], note: str
    ) -> list[Figure]:
        """Accuracy and mean class recall of test records, from their logits [M, all classes].

        Args:
            chosen: `how_chosen` of the probe that predicted, or nothing.
        """
        targets = self.labels[records]
        keys = [self.faces.records[i].key for i in records]
        predictions = class_predictions(keys, targets, logits, self.class_names)
        weights, sample = self.bootstrap(records)
        return class_figures(
            *(chosen, targets, predictions.predicted, weights, sample, note),
            predictions=predictions,
            originals=self.originals(records),
        )

    def _figures(
        self, features: Features, splits: list[Split], predictors: list[LogisticPredictor]
    ) -> list[Figure]:
        records = self.tested_records(features, splits)
        logits = torch.cat(
            [
                self._logits(predictor, features.values[torch.from_numpy(rows.test)])
                for predictor, rows in zip(predictors, splits, strict=True)
            ]
        )
        targets = self.labels[records]
        note = self.note(splits, targets)
        weights, sample = self.bootstrap(records)
        figures = self.main_figures(records, logits, how_chosen(*predictors), note)
        for probe in class_probes():
            predicted = np.concatenate([self._by(probe, features, rows) for rows in splits])
            figures += shares_of(
                f"{probe.name} accuracy",
                *(predicted == targets, weights, sample, self.originals(records)),
                hyperparameters=_of_folds(
                    [probe.chosen(self._targets(features, rows)) for rows in splits]
                ),
                note=note,
                probe=probe.name,
            )
        return figures

    def note(self, splits: Sequence[Split], targets: np.ndarray | None = None) -> str:
        """The note for figures of these splits and int [M] targets of test rows."""
        note = super().note(splits)
        present = np.unique(self.labels[self.indices] if targets is None else targets)
        absent = [name for i, name in enumerate(self.class_names) if i not in present]
        if absent:
            note += f"; no test picture of {', '.join(absent)}"
        return note

    def _by(self, probe: ClassProbe, features: Features, rows: Split) -> np.ndarray:
        train, test = (features.values[torch.from_numpy(part)] for part in (rows.train, rows.test))
        return probe.predict(train, self._targets(features, rows), test, self.device).numpy()

    def _targets(self, features: Features, rows: Split) -> Tensor:
        """The classes of the training rows, int64 [N]."""
        return torch.from_numpy(self.labels[features.records[rows.train]])


def _of_folds(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Hyper-parameters of all folds; those that differ as a list."""
    if all(value == values[0] for value in values):
        return values[0]
    return {name: [value[name] for value in values] for name in values[0]}


def class_predictions(
    keys: Sequence[str],
    targets: np.ndarray,
    logits: Tensor,
    classes: Sequence[str],
    groups: dict[str, list[str]] | None = None,
) -> Predictions:
    """The predictions of a classifier for N test rows, from its logits [N, K].

    Args:
        keys: of the pictures, N.
        targets: int [N].
        classes: names of all classes, by number; the probe may know fewer.
        groups: as in `Predictions`.
    """
    scores = torch.softmax(logits.double(), dim=1).cpu().numpy()
    # Classes without a training image come after the known ones: never predicted.
    scores = np.pad(scores, ((0, 0), (0, len(classes) - scores.shape[1])))
    predicted = logits.argmax(dim=1).cpu().numpy()
    return Predictions(
        *("classification", list(keys), targets, predicted, scores.astype(np.float32)),
        classes=list(classes),
        groups=groups or {},
    )


def class_figures(
    chosen: dict[str, Any],
    targets: np.ndarray,
    predicted: np.ndarray,
    weights: np.ndarray,
    sample: str,
    note: str,
    of: str = "",
    predictions: Predictions | None = None,
    originals: np.ndarray | None = None,
) -> list[Figure]:
    """Accuracy, and the mean of the recalls of those classes that the test part has.

    If some test rows have near-copies in the training part, the first figure is the accuracy
    without them: encoders may have been trained on those.

    Args:
        chosen: `how_chosen` of the probe that predicted, or nothing.
        targets: int [N].
        predicted: int [N].
        weights: [B, N], the bootstrap's draws.
        sample: as in `Record`.
        note: as in `Record`.
        of: the label, where a task has several such figures.
        predictions: those of each test row, kept with the accuracy.
        originals: bool [N], rows without a near-copy; None is all.
    """
    correct = (predicted == targets).astype(np.float32)
    present = np.unique(targets)
    is_class = (targets[:, None] == present).astype(np.float32)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # A draw may miss every picture of a class; its recall is then left out of the mean.
        warnings.simplefilter("ignore", RuntimeWarning)
        recalls = weights @ (is_class * correct[:, None]) / (weights @ is_class)
        mean_recalls = np.nanmean(recalls, axis=1)
    mean_recall = recall_score(targets, predicted, labels=present, average="macro", zero_division=0)
    more: dict[str, Any] = {**chosen, "note": note}
    accuracy = f"{of} accuracy".strip()
    *without_copies, whole = shares_of(accuracy, correct, weights, sample, originals, **more)
    recall_metric = f"{of} mean class recall".strip()
    return [
        *without_copies,
        replace(whole, predictions=predictions),
        percentage(recall_metric, mean_recall, mean_recalls, len(targets), sample, **more),
    ]


def shares_of(
    metric: str,
    correct: np.ndarray,
    weights: np.ndarray,
    sample: str,
    originals: np.ndarray | None,
    **more: Any,
) -> list[Figure]:
    """The share of correct test rows, last, and before it that of the rows without near-copies, if
    there are others.

    Args:
        correct: bool or float [N].
        weights, sample, originals: as in `class_figures`.
        more: other fields of the figures.
    """
    correct = correct.astype(np.float32)
    figures = []
    for name, which in scored_rows(metric, len(correct), originals).items():
        with np.errstate(invalid="ignore"):
            replicates = weights[:, which] @ correct[which] / weights[:, which].sum(axis=1)
        share, count = float(correct[which].mean(dtype=np.float64)), int(which.sum())
        figures.append(percentage(name, share, replicates, count, sample, **more))
    return figures


def scored_rows(metric: str, count: int, originals: np.ndarray | None) -> dict[str, np.ndarray]:
    """The test rows, bool [count], that a metric is of, and before them those without near-copies,
    if there are others; by the metric's name."""
    rows = {metric: np.ones(count, bool)}
    if originals is None or originals.all() or not originals.any():
        return rows
    return {f"{metric}, no copies": originals, **rows}


def how_chosen(*predictors: LogisticPredictor) -> dict[str, Any]:
    """Fields of a figure: the chosen L2 and its validation accuracy; of all folds, if several."""
    on_validation = [100 * p.validation_accuracy[p.l2] for p in predictors]
    values = [p.l2 for p in predictors]
    return {
        "hyperparameters": {
            "l2": values[0] if len(values) == 1 else values,
            "validation": {"accuracy": round(float(np.mean(on_validation)), 4)},
        },
        "at_grid_edge": any(p.at_grid_edge for p in predictors),
    }
