"""`linear-probe head`: train a head on each seed, and score it as linear probes are scored."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from linear_probe.changed_pictures import ChangedFaces
from linear_probe.conditions import condition_in_words, condition_note
from linear_probe.features import Features, Pictures
from linear_probe.heads.head import Head
from linear_probe.heads.module import HeadModule, HeadTraining
from linear_probe.heads.pictures import Decoded, EpochBatches, LabelledPictures, decode
from linear_probe.measured import Measured
from linear_probe.record import Record
from linear_probe.recorder import Recorder
from linear_probe.robustness import degradations
from linear_probe.run import SKIPPED_FILE, face_sets_by_seed
from linear_probe.tasks import TASKS, MissingData
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.labelled import Rows
from ssl_faces import FaceEncoder, InputError, load_encoder
from ssl_faces.callbacks.last_checkpoint import LastCheckpoint
from ssl_faces.data import write_skipped
from ssl_faces.files import replace_file
from ssl_faces.hardware import fast_bfloat16, hardware
from ssl_faces.launch import is_first
from ssl_faces.training import quiet

HEADS_FOLDER = "heads"
SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class HeadJob:
    """What one config of `configs/head` says.

    Attributes:
        head: the head: `class_path` and `init_args`.
        encoder: a trained encoder that it rests on, frozen; None: its own network, end to end.
        task: what it learns: a classification task of `linear-probe run`.
        data: as there: a folder, `rendered`, or None for the usual one.
        training: how it is trained.
        seeds: of weights, order and what is drawn; the split and the bootstrap are those of seed 0
            of `linear-probe run`, so that figures of all seeds are of the same draws.
        max_train: training pictures; None is all.
        robustness: score on degraded test pictures too, as `linear-probe run --robustness` does:
            such as `[resolution]`.
        bootstrap: replicates behind the intervals.
        accelerator, devices, precision: of Lightning's trainer; None: bf16 where it is fast.
        label: how tables call it; None: the head's name.
    """

    head: Callable[[int, FaceEncoder | None], Head]
    encoder: str | None = None
    task: str = "expression"
    data: str | None = None
    training: HeadTraining = field(default_factory=HeadTraining)
    seeds: list[int] = field(default_factory=lambda: [0])
    max_train: int | None = None
    robustness: list[str] = field(default_factory=list)
    bootstrap: int = 1000
    accelerator: str = "auto"
    devices: int = 1
    precision: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class _Asked:
    """What records say of the task; `protocol` is the head's."""

    name: str
    data_set: str
    split: str
    protocol: str
    seed: int


def run_head(
    job: HeadJob, settings: dict[str, Any], out: Path, say: Callable[[str], None] = print
) -> list[Record]:
    """Train and score a head for each seed and each face set that serves; its records.

    A run that was stopped goes on from its last checkpoint; one that is finished is only scored.

    Args:
        settings: the job as plain JSON values: the folder of a run with others is refused.
        out: folder of records, as of `linear-probe run`; the runs are in its `heads`.

    Raises:
        InputError: the task is no classification, or an encoder, the data or `out` can't be used.
    """
    kind = TASKS.get(job.task)
    if kind is None or not issubclass(kind, Classes):
        known = ", ".join(name for name, one in TASKS.items() if issubclass(one, Classes))
        raise InputError(f"task: '{job.task}'; heads learn {known}")
    quiet()
    recorder = Recorder(out, hardware("cuda" if _on_gpu(job.accelerator) else "cpu"))
    face_sets = face_sets_by_seed(job.data, False, [0], say)[0]
    # None serves: the task tells what it needs.
    for given in [[faces] for faces in kind.serving(face_sets)] or [[*face_sets]]:
        try:
            task = kind(given, 0, job.bootstrap, "cpu", job.max_train)
        except MissingData as error:
            raise MissingData(f"task {error}; add it to the data folder") from error
        decoded = None
        for seed in job.seeds:
            decoded = _run(job, task, seed, {**settings, "seeds": [seed]}, recorder, say, decoded)
    return recorder.records


