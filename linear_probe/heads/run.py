"""`linear-probe head`: train a head on each seed, and score it as linear probes are scored."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from linear_probe.features.frozen import Features, Pictures
from linear_probe.heads.cost import Cost, cost
from linear_probe.heads.fit import HEADS_FOLDER, Trainer
from linear_probe.heads.goals import Goal, save_meaning
from linear_probe.heads.head import Head
from linear_probe.heads.head_tasks import (
    HeadTask,
    exogenous_readout,
    has_readout,
    head_task,
    learnable,
    measure_figures,
)
from linear_probe.heads.job import HeadJob, Stage
from linear_probe.heads.pictures import PEOPLE, Decoded, LabelledSplit, People, decode
from linear_probe.records.measured import Measured, TaskFacts, condition_note
from linear_probe.records.runner import Run, Say
from linear_probe.sources.changed_images import Change, ChangedFaces
from linear_probe.sources.names import check_data
from linear_probe.sources.overlap import Overlaps
from linear_probe.sources.robustness import degradations
from linear_probe.tasks import TASKS, Task
from linear_probe.tasks.face_sets import crossed_by_seed, face_sets_by_seed, serving_tasks
from linear_probe.tasks.identity import Identity
from linear_probe.tasks.labelled import LabelTask, Split
from linear_probe.tasks.own_data import OwnData
from linear_probe.tasks.task import Figure, rows_of
from ssl_faces import InputError, load_encoder
from ssl_faces.callbacks.panels import write_panel
from ssl_faces.common.ranks import is_first
from ssl_faces.data import FaceSet
from ssl_faces.encoders.places import find_encoder
from ssl_faces.training.fit import quiet


def measurements(job: HeadJob, run: Run) -> Iterator[Measured]:
    """Train and score a head for each seed and each face set that serves.

    An interrupted training resumes from its last checkpoint; a finished one is only scored.
    """
    known = [n for n, kind in TASKS.items() if kind is Identity or learnable(kind)]
    for task in (job.task, *(stage.task for stage in job.before if stage.task != PEOPLE)):
        if task not in known:
            raise InputError(f"task: '{task}'; heads learn {', '.join(known)}")
    # Before any stage is trained.
    if job.encoder is not None:
        find_encoder(job.encoder)
    for stage in (*job.before, job.last_stage):
        check_data(stage.data)
        check_data(stage.test_data)
    quiet()
    data = _Data(job, run)
    for seed in job.seeds:
        head: Head | None = None
        for number, stage in enumerate(job.before, start=1):
            name = f"before {number} {stage.task}"
            head = yield from _StageRun(data, stage, seed, head, name).measurements()
        yield from _StageRun(data, job.last_stage, seed, head).measurements()


class _Data(Trainer):
    """A job's trainer, and the data that all its stages share."""

    def __init__(self, job: HeadJob, run: Run) -> None:
        super().__init__(job, run)
        self.job = job
        self.overlaps = Overlaps(run.say)
        self._tasks: dict[Any, list[HeadTask]] = {}
        self._people: dict[Any, People] = {}
        self._decoded: dict[Any, Decoded] = {}

    def tasks(self, stage: Stage) -> list[HeadTask]:
        key = (*_data_of(stage), stage.task, stage.max_train)
        if key not in self._tasks:
            self._tasks[key] = tasks_of(stage, self.job.bootstrap, self.run.out, self.run.say)
        return self._tasks[key]

    def people(self, stage: Stage, sets: Sequence[FaceSet]) -> People:
        key = (*_data_of(stage), stage.max_train)
        if key not in self._people:
            self._people[key] = People(sets, stage.max_train)
        return self._people[key]

    def decode(
        self, faces: FaceSet, indices: np.ndarray, size: int, change: Change | None = None
    ) -> Decoded:
        """The images of these records, perhaps degraded; undecodable ones are listed once."""
        key = (faces.name, size, indices.tobytes(), change)
        if key not in self._decoded:
            source = faces if change is None else ChangedFaces(faces, change, 0)
            self._decoded[key] = decode(source, indices, size)
            if change is None:
                self.run.skip(faces, indices, self._decoded[key].skipped)
        return self._decoded[key]


