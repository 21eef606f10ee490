"""A head that `linear-probe head` has trained, from its folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from linear_probe.experiments.job_files import parser
from linear_probe.heads.fit import (
    CHECKPOINT_FILE,
    HEADS_FOLDER,
    IMAGES,
    SETTINGS_FILE,
    read_checkpoint,
)
from linear_probe.heads.goals import Goal
from linear_probe.heads.head import Head
from linear_probe.heads.head_tasks import HeadTask, head_task
from linear_probe.heads.job import HeadJob
from linear_probe.heads.meaning import Meaning, read_meaning
from linear_probe.heads.run import safe_name, tasks_of
from linear_probe.tasks import TASKS
from ssl_faces import InputError, load_encoder
from ssl_faces.common.errors import reason_of
from ssl_faces.common.files import regular


class TrainedHead(NamedTuple):
    """A trained head.

    Attributes:
        head: in evaluation mode, on the CPU.
        task: what it learnt and is scored on.
        job: its config, perhaps with other data.
        seed: of its training.
    """

    head: Head
    task: HeadTask[Any]
    job: HeadJob
    seed: int


def load_head(
    folder: str | Path,
    data: str | None = None,
    say: Callable[[str], None] = print,
    seed: int = 0,
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
    head = _trained(folder, job, seed, task.goal(), task.task.faces.title)
    return TrainedHead(head, task, job, seed)


def open_head(folder: str | Path) -> tuple[Head, Meaning, dict[str, Any]]:
    """A trained head to predict by, the meaning of its outputs, and facts of its training.

    Its training data are needed only for heads of older versions, which lack `outputs.json`.

    Args:
        folder: of the head's run, or the `--out` of `linear-probe head` with one head of seed 0.

    Raises:
        InputError: as of `load_head`.
    """
    folder = _of_seed(Path(folder), 0)
    job, seed = _job_of(folder)
    if head_task(TASKS[job.task]) is None:
        raise InputError(
            f"{folder}: has learned {job.task}, and predicts no label; give a head of "
            "expression, classes, attributes or affect"
        )
    meaning = read_meaning(folder)
    if meaning is None:
        trained = load_head(folder)
        head, meaning = trained.head, trained.task.meaning()
    else:
        head = _trained(folder, job, seed, meaning.goal(), "these outputs")
    about = {"task": job.task, "seed": seed, "training": dataclasses.asdict(job.training)}
    if job.encoder is not None:
        about["encoder"] = job.encoder
    return head, meaning, about


def _trained(folder: Path, job: HeadJob, seed: int, goal: Goal, what: str) -> Head:
    """The head with its weights, in evaluation mode on the CPU; `what` it predicts, for errors."""
    encoder = None if job.encoder is None else load_encoder(job.encoder)
    torch.manual_seed(seed)
    head = job.head(goal, encoder)
    state = _state_of(folder / CHECKPOINT_FILE)
    try:
        head.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{folder}: its weights are not of {head.name} for {what} (another stage's, or of "
            "another version of the head); give the folder of the last stage"
        ) from error
    return head.cpu().eval()


def _of_seed(folder: Path, seed: int) -> Path:
    """The folder, or, of a run's `--out`, that of its one scored head of this seed."""
    if not (folder / HEADS_FOLDER).is_dir():
        return folder
    # Stages before the last are on the way to it.
    found = [
        path
        for path in sorted((folder / HEADS_FOLDER).glob(f"*/seed{seed}"))
        if "_before_" not in path.parent.name
    ]
    if len(found) != 1:
        there = ", ".join(map(str, found)) or "none"
        raise InputError(
            f"{folder}: holds {len(found)} heads of seed {seed} ({there}); give the folder of one"
        )
    return found[0]


def _job_of(folder: Path) -> tuple[HeadJob, int]:
    path = folder / SETTINGS_FILE
    try:
        settings = json.loads(regular(path).read_text())
        settings.pop(IMAGES, None)
        reader = parser("head")
        given = reader.parse_object({**settings, "out": str(folder)})
        ready: Any = reader.instantiate(given)
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


def _task_in(folder: Path, tasks: list[HeadTask[Any]]) -> HeadTask[Any]:
    """The task whose face set the folder is named after, if there are several."""
    if len(tasks) == 1:
        return tasks[0]
    name = folder.resolve().parent.name
    named = [one for one in tasks if name.endswith(safe_name(one.task.faces.name))]
    if not named:
        there = ", ".join(one.task.faces.name for one in tasks)
        raise InputError(
            f"{folder}: its parent is called for none of {there}, of which it was trained on one; "
            "give it its name back"
        )
    return max(named, key=lambda one: len(one.task.faces.name))


def _state_of(path: Path) -> dict[str, torch.Tensor]:
    found = read_checkpoint(path)
    steps, whole = found["global_step"], found["lr_schedulers"][0]["total_steps"]
    if steps < whole:
        raise InputError(
            f"{path}: of step {steps:,} of {whole:,}; run the same `linear-probe head` again, and "
            "it resumes"
        )
    return {name.removeprefix("head."): value for name, value in found["state_dict"].items()}
