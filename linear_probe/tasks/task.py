"""What a task promises, and what tasks share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from linear_probe.features.frozen import Features, Pictures
from linear_probe.records.predictions import Predictions
from linear_probe.sources.changed_images import Change
from linear_probe.stats.intervals import interval
from ssl_faces import InputError
from ssl_faces.data import FaceSet


class MissingData(InputError):
    """The data given hold no data set of this task."""


@dataclass(frozen=True)
class Figure:
    """One metric of one feature space, before it is a `Record`; fields as there.

    Attributes:
        replicates: float [B], the bootstrap's; what `low` and `high` are taken from.
        probe: where it is another than the task's.
        predictions: what was said of each test row, with the main figure of each probe.
    """

    metric: str
    value: float
    unit: str
    higher_is_better: bool
    n: int
    sample: str
    replicates: np.ndarray = field(repr=False, compare=False)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    at_grid_edge: bool = False
    note: str = ""
    probe: str = ""
    predictions: Predictions | None = field(default=None, repr=False, compare=False)

    @property
    def low(self) -> float:
        return interval(self.replicates)[0]

    @property
    def high(self) -> float:
        return interval(self.replicates)[1]


def percentage(
    metric: str,
    share: float,
    replicates: np.ndarray,
    n: int,
    sample: str,
    higher_is_better: bool = True,
    **more: Any,
) -> Figure:
    """A figure in percent of a share (0 to 1) and its replicates [B]."""
    value, replicates = 100 * float(share), 100 * replicates
    return Figure(metric, value, "%", higher_is_better, n, sample, replicates, **more)


DRAWS_SEED = 0
"""Of the bootstrap's draws of test rows: one for all seeds of a run, as a mean over seeds is no
surer of which rows there are than one seed is."""


def sample_of(drawn: Iterable[str], replicates: int, seed: int) -> str:
    """What names a test sample and the bootstrap's draws from it, as in `Record.sample`.

    Args:
        drawn: what each test row is, with what decides how it is drawn (its person or fold).
    """
    digest = hashlib.sha256(f"{replicates} {seed}".encode())
    for text in drawn:
        digest.update(f"\n{len(text)} {text}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Reference:
    """A row of the table that rests on no features."""

    name: str
    probe: str
    figures: list[Figure]


class Task(ABC):
    """A data set, its split, the target, the probe and the metrics.

    Args:
        face_sets: what the data hold, each in its part `all`.
        seed: of the validation split and the bootstrap.
        replicates: of the bootstrap.
        device: where probes are fitted.
        max_train: train on no more than so many pictures, drawn by the seed; None is all. Only
            tasks with many training pictures heed it, and say so in `split`.

    Attributes:
        faces: the face set it chose.
        indices: int64, the records of `faces` whose features it needs.
        data_set, split, protocol: as in `Record`.
        seen: features of the `views`, in their order, set before `score`.

    Raises:
        MissingData: from `__init__`: none of `face_sets` serves.
        InputError: from `__init__`: the labels don't serve; from `score`: too few pictures left.
    """

    name: ClassVar[str]
    probe: ClassVar[str]
    needs: ClassVar[str]
    """What is not there where no face set serves, in words."""
    baseline_side: ClassVar[int]
    """Side of the grey pictures of the baselines (`linear_probe.sources.baselines`)."""

    data_set: str
    split: str
    protocol: str
    faces: FaceSet
    indices: np.ndarray

    def __init__(
        self,
        face_sets: Sequence[FaceSet],
        seed: int = 0,
        replicates: int = 1000,
        device: str = "cpu",
        max_train: int | None = None,
    ) -> None:
        self.seed = seed
        self.replicates = replicates
        self.device = device
        self.max_train = max_train
        self.seen: list[Features] = []
        served = self.serving(face_sets)
        if not served:
            raise MissingData(self._missing(face_sets))
        self.faces = served[0]
        self.data_set = self.faces.title
        self._prepare()

    @classmethod
    def serving(cls, face_sets: Sequence[FaceSet]) -> list[FaceSet]:
        """The face sets that the task can be scored on, each by itself."""
        return [faces for faces in face_sets if cls.serves(faces)]

    @classmethod
    @abstractmethod
    def serves(cls, faces: FaceSet) -> bool:
        """Whether the set has the labels, and a part to score on."""

    @classmethod
    def _missing(cls, face_sets: Sequence[FaceSet]) -> str:
        several = "none of which is there" if " or " in cls.needs else "which is not there"
        return f"{cls.name} needs {cls.needs}, {several}"

    @abstractmethod
    def _prepare(self) -> None:
        """Set the other attributes from `faces`."""

    @abstractmethod
    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        """The metrics of features of `faces`.

        Args:
            features: rows of at least those `indices` whose pictures can be decoded.
            pictures: the pictures that the features are of.
        """

    @classmethod
    def score_together(
        cls, tasks: Sequence[Self], features: Features, pictures: Pictures
    ) -> list[list[Figure]]:
        """`score` of each of several tasks of this kind that differ in nothing but the seed."""
        return [task.score(features, pictures) for task in tasks]

    def views(self) -> list[Change]:
        """Other versions of the pictures of `indices` whose features `score` finds in `seen`."""
        return []

    def strata(self) -> np.ndarray | None:
        """What shares of the training labels are stratified by: int [records of `faces`].

        -1 for records of the test part; None where the task learns from no labels, or where every
        record is tested in its turn.
        """
        return None

    def tested(self) -> np.ndarray | None:
        """int64, the records whose pictures `score_degraded` wants; None where it can't be done."""
        return None

    def score_degraded(
        self, features: Features, pictures: Pictures, degraded: Iterable[Features]
    ) -> Iterator[list[Figure]]:
        """The main figures on degraded test pictures, of a probe fitted on pictures as they are.

        Asked only of tasks that name `tested` records.

        Args:
            features, pictures: as in `score`.
            degraded: features of the `tested` pictures, degraded in one way after the other.
        """
        raise TypeError(f"{self.name} can't be scored on degraded pictures")

    def references(self, features: Features, pictures: Pictures) -> list[Reference]:
        """Rows that need no features, on the same pictures as `features`."""
        return []


