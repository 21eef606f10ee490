"""A head that `linear-probe head` has trained, from its folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from linear_probe.heads.fit import (
    CHECKPOINT_FILE,
    HEADS_FOLDER,
    IMAGES,
    SETTINGS_FILE,
    read_checkpoint,
)
from linear_probe.heads.goals import Meaning, read_meaning
from linear_probe.heads.head import Head
from linear_probe.heads.head_tasks import HeadTask, learnable
from linear_probe.heads.job import HeadJob
from linear_probe.heads.run import safe_name, tasks_of
from linear_probe.records.runner import Say
from linear_probe.tasks import TASKS
from ssl_faces import InputError, load_encoder
from ssl_faces.common.class_paths import restrict_class_paths
from ssl_faces.common.errors import reason_of
from ssl_faces.common.files import regular
from ssl_faces.common.settings_parser import SettingsErrors


class TrainedHead(NamedTuple):
    """A trained head in evaluation mode on the CPU, what it learned and is scored on, its config
    (perhaps with other data), and the seed of its training."""

    head: Head
    task: HeadTask
    job: HeadJob
    seed: int


def load_head(
    folder: str | Path, data: str | None = None, say: Say = print, seed: int = 0
) -> TrainedHead:
    """The head of a run's folder, such as `OUT/heads/inception_fer_fer2013/seed0`.

    Nothing is unpickled but numbers and plain values.

    Args:
        data: where its data are now, if elsewhere than in its settings.
        seed: if `folder` is the `--out` of `linear-probe head`: of the head in it.

    Raises:
        InputError: no such folder, a head that isn't trained to its end, one that was a step on the
            way to another (`before`), or of one fold of several; or its data or encoder aren't
            there.
    """
    folder = _of_seed(Path(folder), seed)
    job, seed = _job_of(folder)
    if data is not None:
        job = dataclasses.replace(job, data=data, train_csv=None, test_csv=None)
    task = _task_in(folder, tasks_of(job.last_stage, job.bootstrap, folder, say))
    if task.task.folds is not None:
        raise InputError(
            f"{folder}: {task.task.faces.title} is scored in folds, each by a head of its own; "
            "give a head that was trained on a set with a test part"
        )
    return TrainedHead(_trained(folder, job, seed, task.meaning), task, job, seed)


def open_head(folder: str | Path) -> tuple[Head, Meaning, dict[str, Any]]:
    """A trained head to predict by, without its data; the meaning of its outputs; and facts of its
    training. `folder`: of the head's run, or the `--out` of `linear-probe head` with one head of
    seed 0. Raises InputError: as of `load_head`."""
    folder = _of_seed(Path(folder), 0)
    job, seed = _job_of(folder)
    if not learnable(TASKS[job.task]):
        raise InputError(
            f"{folder}: has learned {job.task}, and predicts no label; give a head of "
            "expression, classes, attributes or affect"
        )
    meaning = read_meaning(folder)
    about = {"task": job.task, "seed": seed, "training": dataclasses.asdict(job.training)}
    if job.encoder is not None:
        about["encoder"] = job.encoder
    return _trained(folder, job, seed, meaning), meaning, about


def _trained(folder: Path, job: HeadJob, seed: int, meaning: Meaning) -> Head:
    """The head with its weights, in evaluation mode on the CPU."""
    encoder = None if job.encoder is None else load_encoder(job.encoder)
    torch.manual_seed(seed)
    head = job.head(meaning.goal(), encoder)
    path = folder / CHECKPOINT_FILE
    kept = read_checkpoint(path)
    steps, total = kept["global_step"], kept["lr_schedulers"][0]["total_steps"]
    if steps < total:
        raise InputError(
            f"{path}: of step {steps:,} of {total:,}; run the same `linear-probe head` again, and "
            "it resumes"
        )
    try:
        head.load_state_dict(
            {name.removeprefix("head."): value for name, value in kept["state_dict"].items()}
        )
    except RuntimeError as error:
        raise InputError(
            f"{folder}: its weights are not of {head.name} for these outputs (another stage's, or "
            "of another version of the head); give the folder of the last stage"
        ) from error
    return head.cpu().eval()


def _of_seed(folder: Path, seed: int) -> Path:
    """The folder, or, of a run's `--out`, that of its one scored head of this seed."""
    if not (folder / HEADS_FOLDER).is_dir():
        return folder
    # Stages before the last are on the way to it.
    heads = [
        path
        for path in sorted((folder / HEADS_FOLDER).glob(f"*/seed{seed}"))
        if "_before_" not in path.parent.name
    ]
    if len(heads) != 1:
        there = ", ".join(map(str, heads)) or "none"
        raise InputError(
            f"{folder}: holds {len(heads)} heads of seed {seed} ({there}); give the folder of one"
        )
    return heads[0]


def _job_of(folder: Path) -> tuple[HeadJob, int]:
    path = folder / SETTINGS_FILE
    try:
        settings = json.loads(regular(path).read_text())
        settings.pop(IMAGES, None)
        restrict_class_paths()
        reader = SettingsErrors(prog="linear-probe head")
        reader.add_class_arguments(HeadJob, as_group=False)
        ready: Any = reader.instantiate(reader.parse_object(settings))
        (seed,) = settings["seeds"]
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); give a folder OUT/heads/NAME/seedN of "
            "`linear-probe head`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: no settings of a head ({reason_of(error)}); train it again"
        ) from error
    return HeadJob(**{name: ready[name] for name in HeadJob.__dataclass_fields__}), seed


def _task_in(folder: Path, tasks: list[HeadTask]) -> HeadTask:
    """The task whose face set the folder is named after, if there are several."""
    if len(tasks) == 1:
        return tasks[0]
    name = folder.resolve().parent.name
    named = [each for each in tasks if name.endswith(safe_name(each.task.faces.name))]
    if not named:
        there = ", ".join(each.task.faces.name for each in tasks)
        raise InputError(
            f"{folder}: its parent is named after none of {there}, and it was trained on one of "
            "them; rename it back"
        )
    return max(named, key=lambda each: len(each.task.faces.name))
