"""A probing run: encoders and baselines, all tasks, every figure a record in the run's folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from linear_probe.experiments.conditions import ChangedFeatures, constant_note, scores_by_share
from linear_probe.experiments.jobs import Plan
from linear_probe.experiments.settings import ProbeSettings
from linear_probe.features.files import FEATURES_FOLDER
from linear_probe.features.frozen import FeatureCache, Pictures
from linear_probe.features.source import precision_named
from linear_probe.records.measured import Measured, condition_note
from linear_probe.records.record import Record
from linear_probe.records.recorder import RunFolder
from linear_probe.records.runner import Run, Say, device_named, print_line, run_experiment
from linear_probe.sources.baselines import baselines_named
from linear_probe.sources.by_name import EncoderObject, encoder_sources, split_name
from linear_probe.sources.names import RENDERED
from linear_probe.sources.overlap import Overlaps
from linear_probe.sources.robustness import degradations
from linear_probe.tasks import TASKS, USUAL_TASKS, MissingData, Task
from linear_probe.tasks.face_sets import crossed_by_seed, face_sets_by_seed, serving_tasks
from linear_probe.tasks.facecycle import facecycle_tasks
from linear_probe.tasks.own_data import OwnData
from linear_probe.tasks.validation_sets import validation_sets
from ssl_faces import InputError
from ssl_faces.common.errors import did_you_mean
from ssl_faces.common.plurals import plural
from ssl_faces.common.shards import Shard, shards_folder
from ssl_faces.data import FaceSet


def run_probes(
    encoders: Sequence[str | EncoderObject],
    out: str | Path,
    *,
    seed: int | Sequence[int] = 0,
    baselines: bool | Sequence[str] = True,
    own: Sequence[FaceSet] = (),
    say: Say = print_line,
    **settings: Any,
) -> list[Record]:
    """Score frozen encoders and write the figures to `out`/records.jsonl; the records of this run.

    Args:
        encoders: as `--encoder` takes them, or encoders: see `linear_probe.sources.by_name`.
        out: folder for the records, the frozen features and the list of skipped images.
        seed: one or several.
        baselines: some of `linear_probe.sources.baselines.NAMES`; True is all, False none.
        own: face sets to score on instead of `data`, with every task that they serve.
        say: gets each line of progress.
        settings: other fields of `ProbeSettings`, such as `tasks`, `data` or `max_train`.

    Raises:
        InputError: an argument, an encoder or the data can't be used, or `out` can't be written.
    """
    chosen = ProbeSettings(
        list(encoders),  # type: ignore[arg-type]  # the command line gives names only
        seeds=[seed] if isinstance(seed, int) else list(seed),
        baselines=sorted(baselines_named(baselines)) or ["none"],
        own=own,
        **settings,
    )
    return run_experiment(chosen, out, say=say, brief=chosen.brief)


def measurements(settings: ProbeSettings, run: Run) -> Iterator[Measured]:
    """Score every feature space of the encoders and baselines by every task and seed."""
    changes = degradations(settings.robustness)
    plan = _Planner(settings, run).plan()
    cache = FeatureCache(run.out / FEATURES_FOLDER, settings.batch_size, run.device)
    pictures_of = _extract(plan, cache, run)
    changed = ChangedFeatures(cache, pictures_of)
    changed.fill(plan, changes)
    run.say(cache.about())
    overlaps = Overlaps(run.say)
    names = [split_name(one) for one in settings.encoders if isinstance(one, str)]
    origins = {name: text for name, text in names if name}

    for job in plan.jobs():
        source, space = job.source, job.space
        pictures = pictures_of[id(job.tasks[0].faces)]
        features = cache.read(source, pictures, space)
        for task in job.tasks:
            for reference in task.references(features, pictures) if job.first else []:
                row = Measured(task, reference.name, "", reference.probe, reference.figures)
                yield row._replace(note=task.few_people_note())
            task.seen = [changed.read(task, source, space, view) for view in task.views()]
        note = constant_note(features.values)
        if note:
            run.say(f"{job.tasks[0].name}: {source.name}, {space}: {note}")
        started = time.perf_counter()
        together = type(job.tasks[0]).score_together(job.tasks, features, pictures)
        seconds = (time.perf_counter() - started) / len(job.tasks)
        for task, figures in zip(job.tasks, together, strict=True):
            encoder = getattr(source, "encoder", None)
            overlap = overlaps.of(source.name, encoder, task.faces, task.scored())
            of_row = "; ".join(filter(None, (note, task.few_people_note())))
            row = Measured(
                *(task, source.name, space, task.probe, figures, source.fingerprint, seconds),
                of_row,
                overlap=overlap,
                origin=origins.get(source.name, ""),
            )
            yield row
            for condition, worse in chain(
                scores_by_share(task, features, pictures, settings.label_shares, figures, run.say),
                changed.scores(task, source, space, features, pictures, changes),
            ):
                notes = "; ".join(filter(None, (of_row, condition_note(condition))))
                yield row._replace(figures=worse, condition=condition, note=notes)


def extract_shard(settings: ProbeSettings, out: Path, shard: Shard) -> None:
    """Compute a part of the features that a run in `out` needs; the run then finds it.

    Raises:
        InputError: as of a run.
    """
    out.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(shards_folder(out) / f"shard-{shard.number}-of-{shard.count}")
    run = Run(folder, device_named(settings.device), print_line, {})
    plan = _Planner(settings, run).plan()
    cache = FeatureCache(out / FEATURES_FOLDER, settings.batch_size, run.device, shard)
    pictures_of = _extract(plan, cache, run)
    ChangedFeatures(cache, pictures_of).fill(plan, degradations(settings.robustness))


class _Planner:
    """Makes the plan of a run from its settings."""

    def __init__(self, settings: ProbeSettings, run: Run) -> None:
        for name in settings.tasks or []:
            if name not in TASKS:
                near = did_you_mean(name, TASKS)
                known = ", ".join(TASKS)
                raise InputError(f"unknown task '{name}'{near}; this version knows {known}")
        self.settings, self.run = settings, run
        self.seeds = list(dict.fromkeys(settings.seeds))
        epochs = 300 if settings.epochs is None else settings.epochs
        self.kinds = facecycle_tasks(epochs) if settings.protocol else TASKS
        # What is missing is missing for all seeds: reported once.
        self.say = {s: run.say if s == self.seeds[0] else lambda line: None for s in self.seeds}

    def plan(self) -> Plan:
        settings = self.settings
        # Before encoders are loaded, which takes longer.
        files = {name: getattr(settings, name) for name in OwnData.__dataclass_fields__}
        own = settings.own or OwnData(**files).face_sets(self.run.out)
        named = list(settings.baselines)
        baselines = baselines_named(named == ["all"] if named in (["all"], ["none"]) else named)
        precision = precision_named(settings.precision)
        encoders = {
            seed: encoder_sources(
                *(settings.encoders, settings.spaces, precision),
                *(sorted(baselines), seed, self.say[seed]),
            )
            for seed in self.seeds
        }
        names, face_sets = self._face_sets(own)
        tasks = {seed: self._tasks(names, face_sets[seed], seed) for seed in self.seeds}
        return Plan(tasks, encoders, baselines)

    def _face_sets(
        self, own: Sequence[FaceSet]
    ) -> tuple[Sequence[str] | None, Mapping[int, Sequence[FaceSet]]]:
        """The tasks to score, None for the usual ones, and the face sets by seed."""
        settings, names = self.settings, self.settings.tasks
        if settings.validation and (own or settings.test_data is not None):
            raise InputError(
                "--validation: only for sets of --data; score --test-data and data of your own "
                "without it"
            )
        if own:
            if settings.data is not None or settings.test_data is not None:
                raise InputError(
                    "--data and --test-data can't be combined with data of your own; score them "
                    "one after the other"
                )
            if names is None:
                names = [name for name, kind in self.kinds.items() if kind.serving(own)]
            return names, dict.fromkeys(self.seeds, own)
        say = self.run.say
        face_sets = face_sets_by_seed(settings.data, settings.or_rendered, self.seeds, say)
        if settings.validation:
            parts = {id(sets): validation_sets(sets) for sets in face_sets.values()}
            return names, {seed: parts[id(sets)] for seed, sets in face_sets.items()}
        if settings.test_data is None:
            return names, face_sets
        names = list(names or ["expression"])
        tested = face_sets_by_seed(settings.test_data, False, self.seeds, say)
        by_task = [
            crossed_by_seed(face_sets, tested, self.kinds.get(name, TASKS[name])) for name in names
        ]
        return names, {seed: [f for sets in by_task for f in sets[seed]] for seed in self.seeds}

    def _tasks(
        self, names: Sequence[str] | None, face_sets: Sequence[FaceSet], seed: int
    ) -> list[Task]:
        kinds, settings = self.kinds, self.settings
        tasks: list[Task] = []
        # Some sets have rare labels; a missing task is reported only if it is a usual one.
        rare = [n for n in ("affect", "classes") if n in kinds and kinds[n].serving(face_sets)]
        for name in dict.fromkeys(names or [*USUAL_TASKS, *rare]):
            if name not in kinds:
                raise InputError(f"the protocol has no task '{name}'; it has {', '.join(kinds)}")
            more = (seed, settings.replicates, self.run.device, settings.max_train)
            try:
                tasks += serving_tasks(kinds[name], face_sets, *more)
            except MissingData as error:
                if names is not None:
                    raise InputError(str(error)) from error
                self.say[seed](f"{error.__cause__}: task skipped")
        if not tasks:
            there = ", ".join(faces.name for faces in face_sets)
            raise InputError(
                f"the data hold nothing to score on (found: {there}); give a folder with FER-2013, "
                f"LFW or the YouTube keypoints, --data {RENDERED}, or labels of your own by "
                "--train-csv and --test-csv, --train and --test, or --pairs"
            )
        return tasks


def _extract(plan: Plan, cache: FeatureCache, run: Run) -> dict[int, Pictures]:
    """Fill the cache and list the skipped images; the images of all tasks by id of the face set."""
    pictures_of: dict[int, Pictures] = {}
    count, listed = 0, None
    for faces in {id(task.faces): task.faces for task in plan.all_tasks()}.values():
        # Tasks on one face set share its features.
        tasks = [task for task in plan.all_tasks() if task.faces is faces]
        wanted = np.concatenate([task.indices for task in tasks])
        pictures = pictures_of[id(faces)] = Pictures(faces, np.unique(wanted))
        filled = cache.fill(plan.sources(tasks), pictures)
        skipped = [*dict.fromkeys([*faces.skipped, *filled])]
        keys = (faces.records[i].key for i in pictures.indices)
        listed = run.folder.skip(faces.name, keys, skipped)
        count += len(skipped)
    if count:
        run.say(f"{plural(count, 'picture')} skipped: see {listed}")
    return pictures_of
