"""A probing run: encoders and baselines, all tasks, every figure a record in the run's folder."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from linear_probe.experiments.jobs import jobs, rounds
from linear_probe.experiments.jobs import spaces as spaces_of
from linear_probe.experiments.robustness import degradations
from linear_probe.features.frozen import FeatureCache, Pictures, Precision, Source
from linear_probe.features.listing import write_listing
from linear_probe.heads.thin_beds import TEST_BEDS
from linear_probe.records.measured import Measured
from linear_probe.records.record import Record
from linear_probe.records.recorder import Recorder, RunFolder
from linear_probe.sources.baselines import baselines_named
from linear_probe.sources.by_name import encoder_sources
from linear_probe.stats.conditions import (
    ChangedFeatures,
    condition_in_words,
    condition_note,
    constant_note,
    scores_by_share,
)
from linear_probe.tasks import TASKS, USUAL_TASKS, Figure, MissingData, Task
from linear_probe.tasks.cross_sets import crossed_by_seed
from linear_probe.tasks.protocols import PROTOCOLS
from ssl_faces import InputError
from ssl_faces.common.hardware import fast_bfloat16, hardware
from ssl_faces.data import (
    FaceSet,
    PictureFolder,
    Skipped,
    default_data_root,
    find_face_sets,
)
from ssl_faces.rendered import RenderedFaces

RENDERED = "rendered"
RENDERED_COUNT = 1400
RENDERED_PEOPLE = 140
FEATURES_FOLDER = "features"


def _print(line: str) -> None:
    # At once, also into a pipe: a run takes minutes.
    print(line, flush=True)


def run_probes(
    encoders: Sequence[str],
    out: str | Path,
    *,
    data: str | Path | None = None,
    test_data: str | Path | None = None,
    tasks: Sequence[str] | None = None,
    spaces: Sequence[str] | None = None,
    seed: int | Sequence[int] = 0,
    batch_size: int = 256,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "32",
    baselines: bool | Sequence[str] = True,
    replicates: int = 1000,
    max_train: int | None = None,
    or_rendered: bool = False,
    own: Sequence[FaceSet] = (),
    label_shares: Sequence[float] = (),
    robustness: Sequence[str] = (),
    protocol: str | None = None,
    epochs: int = 300,
    brief: bool = False,
    say: Callable[[str], None] = _print,
) -> list[Record]:
    """Score frozen encoders and write the figures to `out`/records.jsonl.

    Records of an earlier run into the same folder stay, but for those of the same key, which are
    replaced. They are written after each feature space, so that a run that is stopped keeps what
    it has.

    Args:
        encoders: as `--encoder` takes them: see `linear_probe.sources.by_name`.
        out: folder for the records, the frozen features and the list of skipped pictures.
        data: a folder with the data sets, `rendered`, `rendered:COUNT`, or a test bed of
            `linear_probe.heads.thin_beds` by its name; None is the usual folder
            (`ssl_faces.data.default_data_root`) where it holds anything, else rendered faces.
        test_data: another such folder, or `rendered`: what is learnt on the sets of `data` is
            scored on all pictures of its sets, over the classes that both have
            (`ssl_faces.data.cross_database`). `tasks` are then of classes; None is expression.
        tasks: some of `TASKS`; None is those of `USUAL_TASKS` that the data serve.
        spaces: feature spaces of the encoders to score; None is all.
        seed: of splits, untrained weights, rendered faces and bootstrap; of several, everything is
            done for each, but features of trained encoders once.
        batch_size: pictures given to an encoder at once.
        device: `cpu`, `cuda` or `auto`.
        precision: of encoders: `32`, `bf16`, or `auto`, which is bf16 where the hardware has it.
            Probes are always fitted in float32.
        baselines: some of `linear_probe.sources.baselines.NAMES`; True is all (ImageNet's
            ResNet-18 if its weights are on the disk), False none.
        replicates: of the bootstrap.
        max_train: training pictures of expression and of attributes, drawn by the seed; None is
            all.
        or_rendered: score on rendered faces where `data` has pictures but no labels.
        own: face sets to score on instead of `data`, with every task that they serve.
        label_shares: percentages of the training labels with which to score too, for tasks that
            learn from labels.
        robustness: some of `linear_probe.experiments.robustness.DEGRADATIONS`, or `all`: also score
            on test images that are degraded so, where the task can.
        protocol: name of a paper's protocol to score by instead, of `PROTOCOLS`.
        brief: report the first figure of each feature space while it runs, not all.
        epochs: of the protocol's training, where it trains by epochs.
        say: is told what a user should read.

    Returns:
        The records of this run.

    Raises:
        InputError: an argument, an encoder or the data can't be used, or `out` can't be written.
    """
    seeds = list(dict.fromkeys([seed] if isinstance(seed, int) else seed))
    _check(tasks, seeds, batch_size, replicates, max_train, label_shares, epochs)
    kinds = PROTOCOLS[protocol](epochs) if protocol else TASKS
    changes = degradations(robustness)
    device = device_named(device)
    if precision == "auto":
        precision = "bf16" if fast_bfloat16() else "32"
    out = Path(out)
    where = hardware(device) + ("" if precision == "32" else f", features in {precision}")
    recorder = Recorder(out, where)
    sources = {}
    for one in seeds:
        tell = say if one == seeds[0] else _silent
        sources[one] = encoder_sources(encoders, spaces, precision, baselines, one, tell)
    face_sets = (
        dict.fromkeys(seeds, own) if own else face_sets_by_seed(data, or_rendered, seeds, say)
    )
    if test_data is not None:
        if own:
            raise InputError(
                "--test-data goes with --data, not with data of your own; leave one out"
            )
        tasks = list(tasks or ["expression"])
        asked = face_sets_by_seed(test_data, False, seeds, say)
        by_task = [
            crossed_by_seed(face_sets, asked, kinds.get(name, TASKS[name])) for name in tasks
        ]
        face_sets = {one: [f for found in by_task for f in found[one]] for one in seeds}
    if own and tasks is None:
        tasks = [name for name, kind in kinds.items() if kind.serving(own)]
    chosen: dict[int, list[Task]] = {}
    for one in seeds:
        # What is missing is missing for all seeds: told once.
        tell = say if one == seeds[0] else _silent
        chosen[one] = _tasks(
            *(kinds, tasks, face_sets[one], one, replicates, device, max_train, tell)
        )

    cache = FeatureCache(out / FEATURES_FOLDER, batch_size, device)
    plain = baselines_named(baselines)
    pictures_of = _extract(chosen, sources, plain, cache, recorder.folder, say)
    changed = ChangedFeatures(cache, pictures_of)
    changed.fill(chosen, sources, plain, changes)
    say(cache.about())
    add = recorder.add

    for job in jobs(chosen, sources, plain):
        source, space = job.source, job.space
        pictures = pictures_of[id(job.tasks[0].faces)]
        features = cache.read(source, pictures, space)
        for task in job.tasks:
            for reference in task.references(features, pictures) if job.first else []:
                add(Measured(task, reference.name, "", reference.probe, reference.figures))
            task.seen = [changed.read(task, source, space, view) for view in task.views()]
        note = constant_note(features.values)
        if note:
            say(f"{job.tasks[0].name}: {source.name}, {space}: {note}")
        started = time.perf_counter()
        together = type(job.tasks[0]).score_together(job.tasks, features, pictures)
        seconds = (time.perf_counter() - started) / len(job.tasks)
        for task, figures in zip(job.tasks, together, strict=True):
            row = Measured(
                task, source.name, space, task.probe, figures, source.fingerprint, seconds, note
            )
            add(row)
            values = ", ".join(map(_told, figures[:1] if brief else figures))
            by_seed = f"seed {task.seed}: " if len(seeds) > 1 else ""
            say(f"{task.name}: {source.name}, {space}: {by_seed}{values} ({seconds:.1f} s)")
            for condition, found in chain(
                scores_by_share(task, features, pictures, label_shares, figures, say),
                changed.scores(task, source, space, features, pictures, changes),
            ):
                told = "; ".join(filter(None, (note, condition_note(condition))))
                add(row._replace(figures=found, condition=condition, note=told))
                say(f"  {condition_in_words(condition)}: {found[0].metric} {found[0].value:.2f}")
    return recorder.records


def _told(figure: Figure) -> str:
    # Of several probes each is named, where its metric's name does not.
    probe = "" if figure.probe in figure.metric else f" ({figure.probe})"
    return f"{figure.metric}{probe} {figure.value:.2f} {figure.unit}".rstrip()


def _silent(line: str) -> None:
    del line


def _extract(
    tasks: dict[int, list[Task]],
    encoders: dict[int, list[Source]],
    baselines: Collection[str],
    cache: FeatureCache,
    folder: RunFolder,
    say: Callable[[str], None],
) -> dict[int, Pictures]:
    """Fill the cache for all tasks and list what was skipped; the pictures by id of the face set.

    Args:
        tasks, encoders: by seed.
        folder: gets the list.
    """
    found: dict[int, Pictures] = {}
    count, listed = 0, None
    for faces in {id(t.faces): t.faces for of_seed in tasks.values() for t in of_seed}.values():
        # Tasks on one face set share its features.
        here = {seed: [t for t in found if t.faces is faces] for seed, found in tasks.items()}
        wanted = [task.indices for of_seed in here.values() for task in of_seed]
        pictures = Pictures(faces, np.unique(np.concatenate(wanted)))
        found[id(faces)] = pictures
        sources = [
            s
            for seed, of_seed in here.items()
            for s, _ in spaces_of(of_seed, encoders[seed], baselines)
        ]
        passed_over: dict[Skipped, None] = dict.fromkeys(faces.skipped)
        for together in rounds(sources):
            passed_over.update(dict.fromkeys(cache.fill(together, pictures)))
        write_listing(cache.folder, pictures, sources)
        keys = (faces.records[i].key for i in pictures.indices)
        listed = folder.skip(faces.name, keys, [*passed_over])
        count += len(passed_over)
    if count:
        say(f"{count} pictures skipped: see {listed}")
    return found


def _check(
    tasks: Sequence[str] | None,
    seeds: Sequence[int],
    batch_size: int,
    replicates: int,
    max_train: int | None,
    label_shares: Sequence[float],
    epochs: int,
) -> None:
    for task in tasks or []:
        if task not in TASKS:
            raise InputError(f"unknown task '{task}'; this version knows {', '.join(TASKS)}")
    for name, value, least in (
        ("seed", min(seeds, default=0), 0),
        ("batch-size", batch_size, 1),
        ("bootstrap", replicates, 1),
        ("max-train", 100 if max_train is None else max_train, 100),
        ("epochs", epochs, 1),
    ):
        if value < least:
            raise InputError(f"--{name} must be a whole number from {least}, not {value}")
    for share in label_shares:
        if not 0 < share <= 100:
            raise InputError(f"--label-shares must be above 0 and at most 100 %, not {share:g}")


def device_named(name: str) -> str:
    """`cpu` or `cuda`, which `auto` chooses; raises InputError where there is no such one."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no CUDA device here; take --device cpu")
    return name


