"""`linear-probe head`: train a head on each seed, and score it as linear probes are scored."""

from __future__ import annotations

import dataclasses
import io
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linear_probe.experiments.probe import face_sets_by_seed
from linear_probe.experiments.robustness import degradations
from linear_probe.features.frozen import Features, Pictures
from linear_probe.heads.cost import cost
from linear_probe.heads.fit import Machine, check_batch, told, train, usual_precision
from linear_probe.heads.goals import Goal
from linear_probe.heads.head import Head
from linear_probe.heads.head_tasks import HeadTask, head_task
from linear_probe.heads.module import HeadTraining
from linear_probe.heads.people import PEOPLE, People
from linear_probe.heads.pictures import Decoded, Taught, decode
from linear_probe.heads.readout import exogenous_readout, has_readout
from linear_probe.heads.restoration import measure_figures
from linear_probe.records.measured import Measured, TaskFacts
from linear_probe.records.record import Record
from linear_probe.records.recorder import Recorder
from linear_probe.sources.changed_images import Change, ChangedFaces
from linear_probe.stats.conditions import condition_in_words, condition_note
from linear_probe.tasks import TASKS, MissingData
from linear_probe.tasks.cross_sets import crossed_by_seed
from linear_probe.tasks.identity import Identity
from linear_probe.tasks.labelled import LabelTask
from linear_probe.tasks.task import Figure
from ssl_faces import FaceEncoder, InputError, load_encoder
from ssl_faces.callbacks.panels import panel
from ssl_faces.common.files import replace_file
from ssl_faces.common.hardware import hardware
from ssl_faces.common.ranges import PositiveInt, Seed, check_fields
from ssl_faces.data import FaceSet
from ssl_faces.training.fit import quiet
from ssl_faces.training.launch import is_first

HEADS_FOLDER = "heads"


@dataclass(frozen=True)
class Stage:
    """What a head learns before what it is scored on; all weights but its classifier's go on.

    Attributes:
        task: `people` (whose picture is it?) or a task that heads learn.
        data: see `HeadJob`.
        training: how.
        max_train: training pictures; None is all.
        test_data: see `HeadJob`.
        head: another head than the job's, whose `take_over` then knows what to make of it.
    """

    task: str
    data: str | None = None
    training: HeadTraining = field(default_factory=HeadTraining)
    max_train: PositiveInt | None = None
    test_data: str | None = None
    head: Callable[[Goal, FaceEncoder | None], Head] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "before")


@dataclass(frozen=True)
class HeadJob:
    """What one config of `configs/head` says.

    Attributes:
        head: the head: `class_path` and `init_args`.
        encoder: a trained encoder that it rests on, frozen; None: its own network, end to end.
        task: what it learns and is scored on: a task of `linear-probe run` that heads learn.
        data, test_data: as there: a folder, `rendered`, `rendered:COUNT`, a test bed (`digits`,
            `shapes`, see `linear_probe.heads.thin_beds`), or None for the usual one; `test_data`
            for what is learnt on one set to be scored on another.
        training: how it is trained.
        before: what it learns first, one after the other.
        seeds: of weights, order and what is drawn; the split and the bootstrap are those of seed 0
            of `linear-probe run`, so that figures of all seeds are of the same draws.
        max_train: training pictures; None is all.
        robustness: score on degraded test pictures too, as `linear-probe run --robustness` does:
            such as `[resolution]`.
        bootstrap: replicates behind the intervals.
        accelerator, devices, precision: of Lightning's trainer; None: bf16 where it is fast.
        label: how tables call it; None: the head's name.
    """

    head: Callable[[Goal, FaceEncoder | None], Head]
    encoder: str | None = None
    task: str = "expression"
    data: str | None = None
    test_data: str | None = None
    training: HeadTraining = field(default_factory=HeadTraining)
    before: list[Stage] = field(default_factory=list)
    seeds: list[Seed] = field(default_factory=lambda: [0])
    max_train: PositiveInt | None = None
    robustness: list[str] = field(default_factory=list)
    bootstrap: PositiveInt = 1000
    accelerator: str = "auto"
    devices: PositiveInt = 1
    precision: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, "")


