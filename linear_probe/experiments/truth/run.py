"""A truth run: what trained methods make of rendered test faces, every figure a record."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from kornia.metrics import ssim
from torch import Tensor

from linear_probe.experiments.edits import BLURRED, INPUT, blurred, edited, score_runs
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
)
from linear_probe.experiments.truth.left import LeftProbes
from linear_probe.records.measured import Measured, TaskFacts
from linear_probe.records.runner import Run
from linear_probe.tasks.task import Figure
from ssl_faces.methods.method import Method

WINDOW = 11
"""Side of SSIM's Gaussian window (sigma 1.5), as in Wang et al., "Image quality assessment: from
error visibility to structural similarity", IEEE Transactions on Image Processing 13(4), 2004."""

HIGHER_IS_BETTER = {"L1": False, "SSIM": True, "face L1": False, "face SSIM": True}
"""The metrics, and which way they are good."""

_ASKED = {
    NEUTRAL: "the same person in the same pose with no action unit on",
    FRONTAL: "the same person facing the camera with no action unit on",
    SWAP: "another person with the picture's expression and pose",
    MOTION: "another person's picture with this picture's expression and pose",
    AGAIN: "the picture itself, from the same person in another expression and pose",
}


def task_facts(name: str, faces: TruthFaces) -> TaskFacts:
    """What records hold of a task of `TASKS` on these faces."""
    return TaskFacts(
        name,
        faces.faces.title,
        faces.split,
        f"against the rendered truth: {_ASKED[name]}, in the same light, before the same "
        "background and camera; L1 in hundredths of the range from black to white, SSIM x 100 "
        f"(Gaussian window of {WINDOW} px), over the whole picture and over the face (the "
        "convex hull of the truth's 68 landmarks); intervals by bootstrap over "
        f"{len(np.unique(faces.people))} people",
        faces.seed,
    )


def errors(found: Tensor, truth: Tensor, region: Tensor) -> dict[str, Tensor]:
    """Each metric of each image, [B], 0 to 1 (SSIM from -1), of float [B, 3, S, S] in [0, 1];
    `region`, bool [B, S, S], is the face."""
    distance = (found - truth).abs().mean(1)
    # Of equal pictures exactly 1, which its guard against 0 / 0 would be just below.
    alike = (found == truth).all(1).all(-1).all(-1)
    similarity = ssim(found, truth, WINDOW).mean(1)
    similarity = torch.where(alike[:, None, None], 1.0, similarity)
    area = region.sum((1, 2)).clamp(min=1)
    return {
        "L1": distance.mean((1, 2)),
        "SSIM": similarity.mean((1, 2)),
        "face L1": (distance * region).sum((1, 2)) / area,
        "face SSIM": (similarity * region).sum((1, 2)) / area,
    }


def figures(
    values: Mapping[str, np.ndarray], faces: TruthFaces, replicates: int, note: str = ""
) -> list[Figure]:
    """The mean of each metric over the pictures, of its values [N]."""
    sample = faces.sample(replicates)
    return [
        sample.mean(metric, row, higher_is_better=HIGHER_IS_BETTER[metric], note=note)
        for metric, row in values.items()
    ]


_SHOWN = 8  # faces of the panel

OTHER = "return the other person's picture"
OTHER_FRAME = "return the person's other picture"
TRUTH = "the truth"
MEAN_FACE = "the mean training face"
MEAN_TRUTH = "the mean of training people's truths"

Answer = Callable[[TruthBatch], Tensor]
"""What is made of a batch: float [B, 3, S, S] in [0, 1]."""

_EDITS = {task: MOTION if task == AGAIN else task for task in TASKS}
"""The edit that each task scores, by its name in `Method.edits`."""


def measurements(settings: TruthSettings, run: Run) -> Iterator[Measured]:
    """Score what the methods of runs make of rendered faces, and write the panel `truth.png`."""

    def of_size(
        size: int, methods: Mapping[str, Method]
    ) -> tuple[list[Measured], dict[str, Tensor]]:
        faces = TruthFaces(settings.count, size, settings.seed, settings.nuisances)
        people = len(np.unique(faces.people))
        run.say(f"{len(faces)} rendered faces of {size} px, {people} people")
        return score(methods, faces, settings.bootstrap, settings.batch_size, run.device)

    yield from score_runs(settings, run, of_size)


