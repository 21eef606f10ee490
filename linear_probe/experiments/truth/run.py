"""A truth run: what trained methods make of rendered test faces, every figure a record."""

from __future__ import annotations

import hashlib
import io
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

from linear_probe.experiments.runner import Run
from linear_probe.experiments.settings import TruthSettings
from linear_probe.experiments.truth.faces import (
    AGAIN,
    FRONTAL,
    MOTION,
    NEUTRAL,
    SWAP,
    TASKS,
    TWO_FACE_EDITS,
    TruthBatch,
    TruthFaces,
    check_faces,
)
from linear_probe.experiments.truth.left import LeftProbes
from linear_probe.experiments.truth.measures import TruthTask, errors, figures
from linear_probe.records.measured import Measured
from linear_probe.sources.source import add_weights
from ssl_faces import load_method
from ssl_faces.callbacks.panels import panel
from ssl_faces.common.files import replace_file

PANEL_FILE = "truth.png"
_SHOWN = 8  # faces of the panel
_LEAST_SIDE = 96  # of a face on the panel, pixels

INPUT = "return the input"
BLURRED = "return the input, blurred"
OTHER = "return the other person's picture"
OTHER_FRAME = "return the person's other picture"
TRUTH = "the truth"
MEAN_FACE = "the mean training face"
MEAN_TRUTH = "the mean of training people's truths"
_TRIVIAL = (INPUT, BLURRED, OTHER, OTHER_FRAME, MEAN_FACE, MEAN_TRUTH, TRUTH)

Answer = Callable[[TruthBatch], Tensor]
"""What is made of a batch: float [B, 3, S, S] in [0, 1]."""

_EDITS = {task: MOTION if task == AGAIN else task for task in TASKS}
"""The edit that each task scores, by its name in `Editor.edits`."""


class Editor(Protocol):
    """What a method must offer to be scored; `ssl_faces.load_method` gives one."""

    @property
    def picture_size(self) -> int: ...

    def edits(self) -> Mapping[str, Callable[..., Tensor]]:
        """See `ssl_faces.methods.method.Method.edits`."""
        ...


def measurements(settings: TruthSettings, run: Run) -> Iterator[Measured]:
    """Score what the methods of runs make of rendered faces, and write the panel `truth.png`.

    Raises:
        InputError: a setting or a run can't be used, or the folder can't be written.
    """
    check_faces(settings.count, settings.seed)
    by_size: dict[int, dict[str, Editor]] = defaultdict(dict)
    fingerprints: dict[str, str] = {}
    for name in dict.fromkeys(settings.run):
        for untrained in (False,) if settings.no_untrained else (True, False):
            shown_as = f"{name}, untrained" if untrained else name
            method = load_method(name, untrained=untrained, seed=settings.seed).to(run.device)
            by_size[method.picture_size][shown_as] = method
            fingerprints[shown_as] = fingerprint_of(method)
    rows: list[Measured] = []
    shown: dict[str, Tensor] = {}
    for size in sorted(by_size, reverse=True):
        faces = TruthFaces(settings.count, size, settings.seed, settings.nuisances)
        people = len(np.unique(faces.people))
        run.say(f"{len(faces)} rendered faces of {size} px, {people} people")
        found, pictures = score(
            by_size[size], faces, settings.bootstrap, settings.batch_size, run.device
        )
        rows += [row._replace(fingerprint=fingerprints.get(row.encoder, "")) for row in found]
        # The same faces in every size: once as they are.
        shown = {**pictures, **shown}
    write_panel(run.out / PANEL_FILE, shown)
    yield from rows


def score(
    methods: Mapping[str, Editor],
    faces: TruthFaces,
    replicates: int = 1000,
    batch_size: int = 64,
    device: str = "cpu",
) -> tuple[list[Measured], dict[str, Tensor]]:
    """Score methods of one picture size, beside what needs no method.

    Args:
        methods: by the name of their rows.
        faces: the faces, of that size.
        replicates: of the bootstrap.
        batch_size: faces at once.
        device: where the methods are.

    Returns:
        The rows of each task, in the tables' order, and pictures [8, 3, S, S] to look at, by name.
    """
    mean_face, mean_truths = faces.means()
    answers: dict[str, dict[str, Answer]] = {}
    for task in TASKS:
        made = {
            name: _on(method.edits()[_EDITS[task]], task, device)
            for name, method in methods.items()
            if _EDITS[task] in method.edits()
        }
        if made:
            answers[task] = _trivial(task, mean_face, mean_truths) | made
    probes = LeftProbes.fit(faces) if FRONTAL in answers else None
    values: dict[tuple[str, str, str], list[Tensor]] = defaultdict(list)
    left: dict[str, list[Tensor]] = defaultdict(list)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for start in range(0, len(faces), batch_size):
        batch = faces.batch(np.arange(start, min(len(faces), start + batch_size)))
        for task, of_task in answers.items():
            for name, answer in of_task.items():
                began = time.perf_counter()
                found = answer(batch)
                seconds[task, name] += time.perf_counter() - began
                of_each = errors(found, batch.truths[task], batch.regions[task])
                for metric, of_metric in of_each.items():
                    values[task, name, metric].append(of_metric)
                if probes is not None and task == FRONTAL:
                    left[name].append(probes.features(found))
        if probes is not None:
            left[TRUTH].append(probes.features(batch.truths[FRONTAL]))
    by_row: dict[tuple[str, str], dict[str, np.ndarray]] = defaultdict(dict)
    for (task, name, metric), parts in values.items():
        by_row[task, name][metric] = torch.cat(parts).double().numpy()
    rows = [
        Measured(
            TruthTask.of(task, faces),
            name,
            "",
            "none",
            figures(of_row, faces, replicates, _note(task, methods.get(name))),
            seconds=seconds[task, name],
        )
        for (task, name), of_row in by_row.items()
    ]
    if probes is not None:
        rows += [probes.row(name, torch.cat(of), replicates) for name, of in left.items()]
    return rows, _pictures(answers, faces)