def run_head(
    job: HeadJob, settings: dict[str, Any], out: Path, say: Callable[[str], None] = print
) -> list[Record]:
    """Train and score a head for each seed and each face set that serves; its records.

    A run that was stopped goes on from its last checkpoint; one that is finished is only scored.

    Args:
        settings: the job as plain JSON values: the folder of a run with others is refused.
        out: folder of records, as of `linear-probe run`; the runs are in its `heads`.

    Raises:
        InputError: heads don't learn the task, or an encoder, the data or `out` can't be used.
    """
    known = [name for name, one in TASKS.items() if one is Identity or head_task(one) is not None]
    for task in (job.task, *(stage.task for stage in job.before if stage.task != PEOPLE)):
        if task not in known:
            raise InputError(f"task: '{task}'; heads learn {', '.join(known)}")
    quiet()
    run = _Run(job, settings, Recorder(out, hardware(_device(job.accelerator))), say)
    last = Stage(job.task, job.data, job.training, job.max_train, job.test_data)
    for seed in job.seeds:
        earlier: Head | None = None
        for number, stage in enumerate(job.before, start=1):
            earlier = run.stage(stage, seed, earlier, f"before {number} {stage.task}")
        run.stage(last, seed, earlier)
    return run.recorder.records


class _Run:
    """One call of `run_head`; what is read from disk serves all its seeds.

    Args: as of `run_head`.
    """

    def __init__(
        self,
        job: HeadJob,
        settings: dict[str, Any],
        recorder: Recorder,
        say: Callable[[str], None],
    ) -> None:
        self.job, self.settings, self.recorder, self.say = job, settings, recorder, say
        self._tasks: dict[tuple[str | int | None, ...], list[HeadTask[Any]]] = {}
        self._people: dict[tuple[str | None, int | None], People] = {}
        self._decoded: dict[tuple[str, int, bytes, Change | None], Decoded] = {}
        self.precision = job.precision or usual_precision()

    def stage(self, stage: Stage, seed: int, earlier: Head | None, of: str = "") -> Head:
        """Train on what a stage says, from `earlier` if any, and score where that has figures.

        Args:
            of: what its folder is called for; empty is the last stage.
        """
        if stage.task == PEOPLE:
            return self._train_people(stage, seed, earlier, of)
        if stage.task == Identity.name:
            return self._train_identity(stage, seed, earlier, of)
        tasks = self._tasks_of(stage)
        if of and len(tasks) > 1:
            sets = ", ".join(one.task.faces.name for one in tasks)
            raise InputError(f"{of}: {sets} have its labels; name the folder of one as its `data`")
        heads = [self._train_task(task, stage, seed, earlier, of) for task in tasks]
        return heads[-1]

    def _new(self, stage: Stage, goal: Goal, seed: int, earlier: Head | None) -> Head:
        encoder = None if self.job.encoder is None else load_encoder(self.job.encoder)
        torch.manual_seed(seed)
        head = (stage.head or self.job.head)(goal, encoder)
        if earlier is not None:
            head.take_over(earlier)
        return head.to(memory_format=torch.channels_last)

    def _tasks_of(self, stage: Stage) -> list[HeadTask[Any]]:
        key = (stage.task, stage.data, stage.test_data, stage.max_train)
        if key not in self._tasks:
            self._tasks[key] = tasks_of(stage, self.job.bootstrap, self.say)
        return self._tasks[key]

    def _decode(
        self, faces: FaceSet, indices: np.ndarray, size: int, change: Change | None = None
    ) -> Decoded:
        """These records' pictures, changed if so; of undecodable ones the user is told once."""
        key = (faces.name, size, indices.tobytes(), change)
        if key not in self._decoded and change is not None:
            self._decoded[key] = decode(ChangedFaces(faces, change, 0), indices, size)
        if key not in self._decoded:
            found = decode(faces, indices, size)
            self._decoded[key] = found
            keys = (faces.records[i].key for i in indices)
            listed = self.recorder.folder.skip(faces.name, keys, found.skipped)
            if found.skipped:
                self.say(f"{len(found.skipped)} pictures skipped: see {listed}")
        return self._decoded[key]

    def _train_people(self, stage: Stage, seed: int, earlier: Head | None, of: str) -> Head:
        key = stage.data, stage.max_train
        if key not in self._people:
            self._people[key] = People(_face_sets(stage, self.say), stage.max_train)
        people = self._people[key]
        head = self._new(stage, people.goal(), seed, earlier)
        pictures = people.pictures(lambda f, i: self._decode(f, i, head.read_size), seed)
        said = self._fit(
            head, stage, seed, pictures, people.validation, self._folder(head, of, seed)
        )
        told = ", ".join(f"{name} {value:.2f} %" for name, value in said.items())
        self.say(f"{of}: {people.title}: seed {seed}: {told} of those kept back")
        return head

    def _train_identity(self, stage: Stage, seed: int, earlier: Head | None, of: str) -> Head:
        """Train on people, and verify the pairs of others by the head's features."""
        started = time.perf_counter()
        sets = _face_sets(stage, self.say)
        serving = [[one] for one in Identity.serving(sets)] or [[*sets]]
        try:
            tasks = [Identity(given, 0, self.job.bootstrap, "cpu") for given in serving]
        except MissingData as error:
            raise MissingData(f"task {error}; add it to the data folder") from error
        head = self._train_people(stage, seed, earlier, of or Identity.name)
        seen = [self._decode(task.faces, task.indices, head.read_size) for task in tasks]
        features = [Features(self._told(head, one.images, True), one.records) for one in seen]
        if not is_first():
            return head
        self._draw(
            head, seen[0].images[: head.looked_at], self._folder(head, of or Identity.name, seed)
        )
        restored = [
            self._restored(head, task.faces, one.images, one.records)
            for task, one in zip(tasks, seen, strict=True)
        ]
        used = cost(head)  # moves it to the CPU
        name = self.job.label or head.name
        for task, found, measured in zip(tasks, features, restored, strict=True):
            pictures = Pictures(task.faces, task.indices)
            figures = [
                replace(
                    figure,
                    hyperparameters=figure.hyperparameters
                    | {"training": dataclasses.asdict(stage.training)},
                    note="; ".join(filter(None, (figure.note, used.size))),
                )
                for figure in [*task.score(found, pictures), *measured]
            ]
            people = self._people[stage.data, stage.max_train]
            protocol = (
                f"{_training(self.job, stage, head)}, to tell {people.title}; {task.protocol}"
            )
            row = Measured(
                TaskFacts(task.name, task.data_set, task.split, protocol, seed),
                name if self.job.encoder is None else self.job.encoder,
                head.space if self.job.encoder is None else f"{name} on {head.space}",
                task.probe,
                figures,
                seconds=time.perf_counter() - started,
            )
            self.recorder.add(row)
            values = ", ".join(f"{f.metric} {f.value:.2f} {f.unit}" for f in figures[:4])
            self.say(f"{task.name}: {name}, {task.faces.name}: seed {seed}: {values}\n  {used}")
        return head

    def _train_task(
        self, asked: HeadTask[Any], stage: Stage, seed: int, earlier: Head | None, of: str
    ) -> Head:
        started = time.perf_counter()
        task: LabelTask = asked.task
        head = self._new(stage, asked.goal(), seed, earlier)
        name = self.job.label or head.name
        decoded = self._decode(task.faces, task.indices, head.read_size)
        rows = Features(torch.empty(len(decoded.records), 0), decoded.records)
        turns = task.turns(rows, Pictures(task.faces, task.indices))
        folder = self._folder(head, f"{of} {task.faces.name}".strip(), seed)
        changes = degradations(self.job.robustness)
        tested = np.concatenate([decoded.records[turn.test] for turn in turns])
        changed = [self._decode(task.faces, tested, head.read_size, change) for change in changes]
        labels = asked.labels[torch.from_numpy(decoded.records)]
        outputs, validation = [], []
        degraded: list[list[Tensor]] = [[] for _ in changes]
        for number, turn in enumerate(turns):
            if number:
                head = self._new(stage, asked.goal(), seed, earlier)
            learnt, kept = (
                torch.from_numpy(turn.train[x]) for x in (~turn.validation, turn.validation)
            )
            pictures = Taught(decoded.images, labels, learnt, kept)
            run = folder / f"fold{number}" if len(turns) > 1 else folder
            validation.append(self._fit(head, stage, seed, pictures, asked.validation, run))
            outputs.append(self._told(head, decoded.images[torch.from_numpy(turn.test)]))
            asked_for = decoded.records[turn.test]
            for one, parts in zip(changed, degraded, strict=True):
                parts.append(self._told(head, one.images[torch.from_numpy(one.rows_of(asked_for))]))
        if not is_first():
            return head  # one process writes
        self._draw(head, decoded.images[torch.from_numpy(turns[-1].test[: head.looked_at])], folder)
        means = {k: round(float(np.mean([v[k] for v in validation])), 4) for k in validation[0]}
        represented = self._told(head, decoded.images, True) if has_readout(task) else None
        restored: list[Figure] = []
        if len(turns) == 1:  # else each test picture has a head of its own
            test = turns[0].test
            shown = decoded.images[torch.from_numpy(test)]
            restored = self._restored(head, task.faces, shown, decoded.records[test])
        used = cost(head)  # moves it to the CPU
        chosen = {
            **dataclasses.asdict(stage.training),
            "validation": means,
            "cost": dataclasses.asdict(used),
        }
        figures = asked.figures(rows, turns, torch.cat(outputs), chosen, f"; {used.size}")
        figures += [
            replace(one, hyperparameters=chosen, note=f"{one.note}; {used.size}")
            for one in restored
        ]
        if represented is not None:
            figures.append(exogenous_readout(task, decoded.records, represented))
        protocol = _protocol(self.job, stage, asked, head)
        row = Measured(
            TaskFacts(task.name, task.data_set, task.split, protocol, seed),
            name if self.job.encoder is None else self.job.encoder,
            head.space,
            name,
            figures,
            seconds=time.perf_counter() - started,
        )
        self.recorder.add(row)
        values = ", ".join(f"{f.metric} {f.value:.2f} {f.unit}".strip() for f in figures)
        self.say(
            f"{task.name}: {name}, {task.faces.name}: seed {seed}: {values} ({row.seconds:.0f} s)\n"
            f"  {used}"
        )
        for change, parts in zip(changes, degraded, strict=True):
            condition = {"factor": change.factor, "level": change.level, "unit": change.unit}
            note = f"; {used.size}; {condition_note(condition)}"
            worse = asked.figures(rows, turns, torch.cat(parts), chosen, note)
            self.recorder.add(row._replace(figures=worse, condition=condition))
            first = worse[0]
            self.say(
                f"  {condition_in_words(condition)}: {first.metric} {first.value:.2f} {first.unit}"
            )
        return head

    def _draw(self, head: Head, images: Tensor, folder: Path) -> None:
        """Write what the head gives to look at, of test pictures uint8 [N, 3, R, R]."""
        device = next(head.parameters()).device
        head.eval()
        with torch.inference_mode():
            pictures = head.panels(head.prepare(images.to(device)))
        if not pictures:
            return
        stream = io.BytesIO()
        panel(pictures).save(stream, "PNG")
        path = folder / "panel.png"
        replace_file(path, stream.getvalue())
        self.say(f"pictures to look at: {path}")

    def _folder(self, head: Head, of: str, seed: int) -> Path:
        name = safe_name(f"{self.job.label or head.name} {self.job.encoder or ''} {of}")
        return self.recorder.out / HEADS_FOLDER / name / f"seed{seed}"

    def _fit(
        self,
        head: Head,
        stage: Stage,
        seed: int,
        pictures: Taught,
        validation: Callable[[Tensor, Tensor], dict[str, float]],
        run: Path,
    ) -> dict[str, float]:
        """Train a head; figures on the pictures that are kept back."""
        machine = Machine(self.job.accelerator, self.job.devices, self.precision)
        check_batch(stage.training, pictures, machine)
        self.recorder.folder.begin()
        settings = {**self.settings, "seeds": [seed]}
        train(head, stage.training, pictures, seed, run, machine, settings)
        kept = pictures.kept
        return validation(self._told(head, pictures.images[kept]), pictures.labels[kept])

    def _restored(
        self, head: Head, faces: FaceSet, images: Tensor, records: np.ndarray
    ) -> list[Figure]:
        keys = [faces.records[i].key for i in records]
        half = self.precision.startswith("bf16")
        return measure_figures(head, images, keys, self.job.bootstrap, half)

    def _told(self, head: Head, images: Tensor, features: bool = False) -> Tensor:
        return told(head, images, self.precision.startswith("bf16"), features)