def score(
    methods: Mapping[str, Method],
    faces: TruthFaces,
    replicates: int = 1000,
    batch_size: int = 64,
    device: str = "cpu",
) -> tuple[list[Measured], dict[str, Tensor]]:
    """Score methods of one image size, beside what needs no method: the rows of each task, in the
    tables' order, and images [8, 3, S, S] to look at, by name.

    Args:
        methods: by the name of their rows.
        faces: the faces, of that size.
    """
    mean_face, mean_truths = faces.means()
    answers: dict[str, dict[str, Answer]] = {}
    for task in TASKS:
        made = {
            name: partial(_answer, method.edits()[_EDITS[task]], task, device)
            for name, method in methods.items()
            if _EDITS[task] in method.edits()
        }
        if made:
            answers[task] = _trivial(task, mean_face, mean_truths) | made
    probes = LeftProbes(faces) if FRONTAL in answers else None
    values: dict[tuple[str, str], dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    left: dict[str, list[Tensor]] = defaultdict(list)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for start in range(0, len(faces), batch_size):
        batch = faces.batch(np.arange(start, min(len(faces), start + batch_size)))
        for task, of_task in answers.items():
            for name, answer in of_task.items():
                began = time.perf_counter()
                images = answer(batch)
                seconds[task, name] += time.perf_counter() - began
                for metric, error in errors(
                    images, batch.truths[task], batch.regions[task]
                ).items():
                    values[task, name][metric].append(error)
                if probes is not None and task == FRONTAL:
                    left[name].append(probes.features(images))
        if probes is not None:
            left[TRUTH].append(probes.features(batch.truths[FRONTAL]))
    rows = [
        Measured(
            task_facts(task, faces),
            *(name, "", "none"),
            figures(
                {metric: torch.cat(parts).double().numpy() for metric, parts in metrics.items()},
                *(faces, replicates, _note(task, methods.get(name))),
            ),
            seconds=seconds[task, name],
        )
        for (task, name), metrics in values.items()
    ]
    if probes is not None:
        rows += [probes.row(name, torch.cat(parts), replicates) for name, parts in left.items()]
    return rows, _images(answers, methods, faces)


def _trivial(task: str, mean_face: Tensor, mean_truths: Mapping[str, Tensor]) -> dict[str, Answer]:
    """Answers without a method, by name."""
    made: dict[str, Answer] = {}
    if task != AGAIN:  # where the input is the truth
        made[INPUT] = lambda batch: batch.images
        # A blurred image is nearer to whatever it does not match: no merit of a method.
        made[BLURRED] = lambda batch: blurred(batch.images)
    if task in TWO_FACE_EDITS:
        name = OTHER_FRAME if task == AGAIN else OTHER
        made[name] = lambda batch: batch.second[task]
    made[MEAN_FACE] = lambda batch: mean_face.expand_as(batch.images)
    # Truths of a swap or a transfer are faces of all kinds: on average the mean face.
    if task in mean_truths:
        made[MEAN_TRUTH] = lambda batch: mean_truths[task].expand_as(batch.images)
    return made


def _answer(edit: Callable[..., Tensor], task: str, device: str, batch: TruthBatch) -> Tensor:
    second = (batch.second[task],) if task in TWO_FACE_EDITS else ()
    return edited(edit, device, batch.images, *second)


def _note(task: str, method: Method | None) -> str:
    edits = method.edits() if method is not None else {}
    if task in (NEUTRAL, FRONTAL) and NEUTRAL in edits and edits[NEUTRAL] == edits.get(FRONTAL):
        return "methods give one picture, which is scored as neutral and as frontal face"
    return ""


def _images(
    answers: Mapping[str, Mapping[str, Answer]], methods: Mapping[str, Method], faces: TruthFaces
) -> dict[str, Tensor]:
    """Some faces, their truths, and what methods make of them."""
    count = min(_SHOWN, len(faces))
    batch = faces.batch(np.linspace(0, len(faces) - 1, count).round().astype(int))
    images = {"input": batch.images}
    images |= {f"true {task}": batch.truths[task] for task in (NEUTRAL, FRONTAL) if task in answers}
    for name in methods:
        made = {
            task: answers[task][name](batch)
            for task in (NEUTRAL, FRONTAL)
            if name in answers.get(task, {})
        }
        if len(made) == 2 and torch.equal(made[NEUTRAL], made[FRONTAL]):
            # Shown below both truths, not twice.
            made = {f"{NEUTRAL}, {FRONTAL}": made[NEUTRAL]}
        images |= {f"{name}: {task}": of_task for task, of_task in made.items()}
    for task in (SWAP, MOTION, AGAIN):
        if task not in answers:
            continue
        images[f"second image of {task}"] = batch.second[task]
        if task != AGAIN:  # where the input is the truth
            images[f"true {task}"] = batch.truths[task]
        for name in methods:
            if name in answers[task]:
                images[f"{name}: {task}"] = answers[task][name](batch)
    return images
