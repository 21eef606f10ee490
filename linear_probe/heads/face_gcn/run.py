"""`linear-probe landmarks`: train a Face-GCN to identify people by moving landmarks, score it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from linear_probe.heads.face_gcn.data import LandmarkClips, LandmarkData
from linear_probe.heads.face_gcn.network import WIDTHS, FaceGCN, Topology, adjacency, edges_of
from linear_probe.heads.face_gcn.nodes import aligned, local_shape, nearest, patches, sampled
from linear_probe.heads.fit import HEADS_FOLDER, Trainer
from linear_probe.heads.goals import Categories
from linear_probe.heads.job import HeadExperiment
from linear_probe.heads.pictures import LabelledSplit
from linear_probe.records.measured import Measured, TaskFacts
from linear_probe.records.runner import Run
from linear_probe.tasks.classification import class_figures, class_predictions
from linear_probe.tasks.sample import Sample
from ssl_faces import InputError, load_encoder
from ssl_faces.common.ranges import LayerCount, LayerWidth, UnitBelow1
from ssl_faces.common.ranks import is_first
from ssl_faces.training.fit import quiet

TASK = "landmark identity"
Node = Literal["coordinates", "shape", "texture"]
NODES: tuple[Node, ...] = ("coordinates", "shape", "texture")


@dataclass(frozen=True, kw_only=True)
class LandmarksJob(HeadExperiment):
    """Settings of `configs/head/face_gcn.yaml`; for the others see `HeadExperiment`.

    Attributes:
        data: the clips: `class_path` and `init_args` of one of `linear_probe.heads.face_gcn.data`.
        nodes: features of a node, some of `NODES`.
        encoder: texture is what this frozen encoder's last map has at the landmark; None: gradient
            histograms of the patch around it.
        frames: of each clip: `all`, or `first`, one neutral frame.
        topology: of the graph: `delaunay`, or `contours` of 68 points.
        widths, temporal_kernel, dropout: see `FaceGCN`.
    """

    data: LandmarkData
    nodes: list[str] = field(default_factory=lambda: list(NODES))
    frames: Literal["all", "first"] = "all"
    topology: Topology = "delaunay"
    widths: list[LayerWidth] = field(default_factory=lambda: list(WIDTHS))
    temporal_kernel: LayerCount = 9
    dropout: UnitBelow1 = 0.0

    module = __name__


def measurements(job: LandmarksJob, run: Run) -> Iterator[Measured]:
    """Train and score by each seed; the runs are in the folder's `heads`."""
    unknown = sorted({*job.nodes} - {*NODES})
    if unknown or not job.nodes:
        raise InputError(
            f"nodes: {unknown[0] if unknown else 'none'}; give some of {', '.join(NODES)}"
        )
    quiet()
    clips = job.data.clips()
    geometry = Geometry(clips, job)
    people = sorted(set(clips.people))
    labels = torch.tensor([people.index(person) for person in clips.people])
    folds = range(clips.fold_count)
    tests = [np.flatnonzero(clips.folds == fold) for fold in folds]
    test = np.concatenate(tests)
    name = job.label or f"{FaceGCN.name}, {' + '.join(job.nodes)}"
    targets = labels[test].numpy()
    tested = np.array([clips.people[i] for i in test])
    sample = Sample([clips.keys[i] for i in test], job.bootstrap, tested)
    trainer = Trainer(job, run)
    learnt = len(clips.folds) - len(tests[-1])
    note = f"trained on {learnt:,} clips of {len(people)} people, {geometry.frames} frames"
    for seed in dict.fromkeys(job.seeds):
        started = time.perf_counter()
        logits = []
        for fold in folds:
            nodes, reference = geometry.nodes(fold)
            matrices = adjacency(edges_of(job.topology, reference), reference)
            # Nothing is chosen during training, so that nothing is validated on.
            train = torch.from_numpy(np.flatnonzero(clips.folds != fold))
            split = LabelledSplit(nodes, labels, train, train[:0])
            torch.manual_seed(seed)
            how = (job.widths, job.temporal_kernel, job.dropout)
            head = FaceGCN(Categories(len(people)), nodes.shape[1], matrices, *how)
            folder = run.out / HEADS_FOLDER / FaceGCN.name / f"seed{seed}"
            folder = folder / f"fold{fold}" if len(folds) > 1 else folder
            trainer.train(head, job.training, split, seed, folder)
            logits.append(trainer.outputs(head, nodes[torch.from_numpy(tests[fold])]))
        if not is_first():
            continue  # one process writes
        predictions = class_predictions(sample.keys, targets, torch.cat(logits), people)
        chosen = {"hyperparameters": dataclasses.asdict(job.training)}
        yield Measured(
            TaskFacts(TASK, clips.title, clips.split, _protocol(job, head), seed),
            name if job.encoder is None else job.encoder,
            "end to end" if job.encoder is None else f"{name} on map",
            FaceGCN.name,
            class_figures(sample, predictions, chosen, note),
            seconds=time.perf_counter() - started,
        )