class _Fitted(NamedTuple):
    """A trained head (of folds the last), mean validation figures, and the folder of the run."""

    head: Head
    validation: dict[str, float]
    folder: Path


@dataclass
class _StageRun:
    """Trains and scores the head of a stage with a seed.

    Attributes:
        earlier: the head of the stage before, if any.
        name: of the stage's folder; empty is the last stage.
    """

    data: _Data
    stage: Stage
    seed: int
    earlier: Head | None
    name: str = ""
    started: float = field(default_factory=time.perf_counter)

    @property
    def job(self) -> HeadJob:
        return self.data.job

    @property
    def say(self) -> Say:
        return self.data.run.say

    def measurements(self) -> Generator[Measured, None, Head]:
        """Train and measure; the trained head."""
        if self.stage.task in (PEOPLE, Identity.name):
            return (yield from self._people())
        tasks = self.data.tasks(self.stage)
        if self.name and len(tasks) > 1:
            sets = ", ".join(lesson.task.faces.name for lesson in tasks)
            raise InputError(
                f"{self.name}: {sets} have its labels; name the folder of one as its `data`"
            )
        for lesson in tasks:
            self.started = time.perf_counter()
            head = yield from self._task(lesson)
        return head

    def _people(self) -> Generator[Measured, None, Head]:
        """Train on people; where the task is identity, verify pairs of others by the features."""
        tasks: list[Identity] = []
        sets = _face_sets(self.stage, self.data.run.out, self.say)
        if self.stage.task == Identity.name:
            tasks = serving_tasks(Identity, sets, 0, self.job.bootstrap, "cpu")
        people = self.data.people(self.stage, sets)
        fitted = self._fit(
            self.name or Identity.name,
            people,
            lambda size: [people.pictures(lambda f, i: self.data.decode(f, i, size), self.seed)],
        )
        head = fitted.head
        values = ", ".join(f"{name} {value:.2f} %" for name, value in fitted.validation.items())
        self.say(f"{people.title}: seed {self.seed}: validation {values}")
        decoded = [self.data.decode(task.faces, task.indices, head.read_size) for task in tasks]
        scored = [
            task.score(
                Features(self.data.outputs(head, part.images, True), part.records),
                Pictures(task.faces, task.indices),
            )
            + self._measures(head, task.faces, part.images, part.records)
            for task, part in zip(tasks, decoded, strict=True)
            if is_first()
        ]
        if not scored:  # one process writes
            return head
        self._draw(fitted, decoded[0].images)
        used = self._cost(head)
        chosen = {"training": dataclasses.asdict(self.stage.training)}
        for task, figures in zip(tasks, scored, strict=True):
            how = f"{self._training(head)}, to tell {people.title}; {task.protocol}"
            row = self._row(head, task, how, _noted(figures, chosen, used))
            if self.job.encoder is not None:
                row = row._replace(space=f"{row.probe} on {row.space}")
            yield row._replace(probe=task.probe)
        return head

    def _task(self, lesson: HeadTask) -> Generator[Measured, None, Head]:
        """Train and score a task with labels of single images."""
        task: LabelTask = lesson.task
        faces = task.faces
        changes = degradations(self.job.robustness)
        outputs: list[list[Tensor]] = [[] for _ in (None, *changes)]
        decoded: list[Decoded] = []
        splits: list[Split] = []

        def folds(size: int) -> list[LabelledSplit]:
            decoded.append(self.data.decode(faces, task.indices, size))
            splits.extend(task.splits(decoded[0].rows, Pictures(faces, task.indices)))
            tested = task.tested_records(decoded[0].rows, splits)
            decoded.extend(self.data.decode(faces, tested, size, change) for change in changes)
            labels = lesson.labels[torch.from_numpy(decoded[0].records)]
            return [LabelledSplit.of(decoded[0].images, labels, split) for split in splits]

        def after(head: Head, fold: int) -> None:
            records = decoded[0].records[splits[fold].test]
            for images, parts in zip(decoded, outputs, strict=True):
                rows = torch.from_numpy(rows_of(images.rows, records))
                parts.append(self.data.outputs(head, images.images[rows]))

        fitted = self._fit(f"{self.name} {faces.name}".strip(), lesson, folds, after)
        head, whole = fitted.head, decoded[0]
        if not is_first():  # one process writes
            return head
        test = splits[-1].test
        shown = whole.images[torch.from_numpy(test)]
        self._draw(fitted, shown)
        represented = self.data.outputs(head, whole.images, True) if has_readout(task) else None
        measured: list[Figure] = []
        if len(splits) == 1:  # else each test image has another head
            measured = self._measures(head, faces, shown, whole.records[test])
        used = self._cost(head)
        chosen = {
            **dataclasses.asdict(self.stage.training),
            "validation": fitted.validation,
            "cost": dataclasses.asdict(used),
        }

        def scored(parts: list[Tensor], more: str = "") -> list[Figure]:
            note = f"; {used.size}{more}"
            return lesson.figures(whole.rows, splits, torch.cat(parts), chosen, note)

        figures = scored(outputs[0]) + _noted(measured, chosen, used)
        if represented is not None:
            figures.append(exogenous_readout(task, whole.records, represented))
        how = (
            f"{self._training(head)}, on all of the training part but "
            f"{task.validation_share:.0%} (stratified, copies of a picture and pictures of a "
            "person together), which chooses nothing in a run; the last weights are scored"
        )
        row = self._row(head, task, how, figures)
        yield row
        for change, parts in zip(changes, outputs[1:], strict=True):
            condition = {"factor": change.factor, "level": change.level, "unit": change.unit}
            worse = scored(parts, f"; {condition_note(condition)}")
            yield row._replace(figures=worse, condition=condition)
        return head

    def _fit(
        self,
        name: str,
        lesson: HeadTask | People,
        folds: Callable[[int], list[LabelledSplit]],
        after: Callable[[Head, int], None] = lambda head, fold: None,
    ) -> _Fitted:
        """Train a head, or one for each fold.

        Args:
            name: of the folder.
            lesson: gives the goal and the validation figures.
            folds: the data, at the side that the head reads images at.
            after: called with each trained head and its fold.
        """
        head = self._new(lesson.goal())
        named = safe_name(f"{self.job.label or head.name} {self.job.encoder or ''} {name}")
        folder = self.data.run.out / HEADS_FOLDER / named / f"seed{self.seed}"
        splits = folds(head.read_size)
        figures = []
        for fold, split in enumerate(splits):
            if fold:
                head = self._new(lesson.goal())
            run = folder / f"fold{fold}" if len(splits) > 1 else folder
            self.data.train(*(head, self.stage.training, split, self.seed, run), lesson.validation)
            if isinstance(lesson, HeadTask) and is_first():
                save_meaning(run, lesson.meaning)
            outputs = self.data.outputs(head, split.images[split.validation])
            figures.append(lesson.validation(outputs, split.labels[split.validation]))
            after(head, fold)
        means = {k: round(float(np.mean([of[k] for of in figures])), 4) for k in figures[0]}
        return _Fitted(head, means, folder)

    def _new(self, goal: Goal) -> Head:
        encoder = None if self.job.encoder is None else load_encoder(self.job.encoder)
        torch.manual_seed(self.seed)
        head = (self.stage.head or self.job.head)(goal, encoder)
        if self.earlier is not None:
            head.take_over(self.earlier)
        return head.to(memory_format=torch.channels_last)

    def _measures(
        self, head: Head, faces: FaceSet, images: Tensor, records: np.ndarray
    ) -> list[Figure]:
        keys = [faces.records[i].key for i in records]
        return measure_figures(head, images, keys, self.job.bootstrap, self.data.bfloat16)

    def _cost(self, head: Head) -> Cost:
        used = cost(head)  # moves it to the CPU
        self.say(f"{head.name}: {used}")
        return used

    def _draw(self, fitted: _Fitted, images: Tensor) -> None:
        """Write the head's panels of test images uint8 [N, 3, R, R]."""
        head = fitted.head.eval()
        shown = images[: head.looked_at].to(next(head.parameters()).device)
        with torch.inference_mode():
            panels = head.panels(head.prepare(shown))
        if panels:
            path = fitted.folder / "panel.png"
            write_panel(path, panels)
            self.say(f"pictures to look at: {path}")

    def _row(self, head: Head, task: Task, protocol: str, figures: list[Figure]) -> Measured:
        name, encoder = self.job.label or head.name, self.job.encoder
        overlap = {}
        if encoder is not None:
            loaded = load_encoder(encoder)
            overlap = self.data.overlaps.of(encoder, loaded, task.faces, task.scored())
        return Measured(
            TaskFacts(task.name, task.data_set, task.split, protocol, self.seed),
            *(encoder or name, head.space, name, figures),
            seconds=time.perf_counter() - self.started,
            note=task.few_people_note(),
            overlap=overlap,
        )

    def _training(self, head: Head) -> str:
        """What was trained, and how, in words."""
        parameters = sum(p.numel() for p in head.parameters() if p.requires_grad)
        stages = ", then ".join(
            f"{'the identity of people' if s.task == PEOPLE else s.task} ({s.training})"
            for s in self.job.before
        )
        before = f"before that on {stages}, " if stages and self.stage.task == self.job.task else ""
        training = self.stage.training
        return (
            f"{parameters / 1e6:.2f} M parameters trained on labelled pictures of "
            f"{head.picture_size} px, {before}{training} of AdamW with one cycle of "
            "the learning rate"
            f"{' and sharpness-aware minimisation' if training.sam_radius else ''}"
        )