def rows_of(features: Features, records: np.ndarray) -> np.ndarray:
    """int64 [M]: the row of `features` that each of the `records` [M] has.

    Raises:
        InputError: one has none.
    """
    row_of = {record: row for row, record in enumerate(features.records.tolist())}
    try:
        return np.array([row_of[record] for record in records.tolist()], dtype=np.int64)
    except KeyError as error:
        raise InputError(
            "a picture that could be decoded before can't be any more; check the data, run again"
        ) from error


def carries(faces: FaceSet, *labels: str) -> bool:
    """Whether probes score on the set, and some of its pictures have all of these labels."""
    return faces.has_test_part and any(
        all(label in record.labels for label in labels) for record in faces.records
    )


def find(face_sets: Sequence[FaceSet], names: Sequence[str]) -> FaceSet | None:
    """The first face set with one of these names, in the order of the names."""
    for name in names:
        for faces in face_sets:
            if faces.name == name:
                return faces
    return None


def in_test_part(faces: FaceSet) -> np.ndarray:
    """bool [records of `faces`]: whether each is in the set's part `test`, by its owner's rule.

    Raises:
        InputError: the set has no test part.
    """
    test = faces.test_part()
    if test is None:
        raise InputError(f"{faces.name}: it has no part 'test' to score on; give another data set")
    keys = {record.key for record in test.records}
    return np.array([record.key in keys for record in faces.records])


def people_of(faces: FaceSet, records: np.ndarray) -> np.ndarray:
    """The person of each of the `records`, as numbers; each unnamed picture is its own person."""
    names = [faces.records[i].person or f"\0{i}" for i in records]
    numbers: np.ndarray = np.unique(names, return_inverse=True)[1]
    return numbers
