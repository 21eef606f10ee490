"""Numbers of single images by ridge regression: the base of head pose, valence and arousal."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit

from linear_probe.features.frozen import Features, Pictures
from linear_probe.probes.linear import LinearPredictor, how_chosen
from linear_probe.probes.ridge import fit_ridge
from linear_probe.records.measured import Figure
from linear_probe.records.predictions import Predictions
from linear_probe.tasks.labelled import LabelTask, Split
from linear_probe.tasks.task import Reference
from ssl_faces import InputError


class Metric(NamedTuple):
    """A figure of one target.

    Attributes:
        name, unit, higher_is_better: as in `Figure`.
        values: float [1 + B], the figure, then its bootstrap replicates.
    """

    name: str
    unit: str
    higher_is_better: bool
    values: np.ndarray


class Regression(LabelTask):
    """Ridge regression of several targets at once.

    Attributes:
        targets: float32 [records, T]; NaN where a record has none.
    """

    probe = "ridge regression"
    baseline_side = 32
    validation_share = 0.2
    names: ClassVar[tuple[str, ...]]
    """The targets."""
    main: ClassVar[str] = "MAE"
    """The metric with which each target's predictions are kept."""

    targets: np.ndarray

    @abstractmethod
    def _target(self, labels: Mapping[str, Any]) -> np.ndarray:
        """The targets [T] of a record with these labels."""

    def _prepare(self) -> None:
        self._split(self.required_labels)
        self.targets = np.full((len(self.faces), len(self.names)), np.nan, dtype=np.float32)
        for i in self.indices:
            self.targets[i] = self._target(self.faces.records[i].labels)

    def _ridge(self, truth: str, over: str = "people", more: str = "") -> str:
        """The protocol of a task that is split by person.

        Args:
            truth: what the labels are.
            over: what the bootstrap draws.
            more: about the metric.
        """
        return (
            f"{truth}; ridge regression on frozen features, standardised; L2 chosen by mean "
            f"absolute error on {self.validation_share:.0%} of the training people, then fitted on "
            f"all of them{more}; intervals by bootstrap over {over}"
        )

    def _metrics(
        self, targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray
    ) -> list[Metric]:
        """Metrics of all targets [M, T]; of angles the mean absolute error, in degrees. `weights`:
        [1 + B, M], first each row once, then the bootstrap's draws."""
        errors = weights @ np.abs(predicted - targets) / weights.sum(axis=1, keepdims=True)
        return [
            Metric(f"MAE {name}", "degrees", False, of)
            for name, of in zip(self.names, errors.T, strict=True)
        ]

    def _check(self, train: np.ndarray, test: np.ndarray) -> None:
        people = {self.faces.records[i].person or f"\0{i}" for i in train}
        if len(people) < 2:
            raise InputError(
                f"{self.name}: {self.faces.name} has pictures of {len(people)} people to train "
                f"on and {len(test)} pictures to score on; give at least 2 people and 1 picture"
            )
        self._check_varied(train, "training")

    def _check_varied(self, records: np.ndarray, side: str) -> None:
        targets = self.targets[records]
        for name, values in zip(self.names, targets.T, strict=True):
            if np.ptp(values) == 0:
                raise InputError(
                    f"{self.name}: {name} is {values[0]:g} in all {len(records)} {side} pictures "
                    f"of {self.faces.title}, which can be neither learnt nor scored; give others"
                )

    def _validation(self, train: np.ndarray, groups: np.ndarray) -> np.ndarray:
        splitter = GroupShuffleSplit(1, test_size=self.validation_share, random_state=self.seed)
        _, chosen = next(splitter.split(train, groups=groups))
        return np.isin(np.arange(len(train)), chosen)

    def fit(self, features: Features, rows: Split) -> LinearPredictor:
        """The probe fitted on the training rows; sees neither features nor labels of others."""
        targets = torch.from_numpy(self.targets[features.records[rows.train]])
        values = features.values[torch.from_numpy(rows.train)]
        return fit_ridge(values, targets, rows.validation, device=self.device)

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        splits = self.splits(features, pictures)
        predictors = [self.fit(features, rows) for rows in splits]
        predicted = [
            predictor(features.values[torch.from_numpy(rows.test)]).cpu().numpy()
            for predictor, rows in zip(predictors, splits, strict=True)
        ]
        chosen = how_chosen(predictors, "MAE", 1)
        return self.figures(features, splits, np.concatenate(predicted), **chosen)

    def strata(self) -> np.ndarray | None:
        return None if self.folds is not None else np.where(self.is_test, -1, 0)

    def references(self, features: Features, pictures: Pictures) -> list[Reference]:
        """The figures of predicting the training part's mean for every image."""
        splits = self.splits(features, pictures)
        predicted = []
        for rows in splits:
            mean = self.targets[features.records[rows.train]].mean(axis=0)
            predicted.append(np.broadcast_to(mean, (len(rows.test), len(self.names))))
        figures = self.figures(features, splits, np.concatenate(predicted))
        return [Reference("predict the mean", "none", figures)]

    def figures(
        self, features: Features, splits: list[Split], predicted: np.ndarray, **chosen: Any
    ) -> list[Figure]:
        """The figures of predictions float [M, T] for the test rows of these splits; `chosen` as of
        `how_chosen`."""
        records = self.tested_records(features, splits)
        sample = self.sample(records)
        once = np.ones((1, len(records)), dtype=sample.weights.dtype)
        note = self.note(splits)
        people = {self.faces.records[i].person for i in records} - {None}
        if people:
            note += f"; scored on {len(people)} people"
        weights = np.concatenate([once, sample.weights])
        return [
            Figure(
                *(metric.name, float(metric.values[0]), metric.unit, metric.higher_is_better),
                *(len(records), sample.name, metric.values[1:]),
                note=note,
                predictions=self._predictions(metric.name, records, predicted),
                **chosen,
            )
            for metric in self._metrics(self.targets[records], predicted, weights)
        ]

    def _predictions(
        self, metric: str, records: np.ndarray, predicted: np.ndarray
    ) -> Predictions | None:
        """The predictions of each test record, with the first metric of each target."""
        named = [i for i, name in enumerate(self.names) if metric == f"{self.main} {name}"]
        if not named:
            return None
        return Predictions(
            "regression",
            [self.faces.records[i].key for i in records],
            self.targets[records, named[0]],
            np.ascontiguousarray(predicted[:, named[0]], dtype=np.float32),
            np.zeros((len(records), 0)),
        )