def face_sets_by_seed(
    data: str | Path | None, or_rendered: bool, seeds: Sequence[int], say: Callable[[str], None]
) -> dict[int, Sequence[FaceSet]]:
    """By seed; real ones are the same for all."""
    if data is None:
        root = default_data_root()
        named = bool(os.environ.get("SSL_FACES_DATA"))
        if named or (root.is_dir() and any(root.iterdir())):
            data = root
        else:
            say(f"no real faces in {root}: scoring on rendered faces")
            data = RENDERED
    if str(data) in TEST_BEDS:
        bed = [TEST_BEDS[str(data)]()]
        return dict.fromkeys(seeds, bed)
    if rendered_faces(data, 0) is None:
        found = find_face_sets(data, "all")
        if not or_rendered or not all(isinstance(faces, PictureFolder) for faces in found):
            return dict.fromkeys(seeds, found)
        say(f"{data}: pictures without labels, nothing to score on; scoring on rendered faces")
        data = RENDERED
    return {s: [faces] for s in seeds if (faces := rendered_faces(data, s)) is not None}


def rendered_faces(data: str | Path, seed: int) -> RenderedFaces | None:
    """The set that `rendered`, of `RENDERED_COUNT` faces, or `rendered:COUNT` names; None where
    `data` is a folder. All of a smaller set's faces are in a larger one.

    Raises:
        InputError: a count that can't be.
    """
    name, colon, count = str(data).partition(":")
    if name != RENDERED:
        return None
    if colon and not (count.isdecimal() and int(count)):
        raise InputError(
            f"data: '{data}'; give {RENDERED}, or {RENDERED}:COUNT with how many faces, such as "
            f"{RENDERED}:20000"
        )
    faces = int(count) if colon else RENDERED_COUNT
    # As many pictures of each person, or one less, in sets of any size.
    people = math.ceil(faces * RENDERED_PEOPLE / RENDERED_COUNT)
    return RenderedFaces(faces, people, "all", seed=seed)