def _trivial(task: str, mean_face: Tensor, mean_truths: Mapping[str, Tensor]) -> dict[str, Answer]:
    """What is to be had without a method, by name."""
    # What is blurred is nearer to whatever it does not match: no merit of a method.
    made: dict[str, Answer] = {INPUT: lambda batch: batch.images, BLURRED: blurred}
    if task in TWO_FACE_EDITS:
        name = OTHER_FRAME if task == AGAIN else OTHER
        made[name] = lambda batch: batch.second[task]
    if task == AGAIN:
        # The input is the truth here.
        del made[INPUT], made[BLURRED]
    made[MEAN_FACE] = _always(mean_face)
    # Of a swap or a transfer they are faces of all kinds, too: on average the mean face.
    if task in mean_truths:
        made[MEAN_TRUTH] = _always(mean_truths[task])
    return made


def blurred(batch: TruthBatch) -> Tensor:
    """The images after a Gaussian blur of a standard deviation of a 24th of their side."""
    images = batch.images
    sigma = images.shape[-1] / 24
    reach = math.ceil(3 * sigma)
    return gaussian_blur2d(images, (2 * reach + 1, 2 * reach + 1), (sigma, sigma))


def _always(picture: Tensor) -> Answer:
    return lambda batch: picture.expand_as(batch.images)


def _on(edit: Callable[..., Tensor], task: str, device: str) -> Answer:
    def answer(batch: TruthBatch) -> Tensor:
        inputs = (batch.images, batch.second[task]) if task in TWO_FACE_EDITS else (batch.images,)
        return edit(*(images.to(device) for images in inputs)).float().cpu()

    return answer


def _note(task: str, method: Editor | None) -> str:
    edits = method.edits() if method is not None else {}
    if task in (NEUTRAL, FRONTAL) and NEUTRAL in edits and edits[NEUTRAL] == edits.get(FRONTAL):
        return "methods give one picture, which is scored as neutral and as frontal face"
    return ""


def _pictures(answers: Mapping[str, Mapping[str, Answer]], faces: TruthFaces) -> dict[str, Tensor]:
    """Some faces, what is true of them, and what trained methods make of them."""
    count = min(_SHOWN, len(faces))
    batch = faces.batch(np.linspace(0, len(faces) - 1, count).round().astype(int))
    found = {"input": batch.images}
    names = dict.fromkeys(name for of_task in answers.values() for name in of_task)
    methods = [name for name in names if name not in _TRIVIAL]
    found |= {f"true {task}": batch.truths[task] for task in (NEUTRAL, FRONTAL) if task in answers}
    for name in methods:
        made = {
            task: answers[task][name](batch)
            for task in (NEUTRAL, FRONTAL)
            if name in answers.get(task, {})
        }
        if len(made) == 2 and torch.equal(made[NEUTRAL], made[FRONTAL]):
            # Shown below both truths, not twice.
            made = {f"{NEUTRAL}, {FRONTAL}": made[NEUTRAL]}
        found |= {f"{name}: {task}": pictures for task, pictures in made.items()}
    for task in (SWAP, MOTION, AGAIN):
        if task not in answers:
            continue
        found |= {f"second image of {task}": batch.second[task]}
        if task != AGAIN:  # where the input is the truth
            found |= {f"true {task}": batch.truths[task]}
        for name in methods:
            if name in answers[task]:
                found[f"{name}: {task}"] = answers[task][name](batch)
    return found


def write_panel(path: Path, pictures: Mapping[str, Tensor]) -> None:
    """Write rows of pictures [N, 3, S, S] in [0, 1] with their names as PNG, smaller ones enlarged.

    Raises:
        InputError: the folder can't be written, or the disk is full.
    """
    side = max(_LEAST_SIDE, *(of.shape[-1] for of in pictures.values()))
    large = {name: F.interpolate(of, (side, side)) for name, of in pictures.items()}
    buffer = io.BytesIO()
    panel(large).save(buffer, "PNG")
    replace_file(path, buffer.getvalue())


def fingerprint_of(method: torch.nn.Module) -> str:
    """SHA-256 (hex) of all weights of a method."""
    digest = hashlib.sha256()
    add_weights(digest, method.state_dict())
    return digest.hexdigest()
