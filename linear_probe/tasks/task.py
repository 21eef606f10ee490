"""The interface of a task, the registry of tasks, and what tasks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np

from linear_probe.features.frozen import Features, Pictures
from linear_probe.records.measured import Figure
from linear_probe.sources.changed_images import Change
from linear_probe.stats.intervals import few_people_note
from ssl_faces import InputError
from ssl_faces.common.registries import import_modules
from ssl_faces.data import FaceSet, JoinedFaces
from ssl_faces.data.sets.recognised import titles_with


class MissingData(InputError):
    """The given data hold no data set of this task."""


@dataclass(frozen=True)
class Reference:
    """A row of the table that uses no features."""

    name: str
    probe: str
    figures: list[Figure]


REGISTRY: dict[str, type[Task]] = {}
"""By name."""


class Task(ABC):
    """A data set, its split, the target, the probe and the metrics.

    A subclass with its own `name`, in a file of this folder, is registered.

    Args:
        face_sets: those of the data, each in its part `all`.
        seed: of the validation split.
        replicates: of the bootstrap.
        device: where probes are fitted.
        max_train: train on no more than so many images, drawn by the seed; None is all. Only tasks
            with many training images use it, and state it in `split`.

    Attributes:
        faces: the face set it chose.
        indices: int64, the records of `faces` whose features it needs.
        data_set, split, protocol: as in `Record`.
        seen: features of the `views`, in their order, set before `score`.

    Raises:
        MissingData: from `__init__`: none of `face_sets` serves.
        InputError: from `__init__`: the labels don't serve; from `score`: too few images left.
    """

    name: ClassVar[str]
    order: ClassVar[int] = 100
    """Tasks of a smaller one come first in lists."""
    required_labels: ClassVar[tuple[str, ...]] = ()
    """The labels that records must have."""
    needs: ClassVar[str] = ""
    """The data it needs, for messages; by default the data sets with the first required label."""
    probe: ClassVar[str]
    baseline_side: ClassVar[int]
    """Side of the grey images of the baselines (`linear_probe.sources.baselines`)."""

    data_set: str
    split: str
    protocol: str
    faces: FaceSet
    indices: np.ndarray

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in cls.__dict__:
            REGISTRY[cls.name] = cls

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
        """The face sets that the task can be scored on, each by itself.

        Those that are all test come last, each joined with the set to train on, if it is there.
        """
        sets = [faces for faces in face_sets if cls.serves(faces)]
        joined = []
        for test in sets:
            train = find(face_sets, [test.learns_from])
            if train is not None:
                split = f"{train.title} -> {test.title}"
                name = f"{train.name}-{test.name}"
                joined.append(JoinedFaces(train, test, name, test.title, split))
        return [faces for faces in sets if not faces.learns_from] + joined

    @classmethod
    def serves(cls, faces: FaceSet) -> bool:
        """Whether the set has the labels, and a part to score on."""
        return carries(faces, *cls.required_labels)

    @classmethod
    def _missing(cls, face_sets: Sequence[FaceSet]) -> str:
        needs = cls.needs or titles_with(cls.required_labels[0])
        missing = "none of which is there" if " or " in needs else "which is not there"
        return f"{cls.name} needs {needs}, {missing}"

    @abstractmethod
    def _prepare(self) -> None:
        """Set the other attributes from `faces`."""

    @abstractmethod
    def score(self, features: Features, pictures: Pictures) -> list[Figure]:
        """The metrics of features of at least those `indices` whose images can be decoded."""

    @classmethod
    def score_together(
        cls, tasks: Sequence[Self], features: Features, pictures: Pictures
    ) -> list[list[Figure]]:
        """`score` of each of several tasks of this kind that differ in the seed alone."""
        return [task.score(features, pictures) for task in tasks]

    def views(self) -> list[Change]:
        """Other versions of the images of `indices` whose features `score` finds in `seen`."""
        return []

    def scored(self) -> np.ndarray:
        """int64, the records whose images are scored."""
        return self.indices

    def few_people_note(self) -> str:
        """The warning if few people are scored; empty if they are many, or none is known."""
        people = [self.faces.records[i].person for i in self.scored()]
        named = {person for person in people if person is not None}
        # Each image of nobody known is drawn by itself.
        return few_people_note(len(named) + people.count(None)) if named else ""

    def strata(self) -> np.ndarray | None:
        """Strata for shares of the training labels: int [records of `faces`], -1 for the test part;
        None where the task learns from no labels, or where every record is tested in some fold."""
        return None

    def tested(self) -> np.ndarray | None:
        """int64, the records whose images `score_degraded` needs; None if the task has no such
        figures."""
        return None

    def score_degraded(
        self, features: Features, pictures: Pictures, degraded: Iterable[Features]
    ) -> Iterator[list[Figure]]:
        """The main figures on degraded test images, of a probe fitted on images as they are; only
        for tasks with `tested` records. `degraded`: features of the `tested` images, degraded in
        one way after the other."""
        raise TypeError(f"{self.name} can't be scored on degraded images")

    def references(self, features: Features, pictures: Pictures) -> list[Reference]:
        """Rows that need no features, on the same images as `features`."""
        return []


def rows_of(features: Features, records: np.ndarray) -> np.ndarray:
    """int64 [M]: the row of `features` that each of the `records` [M] has; InputError if one has
    none."""
    row_of = {record: row for row, record in enumerate(features.records.tolist())}
    try:
        return np.array([row_of[record] for record in records.tolist()], dtype=np.int64)
    except KeyError as error:
        raise InputError(
            "a picture that could be decoded before can't be any more; check the data, run again"
        ) from error


def carries(faces: FaceSet, *labels: str) -> bool:
    """Whether probes score on the set, and some of its images have all of these labels."""
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
    """bool [records of `faces`]: whether each is in the set's part `test`, by its owner's rule;
    InputError if the set has no test part."""
    test = faces.test_part()
    if test is None:
        raise InputError(
            faces.no_test
            or f"{faces.name}: it has no part 'test' to score on; give another data set"
        )
    keys = {record.key for record in test.records}
    return np.array([record.key in keys for record in faces.records])


class Tasks(Mapping[str, type[Task]]):
    """All tasks by name, in their order; the modules of this folder are imported at first use."""

    def __getitem__(self, name: str) -> type[Task]:
        _import_all()
        return REGISTRY[name]

    def __iter__(self) -> Iterator[str]:
        _import_all()
        kinds = sorted(REGISTRY.values(), key=lambda kind: (kind.order, kind.name))
        return iter([kind.name for kind in kinds])

    def __len__(self) -> int:
        return sum(1 for _ in self)


@cache
def _import_all() -> None:
    import_modules("linear_probe.tasks")
