"""Expression: FER-2013 `Training` to `PublicTest`, seven classes, a linear classifier.

Source of the data and the split: Goodfellow et al., "Challenges in Representation Learning",
ICML 2013 workshop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from linear_probe.features import Features, Pictures
from linear_probe.intervals import row_weights
from linear_probe.near_copies import SIMILAR, has_near_copy
from linear_probe.probes.knn import NEIGHBOURS, knn_classes
from linear_probe.probes.logistic import LogisticPredictor, LogisticProbe
from linear_probe.splits import stratified_group_split
from linear_probe.tasks.classification import (
    class_figures,
    class_predictions,
    how_chosen,
    untaught_note,
)
from linear_probe.tasks.task import (
    Figure,
    MissingData,
    Task,
    find,
    in_test_part,
    percentage,
    rows_of,
    sample_of,
)
from ssl_faces import InputError
from ssl_faces.data import EXPRESSIONS, FaceSet

VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class ExpressionRows:
    """Rows of the features by what they are used for.

    Attributes:
        train: int [N], rows to fit on.
        test: int [M], rows to score on.
        validation: bool [N], which of `train` choose the L2.
        copies: training pictures left out because a test picture is the same, byte for byte.
    """

    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray
    copies: int


class Expression(Task):
    """Accuracy and mean class recall of multinomial logistic regression, and kNN's accuracy."""

    name = "expression"
    probe = "logistic regression"
    baseline_side = 48

    def _choose(self, face_sets: Sequence[FaceSet]) -> None:
        faces = find(face_sets, ["fer2013", "rendered"])
        if faces is None:
            raise MissingData("expression needs FER-2013, which is not there")
        self.faces = faces
        self._found: dict[tuple[bytes, bytes], np.ndarray] = {}
        self.indices = np.arange(len(faces))
        self.is_test = in_test_part(faces)
        self.labels = np.array([record.labels["expression"] for record in faces.records])
        if not self.is_test.any() or self.is_test.all():
            raise InputError(
                f"expression: {faces.name} has no {'training' if self.is_test.all() else 'test'} "
                "pictures; unpack both of its parts"
            )
        if faces.name == "fer2013":
            # By the names that this copy has: Kaggle's `test` is not the owner's PublicTest.
            usages = [record.key.partition("/")[0] for record in faces.records]
            train, test = (
                "+".join(
                    sorted({u for u, t in zip(usages, self.is_test, strict=True) if t == side})
                )
                for side in (False, True)
            )
            self.data_set, self.split = "FER-2013", f"{train} -> {test}"
        else:
            self.data_set, self.split = "rendered faces", "by person"
        training = np.flatnonzero(~self.is_test)
        if self.max_train is not None and self.max_train < len(training):
            drawn = np.random.default_rng(self.seed).permutation(training)[: self.max_train]
            self.indices = np.sort(np.concatenate([drawn, np.flatnonzero(self.is_test)]))
            self.split += f", {self.max_train:,} training pictures"
        self.protocol = (
            "multinomial logistic regression on frozen features, standardised; L2 chosen by "
            f"accuracy on {VALIDATION_SHARE:.0%} of the training part (stratified, copies of a "
            "picture and pictures of a person together), then fitted on all of it; kNN: "
            f"{NEIGHBOURS} neighbours by cosine of standardised features"
        )

    def rows(self, features: Features, pictures: Pictures) -> ExpressionRows:
        """Sort the rows of the features.

        Raises:
            InputError: no picture left to train or to score on.
        """
        hash_of = dict(zip(pictures.indices.tolist(), pictures.hashes, strict=True))
        hashes = np.array([hash_of[i].hex() for i in features.records.tolist()])
        is_test = self.is_test[features.records]
        copy = ~is_test & np.isin(hashes, hashes[is_test])
        # Other tasks may have had features of more pictures made than this one wants.
        wanted = np.isin(features.records, self.indices)
        train = np.flatnonzero(wanted & ~is_test & ~copy)
        test = np.flatnonzero(wanted & is_test)
        if not len(train) or not len(test):
            raise InputError(
                f"expression: no picture of {self.faces.name} left to "
                f"{'score' if len(train) else 'train'} on; check that they are whole"
            )
        # Refuses a single class before anything is fitted.
        known, asked = (self.labels[features.records[part]] for part in (train, test))
        untaught_note(self.name, known, asked, EXPRESSIONS, "expression")
        people = [self.faces.records[i].person for i in features.records[train]]
        groups = np.array(
            [person or content for person, content in zip(people, hashes[train], strict=True)]
        )
        validation = stratified_group_split(known, groups, VALIDATION_SHARE, self.seed)
        return ExpressionRows(train, test, validation, int(copy.sum()))

    def fit(self, features: Features, rows: ExpressionRows) -> LogisticPredictor:
        """The probe fitted on the training rows; sees neither features nor labels of others."""
        targets = torch.from_numpy(self.labels[features.records[rows.train]])
        probe = LogisticProbe(device=self.device)
        return probe.fit(features.values[torch.from_numpy(rows.train)], targets, rows.validation)

    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        rows = self.rows(features, pictures)
        return self._figures(features, rows, self.fit(features, rows))

    @classmethod
    def score_together(
        cls, tasks: Sequence[Self], features: Features, pictures: Pictures
    ) -> list[list[Figure]]:
        """`score` of tasks that differ by seed; fits on the same training rows are one problem."""
        rows = [task.rows(features, pictures) for task in tasks]
        if len(tasks) == 1 or any(not np.array_equal(r.train, rows[0].train) for r in rows):
            return super().score_together(tasks, features, pictures)
        targets = torch.from_numpy(tasks[0].labels[features.records[rows[0].train]])
        predictors = LogisticProbe(device=tasks[0].device).fit_splits(
            features.values[torch.from_numpy(rows[0].train)],
            targets,
            np.stack([r.validation for r in rows]),
        )
        figures = []
        for task, part, predictor in zip(tasks, rows, predictors, strict=True):
            task._found = tasks[0]._found
            figures.append(task._figures(features, part, predictor))
        return figures

    def strata(self) -> np.ndarray:
        return np.where(self.is_test, -1, self.labels)

    def tested(self) -> np.ndarray | None:
        return np.flatnonzero(self.is_test)

    def score_degraded(
        self, features: Features, pictures: Pictures, degraded: Iterable[Features]
    ) -> Iterator[list[Figure]]:
        rows = self.rows(features, pictures)
        predictor = self.fit(features, rows)
        records = features.records[rows.test]
        weights = row_weights(len(records), self.replicates, self.seed)
        note = self._note(features, rows)
        for asked in degraded:
            logits = predictor(asked.values[torch.from_numpy(rows_of(asked, records))])
            yield self._class_figures(records, logits, predictor, weights, note)

    def _note(self, features: Features, rows: ExpressionRows) -> str:
        known, targets = (self.labels[features.records[part]] for part in (rows.train, rows.test))
        note = (
            f"trained on {len(rows.train):,} pictures; {rows.copies} training pictures left out "
            "as exact copies of test pictures"
        )
        absent = [name for i, name in enumerate(EXPRESSIONS) if i not in targets]
        if absent:
            note += f"; no test picture of {', '.join(absent)}"
        untaught = untaught_note(self.name, known, targets, EXPRESSIONS, "expression")
        return f"{note}; {untaught}" if untaught else note

    def _class_figures(
        self,
        records: np.ndarray,
        logits: Tensor,
        predictor: LogisticPredictor | None,
        weights: np.ndarray,
        note: str,
    ) -> list[Figure]:
        targets = self.labels[records]
        keys = [self.faces.records[i].key for i in records]
        said = class_predictions(keys, targets, logits, EXPRESSIONS)
        sample = sample_of(keys, self.replicates, self.seed)
        return class_figures(
            predictor, targets, said.predicted, weights, sample, note, predictions=said
        )

    def _figures(
        self, features: Features, rows: ExpressionRows, predictor: LogisticPredictor
    ) -> list[Figure]:
        records = features.records[rows.test]
        targets = self.labels[records]
        logits = predictor(features.values[torch.from_numpy(rows.test)])
        correct = (logits.argmax(dim=1).cpu().numpy() == targets).astype(np.float32)
        weights = row_weights(len(targets), self.replicates, self.seed)
        note = self._note(features, rows)
        neighbours = self._neighbours_vote(features, rows)
        near = (neighbours == targets).astype(np.float32)
        own = ~self._near_copies(features, rows)
        if not own.all():
            note += (
                f"; {(~own).sum():,} test pictures have a near-copy in the training part (HOG "
                f"cosine of {SIMILAR} or more): 'no copies' is without them"
            )
        figures = self._class_figures(records, logits, predictor, weights, note)
        sample = figures[0].sample
        knn = percentage(
            *("kNN accuracy", near.mean(), weights @ near / len(targets), len(targets), sample),
            hyperparameters={"neighbours": NEIGHBOURS},
            note=note,
            probe="kNN",
        )
        if own.all() or not own.any():
            return [*figures, knn]
        with np.errstate(invalid="ignore"):
            replicates = weights[:, own] @ correct[own] / weights[:, own].sum(axis=1)
        unseen = percentage(
            *("accuracy, no copies", correct[own].mean(), replicates, int(own.sum()), sample),
            **how_chosen(predictor),
            note=note,
        )
        return [*figures, unseen, knn]

    def _near_copies(self, features: Features, rows: ExpressionRows) -> np.ndarray:
        """bool [M]: test rows whose picture has a near-copy in the training part."""
        train, test = (features.records[part] for part in (rows.train, rows.test))
        if self.faces.name != "fer2013":
            # Only there copies are known of; rendered faces are all alike to HOG.
            return np.zeros(len(test), dtype=bool)
        known = (train.tobytes(), test.tobytes())
        # The same for every encoder: looked for once.
        if known not in self._found:
            self._found = {known: has_near_copy(self.faces, train, test)}
        return self._found[known]

    def _neighbours_vote(self, features: Features, rows: ExpressionRows) -> np.ndarray:
        train, test = (features.values[torch.from_numpy(part)] for part in (rows.train, rows.test))
        targets = torch.from_numpy(self.labels[features.records[rows.train]])
        return knn_classes(train, targets, test, device=self.device).numpy()
