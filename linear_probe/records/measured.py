"""From measurements to records: figures with all facts that a reader needs."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from linear_probe.records.predictions import Predictions
from linear_probe.records.record import Record
from linear_probe.records.replicates import interval
from ssl_faces import InputError

LABELS = "labels"
"""The factor of `condition` if only a share of the training labels was used."""


@dataclass(frozen=True)
class Figure:
    """One metric of one feature space, before it is a `Record`; fields as there.

    Attributes:
        replicates: float [B], the bootstrap's, which `low` and `high` are taken from.
        probe: if it is not the task's.
        predictions: of each test row, with the main figure of each probe.
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


class TaskLike(Protocol):
    """What a record holds of the task; `linear_probe.tasks.Task` has it."""

    @property
    def name(self) -> str: ...
    @property
    def data_set(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class TaskFacts:
    """What a record holds of a task that is no `Task`."""

    name: str
    data_set: str
    split: str
    protocol: str
    seed: int


class Measured(NamedTuple):
    """The figures of one feature space or reference.

    Attributes:
        encoder, space, probe, seconds: as in `Record`.
        fingerprint: of the source, unshortened.
        note: what readers must know of all the figures.
        condition: as in `Record`; None for none.
        overlap, origin: as in `Record`.
    """

    task: TaskLike
    encoder: str
    space: str
    probe: str
    figures: list[Figure]
    fingerprint: str = ""
    seconds: float = 0.0
    note: str = ""
    condition: dict[str, Any] | None = None
    overlap: Mapping[str, Any] = MappingProxyType({})
    origin: str = ""


def records_of(row: Measured, where: str) -> list[Record]:
    """The records of a row that was measured on the hardware `where`.

    Raises:
        InputError: a figure, or a prediction that it rests on, is NaN or infinite.
    """
    for figure in row.figures:
        predictions = figure.predictions
        # NaN scores still have a largest class, and so an accuracy.
        if predictions is not None and not (
            np.isfinite(predictions.scores).all() and np.isfinite(predictions.predicted).all()
        ):
            raise InputError(
                f"{row.task.name}, {row.encoder}, {row.space or row.probe}: predictions are NaN or "
                "infinite; check the weights of the encoder and of the probe"
            )
    return [
        Record(
            task=row.task.name,
            data_set=row.task.data_set,
            split=row.task.split,
            encoder=row.encoder,
            origin=row.origin,
            feature_space=row.space,
            probe=figure.probe or row.probe,
            seed=row.task.seed,
            condition=row.condition or {},
            protocol=row.task.protocol,
            fingerprint=row.fingerprint[:16],
            overlap=dict(row.overlap),
            seconds=round(row.seconds, 3),
            hardware=where,
            versions=_versions(),
            low=figure.low,
            high=figure.high,
            note="; ".join(filter(None, (figure.note, row.note))),
            **{
                name: value
                for name, value in vars(figure).items()
                if name not in ("replicates", "probe", "note", "predictions")
            },
        )
        for figure in row.figures
    ]


@lru_cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("ssl-faces", "torch", "numpy", "scikit-learn"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def condition_in_words(condition: dict[str, Any]) -> str:
    return f"{condition['factor']} {condition['level']:g} {condition['unit']}".strip()


def condition_note(condition: dict[str, Any]) -> str:
    """The note of figures under a condition."""
    if condition["factor"] == LABELS:
        return f"fitted with {condition['level']:g} % of the training labels, drawn by class"
    return f"test images degraded ({condition_in_words(condition)}), training images not"
