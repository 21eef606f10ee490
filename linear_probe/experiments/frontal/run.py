"""A frontalisation run: what methods make of profile photographs, every figure a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from linear_probe.experiments.edits import BLURRED, INPUT, blurred, edited, score_runs
from linear_probe.experiments.frontal.judge import (
    HOG_SIDE,
    Judge,
    ProfilePairs,
    decide,
    features_of,
    figures,
    gallery_of,
    recogniser,
    yaw_probe,
)
from linear_probe.experiments.settings import FrontalSettings
from linear_probe.experiments.truth.faces import FRONTAL, MOTION, NEUTRAL
from linear_probe.probes.linear import LinearPredictor
from linear_probe.records.measured import Measured, TaskFacts
from linear_probe.records.runner import Run
from linear_probe.sources.baselines import HogSource
from linear_probe.tasks.sample import DRAWS_SEED
from ssl_faces import InputError
from ssl_faces.data import CFP, default_data_root, find_face_sets
from ssl_faces.methods.method import Method

TASK = "frontalisation"
MIRRORED = "return the input, mirrored"
OTHER_PHOTO = "the person's other frontal photograph"


def score(
    pairs: ProfilePairs,
    judge: Judge,
    size: int,
    methods: Mapping[str, Method],
    probe: tuple[LinearPredictor, str] | None = None,
    replicates: int = 1000,
) -> tuple[list[Measured], dict[str, Tensor]]:
    """Score methods of one image size, beside what needs no method: the rows, and images [8, 3, S,
    S] to look at, by name.

    Args:
        size: side of the images that the methods take.
        methods: by the name of their rows.
        probe: of yaw, see `yaw_probe`.

    Raises:
        InputError: a method makes no frontal faces.
    """
    edits: dict[str, Callable[[Tensor], Tensor]] = {
        INPUT: lambda images: images,
        MIRRORED: lambda images: images.flip(-1),
        BLURRED: blurred,
    }
    for name, method in methods.items():
        if FRONTAL not in method.edits():
            raise InputError(f"{name}: makes no frontal faces; give a run of a method that does")
        edits[name] = partial(edited, method.edits()[FRONTAL], judge.device)
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
    for name, method in methods.items():
        of, offered = made[name], method.edits()
        assert of is not None
        shown[name] = of[places]
        photographs = shown["a frontal photograph"]
        if NEUTRAL in offered:
            neutral = edited(offered[NEUTRAL], judge.device, photographs)
            shown[f"{name}: the frontal one, neutral"] = neutral
        if MOTION in offered:
            moved = edited(offered[MOTION], judge.device, photographs.roll(-1, 0), photographs)
            shown[f"{name}: … moved like the next"] = moved
    return rows, shown


def _task(
    pairs: ProfilePairs, judge: Judge, size: int, probe: tuple[LinearPredictor, str] | None
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
    """Score the frontal faces that runs make of CFP's profile photographs, and write a panel."""
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
    judge = Judge(recogniser(settings.recogniser), pairs, settings.batch_size, run.device)
    probe = yaw_probe(sets, settings.batch_size)

    scored = partial(score, pairs, judge, probe=probe, replicates=settings.bootstrap)
    yield from score_runs(settings, run, scored)
