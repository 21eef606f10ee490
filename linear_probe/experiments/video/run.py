"""`linear-probe video`: whole sequences by the statistics of their frames' frozen features."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from linear_probe.experiments.video.data import VideoData
from linear_probe.experiments.video.sequences import (
    NO_FACE,
    STATISTICS,
    VALIDATION_SHARE,
    Sequences,
    check_statistics,
    sequence_statistics,
)
from linear_probe.features.files import FEATURES_FOLDER
from linear_probe.features.frozen import (
    EncoderSource,
    FeatureCache,
    Features,
    Pictures,
    Precision,
    Source,
)
from linear_probe.probes.linear import LinearPredictor, how_chosen
from linear_probe.probes.logistic import fit_splits
from linear_probe.records.measured import Measured, TaskFacts
from linear_probe.records.runner import Experiment, Run, Say
from linear_probe.sources.by_name import encoder_sources
from linear_probe.sources.overlap import Overlaps
from linear_probe.tasks.classification import class_figures, class_predictions
from ssl_faces import InputError, load_encoder
from ssl_faces.common.ranges import PositiveInt, Seed


@dataclass(frozen=True)
class VideoJob(Experiment):
    """Settings of `configs/head/video_statistics.yaml`.

    Attributes:
        data: the videos: `class_path` and `init_args` of a class of
            `linear_probe.experiments.video.data`.
        encoder: as `linear-probe run --encoder` takes it.
        untrained: the same encoder with weights drawn by the seed instead; only encoders of this
            package.
        space: its feature space; None: the one that is best on the validation split, by seed.
        statistics: of the frames: some of `STATISTICS`.
        max_frames: of a sequence, evenly spaced; None is all.
        seeds: of the validation split, which chooses the L2 and the space, and of untrained
            weights. Videos, their split and the bootstrap's draws are the same for all, and the
            fit on the whole training part is exact: seeds that choose alike give equal figures.
        bootstrap: replicates behind the intervals.
        features: folder that keeps the frozen features; None: `features` in the run's folder.
        batch_size: frames given to the encoder at once.
        device: `cpu`, `cuda` or `auto`.
        precision: of the encoder, `32` or `bf16`.
    """

    data: VideoData
    encoder: str
    untrained: bool = False
    space: str | None = None
    statistics: list[str] = field(default_factory=lambda: list(STATISTICS))
    max_frames: PositiveInt | None = None
    seeds: list[Seed] = field(default_factory=lambda: [0])
    bootstrap: PositiveInt = 1000
    features: Path | None = None
    batch_size: PositiveInt = 256
    device: str = "auto"
    precision: Precision = "32"

    @property
    def hardware_note(self) -> str:
        return "" if self.precision == "32" else f", features in {self.precision}"

    module = __name__


class _Fitted(NamedTuple):
    """A probe of one seed on one space: the predictors of all folds, and their outputs."""

    predictors: list[LinearPredictor]
    logits: Tensor  # [M, K], the test sequences of all folds

    @property
    def validation(self) -> float:
        return float(np.mean([p.validation[p.l2] for p in self.predictors]))


def measurements(job: VideoJob, run: Run) -> Iterator[Measured]:
    """Fit and score the probe of each seed."""
    statistics = tuple(job.statistics)
    check_statistics(statistics)
    if not job.seeds:
        raise InputError("seeds: none given; name one or several, such as [0, 1, 2]")
    sources = _sources(job, run.say)
    listed = job.data.sequences(run.out).spaced(job.max_frames)
    if not len(listed):
        raise InputError(f"{listed.name}: {listed.faces.title} holds no video; check the path")
    pictures = Pictures(listed.faces, np.unique(np.concatenate(listed.frames)))
    overlaps = Overlaps(run.say)
    cache = FeatureCache(job.features or run.out / FEATURES_FOLDER, job.batch_size, run.device)
    for source, seeds in sources:
        bad = cache.fill([source], pictures)
        features = {space: cache.read(source, pictures, space) for space in source.dims}
        sequences = listed.readable(next(iter(features.values())).records)
        skipped = [*dict.fromkeys([*bad, *sequences.skipped])]
        read = [*(record.key for record in listed.faces.records), *listed.keys]
        file = run.folder.skip(listed.faces.name, read, skipped)
        if skipped:
            run.say(
                f"{len(bad)} frames and {len(listed) - len(sequences)} videos left without a face "
                f"skipped: see {file}"
            )
        run.say(cache.about())
        started = time.perf_counter()
        splits = sequences.splits()
        fitted = {
            space: _fit(_vectors(sequences, one, statistics), sequences, splits, seeds, run.device)
            for space, one in features.items()
        }
        seconds = (time.perf_counter() - started) / len(seeds)
        test = np.concatenate([rows for _, rows in splits])
        targets = sequences.labels[test]
        sample = sequences.sample(test, job.bootstrap)
        note, how = _note(sequences, len(bad)), _protocol(job, sequences, features)
        probe = f"logistic regression on {', '.join(statistics)}"
        for place, seed in enumerate(seeds):
            # Of equals the first, in the encoder's order.
            space = max(fitted, key=lambda name, place=place: fitted[name][place].validation)  # type: ignore[misc]
            predictors, logits = fitted[space][place]
            predictions = class_predictions(sample.keys, targets, logits, sequences.class_names)
            figures = class_figures(sample, predictions, how_chosen(predictors), note)
            title = sequences.faces.title
            task = TaskFacts(sequences.name, title, sequences.split, how, seed)
            frames = np.unique(np.concatenate([sequences.frames[i] for i in test]))
            encoder = getattr(source, "encoder", None)
            yield Measured(
                *(task, source.name, space, probe, figures, source.fingerprint, seconds),
                overlap=overlaps.of(source.name, encoder, sequences.faces, frames),
            )


def _sources(job: VideoJob, say: Say) -> list[tuple[Source, list[int]]]:
    """Each source and its seeds: untrained weights have one."""
    seeds = list(dict.fromkeys(job.seeds))
    spaces = None if job.space is None else [job.space]
    (trained,) = encoder_sources([job.encoder], spaces, job.precision, baselines=False, say=say)
    if not job.untrained:
        return [(trained, seeds)]
    name = f"{job.encoder}, untrained"
    encoders = {seed: load_encoder(job.encoder, untrained=True, seed=seed) for seed in seeds}
    return [
        (EncoderSource(name, encoder, spaces, job.precision), [seed])
        for seed, encoder in encoders.items()
    ]


def _vectors(sequences: Sequences, features: Features, statistics: Sequence[str]) -> Tensor:
    row_of = np.zeros(len(sequences.faces), dtype=np.int64)
    row_of[features.records] = np.arange(len(features.records))
    rows = [row_of[records] for records in sequences.frames]
    return sequence_statistics(features.values, rows, statistics)


def _fit(
    vectors: Tensor,
    sequences: Sequences,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    seeds: Sequence[int],
    device: str,
) -> list[_Fitted]:
    """For each seed."""
    labels = torch.from_numpy(sequences.labels)
    by_split = []
    logits: list[list[Tensor]] = [[] for _ in seeds]
    for train, test in splits:
        learnt = torch.from_numpy(train)
        validations = np.stack([sequences.validation(train, seed) for seed in seeds])
        by_split.append(fit_splits(vectors[learnt], labels[learnt], validations, device=device))
        for of_seed, predictor in zip(logits, by_split[-1], strict=True):
            of_seed.append(predictor(vectors[torch.from_numpy(test)]).cpu())
    return [
        _Fitted([predictors[i] for predictors in by_split], torch.cat(of_seed))
        for i, of_seed in enumerate(logits)
    ]


def _note(sequences: Sequences, undecoded: int) -> str:
    train = "–".join(f"{n:,}" for n in sorted({len(train) for train, _ in sequences.splits()}))
    lengths = np.array([len(rows) for rows in sequences.frames])
    note = f"trained on {train} sequences; {np.median(lengths):.0f} frames a sequence (median)"
    if undecoded:
        note += f"; {undecoded:,} frames that can't be decoded left out"
    if sequences.skipped:
        note += f"; {len(sequences.skipped):,} left out without a frame ({NO_FACE})"
    return note


def _protocol(job: VideoJob, sequences: Sequences, spaces: Iterable[str]) -> str:
    if sequences.names_people:
        validation = "one training sequence of each person who has two"
    else:
        alone = "" if sequences.people is None else ", a person's sequences together"
        validation = f"{VALIDATION_SHARE:.0%} of the training part (stratified{alone})"
    chosen = "L2" if job.space is not None else f"L2 and feature space (of {', '.join(spaces)})"
    text = (
        "statistics of the frames' frozen features, L2-normalised as one vector; multinomial "
        f"logistic regression on them, standardised; {chosen} chosen by accuracy on {validation}, "
        "then fitted on all of it; seeds differ in that choice alone"
    )
    if job.untrained:
        text += " and in the weights"
    if job.max_frames is not None:
        text += f"; at most {job.max_frames} frames a sequence, evenly spaced"
    return text if sequences.people is None else text + "; intervals by bootstrap over people"
