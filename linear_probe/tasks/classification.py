"""Classification of single images by a linear classifier, and the figures of such tasks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import recall_score
from torch import Tensor

from linear_probe.features.frozen import Features, Pictures
from linear_probe.probes.kinds import class_probes
from linear_probe.probes.linear import LinearPredictor, how_chosen
from linear_probe.probes.logistic import fit_logistic, fit_splits
from linear_probe.records.measured import Figure
from linear_probe.records.predictions import Predictions
from linear_probe.tasks.labelled import LabelTask, Split, check_classes
from linear_probe.tasks.sample import Sample
from linear_probe.tasks.splits import stratified_group_split
from linear_probe.tasks.task import rows_of


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

    @property
    def label_name(self) -> str:
        """The label in words."""
        return {"category": "class"}.get(self.label, self.label)

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
        labels = self.labels[train], self.labels[test]
        check_classes(self.name, self.label_name, self.class_names, *labels)

    def _validation(self, train: np.ndarray, groups: np.ndarray) -> np.ndarray:
        return stratified_group_split(self.labels[train], groups, self.validation_share, self.seed)

    def fit(self, features: Features, rows: Split) -> LinearPredictor:
        """The probe fitted on the training rows; sees neither features nor labels of others."""
        values, targets = self._training(features, rows)
        return fit_logistic(values, targets, rows.validation, device=self.device)

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
        validations = np.stack([r.validation for r in rows])
        training = first._training(features, rows[0])
        predictors = fit_splits(*training, validations, device=first.device)
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
            places = [rows_of(changed, features.records[rows.test]) for rows in splits]
            logits = self._logits(predictors, changed, places)
            yield self.main_figures(records, logits, how_chosen(predictors), note)

    def _logits(
        self,
        predictors: Sequence[Callable[[Tensor], Tensor]],
        features: Features,
        rows: Sequence[np.ndarray],
    ) -> Tensor:
        """[M, all classes] of each predictor's rows; -inf after the last class that it knows."""
        logits = [
            predictor(features.values[torch.from_numpy(part)])
            for predictor, part in zip(predictors, rows, strict=True)
        ]
        count = len(self.class_names)
        return torch.cat([F.pad(x, (0, count - x.shape[1]), value=-torch.inf) for x in logits])

    def main_figures(
        self, records: np.ndarray, logits: Tensor, chosen: dict[str, Any], note: str
    ) -> list[Figure]:
        """Accuracy and mean class recall of test records, from their logits [M, all classes].
        `chosen`: `how_chosen` of the probe that predicted, or nothing."""
        sample = self.sample(records)
        predictions = class_predictions(sample.keys, self.labels[records], logits, self.class_names)
        return class_figures(sample, predictions, chosen, note, originals=self.originals(records))

    def _figures(
        self, features: Features, splits: list[Split], predictors: list[LinearPredictor]
    ) -> list[Figure]:
        records = self.tested_records(features, splits)
        logits = self._logits(predictors, features, [rows.test for rows in splits])
        targets = self.labels[records]
        note = self.note(splits, targets)
        figures = self.main_figures(records, logits, how_chosen(predictors), note)
        training = [self._training(features, rows) for rows in splits]
        tested = [features.values[torch.from_numpy(rows.test)] for rows in splits]
        for probe in class_probes():
            predicted = np.concatenate(
                [
                    probe.predict(*known, rows_asked, self.device).numpy()
                    for known, rows_asked in zip(training, tested, strict=True)
                ]
            )
            figures += shares_of(
                f"{probe.name} accuracy",
                *(predicted == targets, self.sample(records), self.originals(records)),
                hyperparameters=_of_folds([probe.chosen(known) for _, known in training]),
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

    def _training(self, features: Features, rows: Split) -> tuple[Tensor, Tensor]:
        """Features [N, D] and classes int64 [N] of the training rows."""
        labels = self.labels[features.records[rows.train]]
        return features.values[torch.from_numpy(rows.train)], torch.from_numpy(labels)


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
    """The predictions of a classifier for N test rows with these keys, from its logits [N, K].

    Args:
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
    sample: Sample,
    predictions: Predictions,
    chosen: dict[str, Any],
    note: str,
    of: str = "",
    originals: np.ndarray | None = None,
) -> list[Figure]:
    """Accuracy, and the mean of the recalls of those classes that the test part has.

    If some test rows have near-copies in the training part, the first figure is the accuracy
    without them: encoders may have been trained on those.

    Args:
        predictions: of the sample's rows, kept with the accuracy.
        chosen: `how_chosen` of the probe that predicted, or nothing.
        of: the label, where a task has several such figures.
        originals: bool [N], rows without a near-copy; None is all.
    """
    targets, weights = predictions.targets, sample.weights
    correct = (predictions.predicted == targets).astype(np.float32)
    present = np.unique(targets)
    is_class = (targets[:, None] == present).astype(np.float32)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # A draw may miss every image of a class; its recall is then left out of the mean.
        warnings.simplefilter("ignore", RuntimeWarning)
        recalls = weights @ (is_class * correct[:, None]) / (weights @ is_class)
        mean_recalls = np.nanmean(recalls, axis=1)
    mean_recall = recall_score(
        targets, predictions.predicted, labels=present, average="macro", zero_division=0
    )
    more: dict[str, Any] = {**chosen, "note": note}
    *without_copies, whole = shares_of(f"{of} accuracy".strip(), correct, sample, originals, **more)
    return [
        *without_copies,
        replace(whole, predictions=predictions),
        sample.percentage(f"{of} mean class recall".strip(), mean_recall, mean_recalls, **more),
    ]


def shares_of(
    metric: str, correct: np.ndarray, sample: Sample, originals: np.ndarray | None, **more: Any
) -> list[Figure]:
    """The share of correct test rows, bool or float [N], last, and before it that of the rows
    without near-copies, if there are others; `originals` as in `class_figures`."""
    correct = correct.astype(np.float32)
    figures = []
    for name, which in scored_rows(metric, len(correct), originals).items():
        weights, share = sample.weights[:, which], correct[which].mean(dtype=np.float64)
        with np.errstate(invalid="ignore"):
            replicates = weights @ correct[which] / weights.sum(axis=1)
        figures.append(sample.percentage(name, share, replicates, n=int(which.sum()), **more))
    return figures


def scored_rows(metric: str, count: int, originals: np.ndarray | None) -> dict[str, np.ndarray]:
    """The test rows, bool [count], that a metric is of, and before them those without near-copies,
    if there are others; by the metric's name."""
    rows = {metric: np.ones(count, bool)}
    if originals is None or originals.all() or not originals.any():
        return rows
    return {f"{metric}, no copies": originals, **rows}
