"""Settings of `linear-probe head`, and those of all experiments that train heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from linear_probe.heads.goals import Goal
from linear_probe.heads.head import Head
from linear_probe.heads.module import HeadTraining
from linear_probe.records.runner import Experiment
from ssl_faces import FaceEncoder, InputError
from ssl_faces.common.ranges import PositiveInt, Seed, check_fields


@dataclass(frozen=True, kw_only=True)
class HeadExperiment(Experiment):
    """Settings of an experiment that trains heads.

    Attributes:
        encoder: a trained encoder that it rests on, frozen; None: its own network, end to end.
        training: how it is trained.
        seeds: of weights, order and random draws; the split and the bootstrap are those of seed 0
            of `linear-probe run`, so that figures of all seeds rest on the same draws.
        bootstrap: replicates behind the intervals.
        accelerator, devices, precision: of Lightning's trainer; None: bf16 where it is fast.
        label: its name in tables; None: the head's name.
    """

    encoder: str | None = None
    training: HeadTraining = field(default_factory=HeadTraining)
    seeds: list[Seed] = field(default_factory=lambda: [0])
    bootstrap: PositiveInt = 1000
    accelerator: str = "auto"
    devices: PositiveInt = 1
    precision: str | None = None
    label: str | None = None

    @property
    def computes_on(self) -> str:
        return "cpu" if self.accelerator == "cpu" else "auto"


@dataclass(frozen=True)
class Stage:
    """What a head learns before the task that it is scored on; all weights but the classifier's
    are passed on.

    Attributes:
        task: `people` (who is in the image?) or a task that heads learn.
        data: see `HeadJob`.
        training: how it is trained.
        max_train: training images; None is all.
        test_data: see `HeadJob`.
        head: another head than the job's, which the job's head takes over in `take_over`.
        train_csv, test_csv: see `HeadJob`.
    """

    task: str
    data: str | None = None
    training: HeadTraining = field(default_factory=HeadTraining)
    max_train: PositiveInt | None = None
    test_data: str | None = None
    head: Callable[[Goal, FaceEncoder | None], Head] | None = None
    train_csv: str | None = None
    test_csv: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, "before")


@dataclass(frozen=True, kw_only=True)
class HeadJob(HeadExperiment):
    """Settings of one config in `configs/head`; for the others see `HeadExperiment`.

    Attributes:
        head: the head: `class_path` and `init_args`.
        task: what it learns and is scored on: a task of `linear-probe run` that heads learn.
        data, test_data: as there: a folder, `rendered`, `rendered:COUNT`, a test bed (`digits`,
            `shapes`, see `linear_probe.tasks.toy_sets`), or None for the usual one; `test_data`
            to train on one data set and test on another.
        train_csv, test_csv: as there: your own labels, instead of `data`.
        before: stages that it learns first, one after the other.
        max_train: training images; None is all.
        robustness: also evaluate on degraded test images, as `linear-probe run --robustness` does:
            such as `[resolution]`.
    """

    head: Callable[[Goal, FaceEncoder | None], Head]
    task: str = "expression"
    data: str | None = None
    test_data: str | None = None
    train_csv: str | None = None
    test_csv: str | None = None
    before: list[Stage] = field(default_factory=list)
    max_train: PositiveInt | None = None
    robustness: list[str] = field(default_factory=list)

    module = "linear_probe.heads.run"

    def __post_init__(self) -> None:
        super().__post_init__()
        own = self.train_csv, self.test_csv
        if own != (None, None) and (self.data, self.test_data) != (None, None):
            raise InputError("train_csv and test_csv replace data and test_data; leave one out")

    @property
    def last_stage(self) -> Stage:
        """The stage that is scored."""
        return Stage(
            *(self.task, self.data, self.training, self.max_train, self.test_data),
            train_csv=self.train_csv,
            test_csv=self.test_csv,
        )