def tasks_of(
    stage: Stage, bootstrap: int, say: Callable[[str], None] = print
) -> list[HeadTask[Any]]:
    """What a stage learns, on each face set that serves, with the split and the draws of seed 0.

    Raises:
        MissingData: none serves.
        InputError: the data can't be used.
    """
    kind = TASKS[stage.task]
    learnt = head_task(kind)
    assert learnt is not None
    sets = _face_sets(stage, say)
    if stage.test_data is not None:
        asked = {0: face_sets_by_seed(stage.test_data, False, [0], say)[0]}
        sets = crossed_by_seed({0: sets}, asked, kind)[0]
    try:
        # None serves: the task tells what it needs.
        return [
            learnt(kind(given, 0, bootstrap, "cpu", stage.max_train))
            for given in [[one] for one in kind.serving(sets)] or [[*sets]]
        ]
    except MissingData as error:
        raise MissingData(f"task {error}; add it to the data folder") from error


def _face_sets(stage: Stage, say: Callable[[str], None]) -> Sequence[FaceSet]:
    return face_sets_by_seed(stage.data, False, [0], say)[0]


def _training(job: HeadJob, stage: Stage, head: Head) -> str:
    """What was trained, and how, in words."""
    parameters = sum(p.numel() for p in head.parameters() if p.requires_grad)
    before = ", then ".join(
        f"{'the identity of people' if s.task == PEOPLE else s.task} ({s.training.epochs} epochs)"
        for s in job.before
    )
    return (
        f"{parameters / 1e6:.2f} M parameters trained on labelled pictures of {head.picture_size} "
        f"px, {f'before that on {before}, ' if before and stage.task == job.task else ''}"
        f"{stage.training.epochs} epochs of AdamW with one cycle of the learning rate"
        f"{' and sharpness-aware minimisation' if stage.training.sam_radius else ''}"
    )


def _protocol(job: HeadJob, stage: Stage, asked: HeadTask[Any], head: Head) -> str:
    return (
        f"{_training(job, stage, head)}, on all of the training part but "
        f"{asked.task.validation_share:.0%} (stratified, copies of a picture and pictures of a "
        "person together), which chooses nothing in a run; the last weights are scored"
    )


def _device(accelerator: str) -> str:
    return "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"


def safe_name(name: str) -> str:
    """A name as a folder may be called."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_")