def _noted(figures: Sequence[Figure], chosen: dict[str, Any], used: Cost) -> list[Figure]:
    """The figures with more hyper-parameters, and the cost in their notes."""
    return [
        replace(
            figure,
            hyperparameters=figure.hyperparameters | chosen,
            note="; ".join(filter(None, (figure.note, used.size))),
        )
        for figure in figures
    ]


def _data_of(stage: Stage) -> tuple[str | None, ...]:
    return (stage.data, stage.test_data, stage.train_csv, stage.test_csv)


def tasks_of(stage: Stage, bootstrap: int, out: Path, say: Say = print) -> list[HeadTask]:
    """The stage's task on each face set that serves, with the split and the draws of seed 0.

    Args:
        out: folder for the list of leaks between the user's own tables.

    Raises:
        MissingData: none serves.
        InputError: the data can't be used.
    """
    kind = TASKS[stage.task]
    assert issubclass(kind, LabelTask)
    sets = _face_sets(stage, out, say)
    if stage.test_data is not None:
        tested = {0: face_sets_by_seed(stage.test_data, False, [0], say)[0]}
        sets = crossed_by_seed({0: sets}, tested, kind)[0]
    tasks = serving_tasks(kind, sets, 0, bootstrap, "cpu", stage.max_train)
    return [head_task(task) for task in tasks]


def _face_sets(stage: Stage, out: Path, say: Say) -> Sequence[FaceSet]:
    own = OwnData(train_csv=stage.train_csv, test_csv=stage.test_csv).face_sets(out)
    return own or face_sets_by_seed(stage.data, False, [0], say)[0]


def safe_name(name: str) -> str:
    """A name as a folder may be called."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_")