def _run(
    job: HeadJob,
    task: Classes,
    seed: int,
    settings: dict[str, Any],
    recorder: Recorder,
    say: Callable[[str], None],
    decoded: Decoded | None,
) -> Decoded:
    """Train and score one head; the pictures, which serve the next seed too."""
    started = time.perf_counter()
    encoder = None if job.encoder is None else load_encoder(job.encoder)
    torch.manual_seed(seed)
    head = job.head(len(task.class_names), encoder)
    name = job.label or head.name
    pictures = Pictures(task.faces, task.indices)
    if decoded is None:
        decoded = decode(task.faces, task.indices, head.read_size)
        write_skipped(recorder.out / SKIPPED_FILE, [(task.faces.name, s) for s in decoded.skipped])
        if decoded.skipped:
            say(f"{len(decoded.skipped)} pictures skipped: see {recorder.out / SKIPPED_FILE}")
    turns = task.turns(Features(torch.empty(len(decoded.records), 0), decoded.records), pictures)
    folder = recorder.out / HEADS_FOLDER / _safe(f"{name} {job.encoder or ''} {task.faces.name}")
    folder = folder / f"seed{seed}"
    changes = degradations(job.robustness)
    tested = np.concatenate([decoded.records[turn.test] for turn in turns])
    changed = [
        decode(ChangedFaces(task.faces, c, task.seed), tested, head.read_size) for c in changes
    ]
    logits, validation = [], []
    degraded: list[list[Tensor]] = [[] for _ in changes]
    for number, turn in enumerate(turns):
        if number:
            torch.manual_seed(seed)
            head = job.head(len(task.class_names), encoder)
        run = folder / f"fold{number}" if len(turns) > 1 else folder
        validation.append(_fit(head, job, task, seed, decoded, turn, settings, run))
        logits.append(told(head, decoded.images[torch.from_numpy(turn.test)]))
        asked_for = decoded.records[turn.test]
        for one, said in zip(changed, degraded, strict=True):
            said.append(told(head, one.images[torch.from_numpy(one.rows_of(asked_for))]))
    if not is_first():
        return decoded  # one process writes
    chosen = {
        "hyperparameters": {
            **dataclasses.asdict(job.training),
            "validation": {"accuracy": round(float(np.mean(validation)), 4)},
        }
    }
    note = task.note(turns, task.labels[tested])
    figures = task.main_figures(tested, torch.cat(logits), chosen, note)
    asked = _Asked(task.name, task.data_set, task.split, _protocol(job, task, head), seed)
    row = Measured(
        asked,
        name if job.encoder is None else job.encoder,
        head.space,
        name,
        figures,
        seconds=time.perf_counter() - started,
    )
    recorder.add(row)
    values = ", ".join(f"{f.metric} {f.value:.2f} %" for f in figures)
    say(f"{task.name}: {name}, {task.faces.name}: seed {seed}: {values} ({row.seconds:.0f} s)")
    for change, said in zip(changes, degraded, strict=True):
        condition = {"factor": change.factor, "level": change.level, "unit": change.unit}
        worse = task.main_figures(tested, torch.cat(said), chosen, condition_note(condition))
        recorder.add(row._replace(figures=worse, condition=condition))
        say(f"  {condition_in_words(condition)}: {worse[0].metric} {worse[0].value:.2f} %")
    return decoded


def _protocol(job: HeadJob, task: Classes, head: Head) -> str:
    parameters = sum(p.numel() for p in head.parameters() if p.requires_grad)
    return (
        f"{parameters / 1e6:.2f} M parameters trained on labelled pictures of {head.picture_size} "
        f"px, {job.training.epochs} epochs of AdamW with one cycle of the learning rate, on all of "
        f"the training part but {task.validation_share:.0%} (stratified, copies of a picture and "
        "pictures of a person together), which chooses nothing in a run; the last weights are "
        "scored"
    )


def _fit(
    head: Head,
    job: HeadJob,
    task: Classes,
    seed: int,
    decoded: Decoded,
    turn: Rows,
    settings: dict[str, Any],
    run: Path,
) -> float:
    """Train a head on the rows of `turn` that don't validate; accuracy in % on those that do."""
    _same(run / SETTINGS_FILE, settings)
    labels = torch.from_numpy(task.labels[decoded.records])
    learnt, kept = (torch.from_numpy(turn.train[x]) for x in (~turn.validation, turn.validation))
    batch = job.training.batch_size
    if len(learnt) < batch or batch % job.devices:
        raise InputError(
            f"training.batch_size: {batch}; give a multiple of the {job.devices} device(s), and no "
            f"more than the {len(learnt):,} training pictures"
        )
    checkpoint = run / "last.ckpt"
    trainer = pl.Trainer(
        max_epochs=job.training.epochs,
        accelerator=job.accelerator,
        devices=job.devices,
        precision=job.precision or ("bf16-mixed" if fast_bfloat16() else "32-true"),  # type: ignore[arg-type]
        logger=CSVLogger(run, name="csv"),
        callbacks=[LastCheckpoint(checkpoint, len(learnt) // batch)],
        default_root_dir=run,
        use_distributed_sampler=False,
        enable_model_summary=False,
        log_every_n_steps=20,
    )
    order = EpochBatches(len(learnt), batch, seed, trainer.global_rank, trainer.world_size)
    rows = LabelledPictures(decoded.images[learnt], labels[learnt])
    trainer.fit(
        HeadModule(head, job.training, seed),
        DataLoader(rows, sampler=order, batch_size=None),
        ckpt_path=str(checkpoint) if checkpoint.exists() else None,
    )
    said = told(head, decoded.images[kept]).argmax(1)
    return 100 * float((said == labels[kept]).double().mean())


@torch.inference_mode()
def told(head: Head, images: Tensor) -> Tensor:
    """What a trained head says of pictures uint8 [N, 3, R, R]: float32 [N, classes]."""
    device = next(head.parameters()).device
    head.eval()
    parts = []
    for part in images.split(64):
        with torch.autocast(device.type, torch.bfloat16, fast_bfloat16()):
            parts.append(head.predict(head.prepare(part.to(device))).float().cpu())
    return torch.cat(parts)


def _same(path: Path, settings: dict[str, Any]) -> None:
    """Note the settings of a run, or see that they are those noted.

    Raises:
        InputError: they are others.
    """
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if path.exists() and path.read_text() != text:
        kept = json.loads(path.read_text())
        changed = sorted(k for k in {*kept, *settings} if kept.get(k) != settings.get(k))
        raise InputError(
            f"{path.parent}: holds a run with another {', '.join(changed)}; give another --out, or "
            "delete it"
        )
    replace_file(path, text.encode())


def _on_gpu(accelerator: str) -> bool:
    return accelerator != "cpu" and torch.cuda.is_available()


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_")
