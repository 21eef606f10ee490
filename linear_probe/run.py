"""A probing run: encoders and baselines, all tasks, every figure a record in the run's folder."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from linear_probe.baselines import BASELINES
from linear_probe.feature_listing import write_listing
from linear_probe.features import EncoderSource, FeatureCache, Pictures, Precision, Source
from linear_probe.record import RECORDS_FILE, Record, merged, read_records, write_records
from linear_probe.replicates import REPLICATES_FILE, read_replicates, write_replicates
from linear_probe.tasks import TASKS, USUAL_TASKS, Figure, MissingData, Task
from ssl_faces import InputError, load_encoder
from ssl_faces.data import (
    FaceSet,
    PictureFolder,
    Skipped,
    default_data_root,
    find_face_sets,
    write_skipped,
)
from ssl_faces.data.synthetic import RenderedFaces
from ssl_faces.hardware import fast_bfloat16, hardware

RENDERED = "rendered"
RENDERED_COUNT = 1400
RENDERED_PEOPLE = 140
SKIPPED_FILE = "skipped.csv"
FEATURES_FOLDER = "features"


def _print(line: str) -> None:
    # At once, also into a pipe: a run takes minutes.
    print(line, flush=True)


def run_probes(
    encoders: Sequence[str],
    out: str | Path,
    *,
    data: str | Path | None = None,
    tasks: Sequence[str] | None = None,
    spaces: Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "32",
    baselines: bool = True,
    replicates: int = 1000,
    max_train: int | None = None,
    or_rendered: bool = False,
    say: Callable[[str], None] = _print,
) -> list[Record]:
    """Score frozen encoders and write the figures to `out`/records.jsonl.

    Records of an earlier run into the same folder stay, but for those of the same key, which are
    replaced. They are written after each feature space, so that a run that is stopped keeps what
    it has.

    Args:
        encoders: folders of saved encoders, or names of released ones.
        out: folder for the records, the frozen features and the list of skipped pictures.
        data: a folder with the data sets, or `rendered`; None is the usual folder
            (`ssl_faces.data.default_data_root`) where it holds anything, else rendered faces.
        tasks: some of `TASKS`; None is those of `USUAL_TASKS` that the data serve.
        spaces: feature spaces of the encoders to score; None is all.
        seed: of splits, untrained weights, rendered faces and bootstrap.
        batch_size: pictures given to an encoder at once.
        device: `cpu`, `cuda` or `auto`.
        precision: of encoders: `32`, `bf16`, or `auto`, which is bf16 where the hardware has it.
            Probes are always fitted in float32.
        baselines: score raw pixels, HOG, LBP and the untrained encoders too.
        replicates: of the bootstrap.
        max_train: training pictures of expression and of attributes, drawn by the seed; None is
            all.
        or_rendered: score on rendered faces where `data` has pictures but no labels.
        say: is told what a user should read.

    Returns:
        The records of this run.

    Raises:
        InputError: an argument, an encoder or the data can't be used, or `out` can't be written.
    """
    _check(tasks, seed, batch_size, replicates, max_train)
    device = _device(device)
    if precision == "auto":
        precision = "bf16" if fast_bfloat16() else "32"
    out = Path(out)
    earlier = read_records(out / RECORDS_FILE) if (out / RECORDS_FILE).exists() else []
    encoder_sources = _encoder_sources(encoders, spaces, precision, baselines, seed, say)
    face_sets = _face_sets(data, or_rendered, seed, say)
    chosen = _tasks(tasks, face_sets, seed, replicates, device, max_train, say)

    cache = FeatureCache(out / FEATURES_FOLDER, batch_size, device)
    pictures_of = _extract(chosen, encoder_sources, baselines, cache, out / SKIPPED_FILE, say)
    records: list[Record] = []
    where = hardware(device) + ("" if precision == "32" else f", features in {precision}")

    replicates_of = read_replicates(out / REPLICATES_FILE)

    def add(row: _Row) -> None:
        made = _records(row, seed, where)
        records.extend(made)
        for record, figure in zip(made, row.figures, strict=True):
            replicates_of[record.name] = figure.replicates
        write_replicates(out / REPLICATES_FILE, replicates_of)
        write_records(out / RECORDS_FILE, merged(earlier, records))

    for task in chosen:
        pictures = pictures_of[task.faces.name]
        for i, (source, space) in enumerate(_spaces([task], encoder_sources, baselines)):
            features = cache.read(source, pictures, space)
            for reference in task.references(features, pictures) if i == 0 else []:
                add(_Row(task, reference.name, "", reference.probe, reference.figures))
            started = time.perf_counter()
            figures = task.score(features, pictures)
            seconds = time.perf_counter() - started
            add(_Row(task, source.name, space, task.probe, figures, source.fingerprint, seconds))
            values = ", ".join(f"{f.metric} {f.value:.2f} {f.unit}" for f in figures)
            say(f"{task.name}: {source.name}, {space}: {values} ({seconds:.1f} s)")
    return records


class _Row(NamedTuple):
    """A row of the table: the figures of one feature space or reference."""

    task: Task
    encoder: str
    space: str
    probe: str
    figures: list[Figure]
    fingerprint: str = ""
    seconds: float = 0.0


def _records(row: _Row, seed: int, where: str) -> list[Record]:
    return [
        Record(
            task=row.task.name,
            data_set=row.task.data_set,
            split=row.task.split,
            encoder=row.encoder,
            feature_space=row.space,
            probe=figure.probe or row.probe,
            seed=seed,
            protocol=row.task.protocol,
            fingerprint=row.fingerprint[:16],
            seconds=round(row.seconds, 3),
            hardware=where,
            versions=_versions(),
            low=figure.low,
            high=figure.high,
            **{
                name: value
                for name, value in vars(figure).items()
                if name not in ("replicates", "probe")
            },
        )
        for figure in row.figures
    ]


def _spaces(
    tasks: Sequence[Task], encoders: Sequence[Source], baselines: bool
) -> list[tuple[Source, str]]:
    """Every source of the tasks on one face set, the baselines first, with its spaces."""
    sides = dict.fromkeys(task.baseline_side for task in tasks) if baselines else {}
    sources: list[Source] = [baseline(side) for baseline in BASELINES for side in sides]
    sources += encoders
    return [(source, space) for source in sources for space in source.dims]


def _extract(
    tasks: Sequence[Task],
    encoders: Sequence[Source],
    baselines: bool,
    cache: FeatureCache,
    list_file: Path,
    say: Callable[[str], None],
) -> dict[str, Pictures]:
    """Fill the cache for all tasks and list what was skipped; the pictures of each face set."""
    found: dict[str, Pictures] = {}
    skipped: list[tuple[str, Skipped]] = []
    for faces in {task.faces.name: task.faces for task in tasks}.values():
        # Tasks on one face set share its features.
        here = [task for task in tasks if task.faces is faces]
        indices = np.unique(np.concatenate([task.indices for task in here]))
        found[faces.name] = Pictures(faces, indices)
        sources = {id(s): s for s, _ in _spaces(here, encoders, baselines)}
        passed_over = cache.fill(list(sources.values()), found[faces.name])
        write_listing(cache.folder, found[faces.name], list(sources.values()))
        skipped += [(faces.name, item) for item in [*faces.skipped, *passed_over]]
    write_skipped(list_file, skipped)
    if skipped:
        say(f"{len(skipped)} pictures skipped: see {list_file}")
    return found


def _check(
    tasks: Sequence[str] | None,
    seed: int,
    batch_size: int,
    replicates: int,
    max_train: int | None,
) -> None:
    for task in tasks or []:
        if task not in TASKS:
            raise InputError(f"unknown task '{task}'; this version knows {', '.join(TASKS)}")
    for name, value, least in (
        ("seed", seed, 0),
        ("batch-size", batch_size, 1),
        ("bootstrap", replicates, 1),
        ("max-train", 100 if max_train is None else max_train, 100),
    ):
        if value < least:
            raise InputError(f"--{name} must be a whole number from {least}, not {value}")


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no CUDA device here; take --device cpu")
    return name


def _encoder_sources(
    encoders: Sequence[str],
    spaces: Sequence[str] | None,
    precision: Precision,
    baselines: bool,
    seed: int,
    say: Callable[[str], None],
) -> list[Source]:
    """Each encoder, and before it the same untrained."""
    if not encoders:
        raise InputError("no encoder given; name one with --encoder")
    trained = [
        EncoderSource(name, load_encoder(name), spaces, precision)
        for name in dict.fromkeys(encoders)
    ]
    known = {space: None for source in trained for space in source.encoder.feature_dims}
    for space in spaces or []:
        if space not in known:
            raise InputError(f"unknown feature space '{space}'; there are {', '.join(known)}")
    sources: list[Source] = []
    untrained_as: dict[str, str] = {}
    for source in trained:
        if not source.dims:
            say(f"{source.name}: has none of the feature spaces asked for, so it is left out")
            continue
        if baselines:
            encoder = load_encoder(source.name, untrained=True, seed=seed)
            untrained = EncoderSource(f"{source.name}, untrained", encoder, spaces, precision)
            alike = untrained_as.setdefault(untrained.fingerprint, untrained.name)
            if alike == untrained.name:
                sources.append(untrained)
            else:
                say(f"{untrained.name}: the same as {alike}, which is scored once")
        sources.append(source)
    return sources


def _face_sets(
    data: str | Path | None, or_rendered: bool, seed: int, say: Callable[[str], None]
) -> list[FaceSet]:
    if data is None:
        root = default_data_root()
        named = bool(os.environ.get("SSL_FACES_DATA"))
        if named or (root.is_dir() and any(root.iterdir())):
            data = root
        else:
            say(f"no real faces in {root}: scoring on rendered faces")
            data = RENDERED
    if str(data) != RENDERED:
        found = find_face_sets(data, "all")
        if not or_rendered or not all(isinstance(faces, PictureFolder) for faces in found):
            return found
        say(f"{data}: pictures without labels, nothing to score on; scoring on rendered faces")
    return [RenderedFaces(RENDERED_COUNT, RENDERED_PEOPLE, "all", seed=seed)]


def _tasks(
    names: Sequence[str] | None,
    face_sets: Sequence[FaceSet],
    seed: int,
    replicates: int,
    device: str,
    max_train: int | None,
    say: Callable[[str], None],
) -> list[Task]:
    found: list[Task] = []
    for name in dict.fromkeys(names or USUAL_TASKS):
        try:
            found.append(TASKS[name](face_sets, seed, replicates, device, max_train))
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


@lru_cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("ssl-faces", "torch", "numpy", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