class Geometry:
    """Node features of all clips, with as many frames as the shortest has, evenly spaced.

    Raises:
        InputError: a clip shorter than the kernel along time, or nodes that the data lack.
    """

    def __init__(self, clips: LandmarkClips, job: LandmarksJob) -> None:
        shortest = min(map(len, clips.points))
        self.frames = 1 if job.frames == "first" else shortest
        if self.frames < job.temporal_kernel:
            which = clips.keys[int(np.argmin([len(clip) for clip in clips.points]))]
            raise InputError(
                f"temporal_kernel: {job.temporal_kernel} frames, and "
                + (
                    "frames: first has 1"
                    if job.frames == "first"
                    else f"the clip {which} has {shortest} frames"
                )
                + "; give a smaller one"
            )
        rows = [
            np.linspace(0, len(clip) - 1, self.frames).round().astype(int) for clip in clips.points
        ]
        self.points = np.stack([clip[row] for clip, row in zip(clips.points, rows, strict=True)])
        self.folds, self.features = clips.folds, job.nodes
        self.texture = _texture(clips, rows, job.encoder) if "texture" in job.nodes else None

    def nodes(self, fold: int) -> tuple[Tensor, np.ndarray]:
        """Node features float32 [N, C, T, V] of all clips, and the mean face [V, 3] of the fold's
        training clips, onto which all faces are turned."""
        count, frames, places, _ = self.points.shape
        known = self.points[self.folds != fold].reshape(-1, places, 3)
        # First onto any face, then onto the mean of all so turned.
        reference = aligned(known, known[0]).mean(axis=0)
        still = aligned(self.points.reshape(-1, places, 3), reference)
        scale = float(np.linalg.norm(reference - reference.mean(axis=0), axis=1).mean())
        parts: list[np.ndarray] = []
        if "coordinates" in self.features:
            parts.append((still - reference.mean(axis=0)) / scale)
        if "shape" in self.features:
            parts.append(local_shape(still / scale, nearest(reference)))
        if self.texture is not None:
            parts.append(self.texture.reshape(count * frames, places, -1))
        nodes = np.concatenate(parts, axis=-1).astype(np.float32)
        together = torch.from_numpy(nodes).unflatten(0, (count, frames)).permute(0, 3, 1, 2)
        return together.contiguous(), reference


def _texture(clips: LandmarkClips, rows: list[np.ndarray], encoder: str | None) -> np.ndarray:
    """[N, T, V, C]."""
    loaded = None if encoder is None else load_encoder(encoder).eval()
    features_of_clips = []
    for number, row in enumerate(rows):
        images = clips.images(number)[torch.from_numpy(row)]
        assert clips.places is not None  # where there are pictures
        where = torch.from_numpy(clips.places[number][row]).float() * images.shape[-1]
        features = patches(images, where) if loaded is None else sampled(loaded, images, where)
        features_of_clips.append(features.float().numpy())
    return np.stack(features_of_clips)


def _protocol(job: LandmarksJob, head: FaceGCN) -> str:
    parameters = sum(p.numel() for p in head.parameters())
    texture = ""
    if "texture" in job.nodes:
        texture = " (of a frozen encoder's map)" if job.encoder else " (gradient histograms)"
    return (
        f"spatio-temporal graph convolutions over landmarks turned onto the mean training face, "
        f"{parameters / 1e6:.2f} M parameters; nodes: {', '.join(job.nodes)}{texture}; "
        f"{'all frames' if job.frames == 'all' else 'the first, neutral frame alone'}; people are "
        f"known, their tested clips are not; {job.training} of AdamW with one cycle "
        "of the learning rate, nothing chosen in a run; intervals by bootstrap over people"
    )
