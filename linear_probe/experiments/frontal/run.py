"""A frontalisation run: what methods make of profile photographs, every figure a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from linear_probe.experiments.frontal.judge import (
    HOG_SIDE,
    Judge,
    decide,
    features_of,
    figures,
    gallery_of,
    recogniser,
    yaw_probe,
)
from linear_probe.experiments.frontal.pairs import ProfilePairs
from linear_probe.experiments.runner import Run
from linear_probe.experiments.settings import FrontalSettings
from linear_probe.experiments.truth.faces import FRONTAL, TruthBatch
from linear_probe.experiments.truth.run import (
    BLURRED,
    INPUT,
    Editor,
    blurred,
    fingerprint_of,
    write_panel,
)
from linear_probe.probes.ridge import RidgePredictor
from linear_probe.records.measured import Measured, TaskFacts
from linear_probe.sources.baselines import HogSource
from linear_probe.tasks.task import DRAWS_SEED
from ssl_faces import InputError, load_method
from ssl_faces.data import CFP, default_data_root, find_face_sets

TASK = "frontalisation"
MIRRORED = "return the input, mirrored"
OTHER_PHOTO = "the person's other frontal photograph"
PANEL_FILE = "frontal.png"

Edit = Callable[[Tensor], Tensor]
"""What is made of profile images, float [B, 3, S, S] in [0, 1]."""


def score(
    pairs: ProfilePairs,
    judge: Judge,
    methods: Mapping[str, Editor],
    size: int,
    probe: tuple[RidgePredictor, str] | None = None,
    replicates: int = 1000,
) -> tuple[list[Measured], dict[str, Tensor]]:
    """Score methods of one image size, beside what needs no method.

    Args:
        methods: by the name of their rows.
        size: side of the images that they take.
        probe: of yaw, see `yaw_probe`.
        replicates: of the bootstrap.

    Returns:
        The rows, and images [8, 3, S, S] to look at, by name.

    Raises:
        InputError: a method makes no frontal faces.
    """
    edits: dict[str, Edit] = {
        INPUT: lambda images: images,
        MIRRORED: lambda images: images.flip(-1),
        BLURRED: lambda images: blurred(TruthBatch(images, {}, {}, {})),
    }
    for name, method in methods.items():
        if FRONTAL not in method.edits():
            raise InputError(f"{name}: makes no frontal faces; give a run of a method that does")
        edits[name] = _on(method.edits()[FRONTAL], judge)
    inputs = pairs.images(pairs.profile, size)
    made: dict[str, Tensor | None] = {}
    seconds: dict[str, float] = {}
    for name, edit in edits.items():
        began = time.perf_counter()
        made[name] = torch.cat([edit(batch) for batch in inputs.split(judge.batch_size)])
        seconds[name] = time.perf_counter() - began
    others = pairs.images(pairs.frontal, size)[pairs.other]
    made[OTHER_PHOTO] = None
    seen = {name: judge.features(of) for name, of in made.items() if of is not None}
    yaws: dict[str, np.ndarray] = {}
    if probe is not None:
        hog = HogSource(HOG_SIDE)
        for name, of in made.items():
            features = features_of(hog, others if of is None else of, judge.batch_size)
            yaws[name] = probe[0](features[hog.space])[:, 0].cpu().numpy()
    rows = []
    task = _task(pairs, judge, size, probe)
    for space, frontal in judge.frontal.items():
        gallery = gallery_of(pairs, frontal)
        decided = {
            name: decide(pairs, frontal, None if of is None else seen[name][space], gallery)
            for name, of in made.items()
        }
        for name, row in decided.items():
            of_row = figures(pairs, row, decided[INPUT], yaws.get(name), replicates)
            probed = f"cosine, {judge.source.name}"
            rows.append(Measured(task, name, space, probed, of_row, seconds=seconds.get(name, 0.0)))
    places = pairs.shown()
    people = pairs.people_of[pairs.profile[places]]
    truth = np.array([pairs.frontal[pairs.people_of[pairs.frontal] == who][0] for who in people])
    shown = {"input": inputs[places], "a frontal photograph": pairs.images(truth, size)}
    shown |= {name: of[places] for name, of in made.items() if name in methods and of is not None}
    return rows, shown


def _on(edit: Callable[..., Tensor], judge: Judge) -> Edit:
    def edited(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return edit(images.to(judge.device)).float().cpu()

    return edited


def _task(
    pairs: ProfilePairs, judge: Judge, size: int, probe: tuple[RidgePredictor, str] | None
) -> TaskFacts:
    people, gallery = (len(np.unique(pairs.people_of[of])) for of in (pairs.profile, pairs.frontal))
    yaw = ""
    if probe is not None:
        yaw = (
            f"; |yaw| as ridge regression on HOG reads it (fitted on {probe[1]}, training part, "
            "whose yaw ends long before a profile's)"
        )
    return TaskFacts(
        TASK,
        pairs.faces.title,
        f"test people, {size} px",
        f"{len(pairs.same)} official frontal-profile pairs in {len(np.unique(pairs.folds))} folds: "
        f"what is made of the profile photograph, at {size} px, against the frontal photograph, by "
        f"cosine similarity of {judge.source.name} at {judge.source.input_size} px less the mean "
        "of the other folds' images, threshold chosen on the other folds; rank-1: the nearest "
        "person by the mean of the person's frontal photographs (chance is "
        f"{100 / gallery:.1f} %); intervals by bootstrap over {people} people{yaw}",
        DRAWS_SEED,
    )


def measurements(settings: FrontalSettings, run: Run) -> Iterator[Measured]:
    """Score the frontal faces that runs make of CFP's profile photographs, and write a panel.

    Raises:
        InputError: a setting, a run or the data can't be used, or the folder can't be written.
    """
    if settings.recogniser in settings.run:
        raise InputError(
            f"--recogniser {settings.recogniser}: is the run that it judges; give another "
            "recogniser"
        )
    root = default_data_root() if settings.data is None else settings.data
    sets = find_face_sets(root)
    faces = next((f.test_part() for f in sets if type(f) is CFP), None)
    if not isinstance(faces, CFP):
        raise InputError(f"{root}: holds no CFP with its frontal-profile pairs; give --data FOLDER")
    pairs = ProfilePairs.of(faces)
    judge = Judge.of(recogniser(settings.recogniser), pairs, settings.batch_size, run.device)
    by_size: dict[int, dict[str, Editor]] = {}
    fingerprints: dict[str, str] = {}
    for name in dict.fromkeys(settings.run):
        for untrained in (False,) if settings.no_untrained else (True, False):
            method = load_method(name, untrained=untrained, seed=settings.seed).to(run.device)
            row = f"{name}, untrained" if untrained else name
            by_size.setdefault(method.picture_size, {})[row] = method
            fingerprints[row] = fingerprint_of(method)
    probe = yaw_probe(sets, settings.batch_size)
    shown: dict[str, Tensor] = {}
    for size in sorted(by_size, reverse=True):
        rows, images = score(pairs, judge, by_size[size], size, probe, settings.bootstrap)
        yield from (row._replace(fingerprint=fingerprints.get(row.encoder, "")) for row in rows)
        shown = {**images, **shown}
    write_panel(run.out / PANEL_FILE, shown)