def _tasks(
    kinds: Mapping[str, type[Task]],
    names: Sequence[str] | None,
    face_sets: Sequence[FaceSet],
    seed: int,
    replicates: int,
    device: str,
    max_train: int | None,
    say: Callable[[str], None],
) -> list[Task]:
    found: list[Task] = []
    # Some sets carry what few do; the usual tasks are those whose lack is worth a word.
    rare = [n for n in ("affect", "classes") if n in kinds and kinds[n].serving(face_sets)]
    for name in dict.fromkeys(names or [*USUAL_TASKS, *rare]):
        if name not in kinds:
            raise InputError(f"the protocol has no task '{name}'; it has {', '.join(kinds)}")
        try:
            # On each set that serves; on none, the task tells what it needs.
            for given in [[faces] for faces in kinds[name].serving(face_sets)] or [[*face_sets]]:
                found.append(kinds[name](given, seed, replicates, device, max_train))
        except MissingData as error:
            if names is not None:
                raise InputError(f"task {error}; add it to the data folder") from error
            say(f"{error}: task skipped")
    if not found:
        there = ", ".join(faces.name for faces in face_sets)
        raise InputError(
            f"the data hold nothing to score on (found: {there}); give a folder with FER-2013, "
            f"LFW or the YouTube keypoints, or --data {RENDERED}"
        )
    return found
