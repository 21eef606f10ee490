"""`linear-probe audit`: compress a trained classifier in several ways, and measure the cost."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from linear_probe.experiments.audit.compression import Compression, pruned, shared, weights_that_run
from linear_probe.experiments.audit.fairness import fairness_figures, group_figures
from linear_probe.experiments.audit.onnx_model import OnnxModel, exported
from linear_probe.experiments.audit.settings import AuditJob
from linear_probe.experiments.audit.subjects import (
    FileSubject,
    HeadSubject,
    ProbeSubject,
    Subject,
    groups_of,
)
from linear_probe.experiments.audit.tables import AS_IT_IS, write_audit
from linear_probe.features.files import FEATURES_FOLDER
from linear_probe.heads.head_tasks import learnable
from linear_probe.heads.loading import load_head
from linear_probe.heads.pictures import EpochBatches
from linear_probe.heads.run import safe_name
from linear_probe.records.measured import Measured, TaskFacts
from linear_probe.records.runner import Run
from linear_probe.tasks import TASKS
from linear_probe.tasks.classification import class_figures, class_predictions
from linear_probe.tasks.face_sets import face_sets_by_seed, serving_tasks
from linear_probe.tasks.labelled import LabelTask
from linear_probe.tasks.own_data import OwnData
from ssl_faces import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.encoders.onnx_files import CALIBRATED, need_onnx, quantised

MODELS_FOLDER = "models"
_AT_ONCE = 64


PROTOCOL = (
    "the same test pictures and bootstrap draws for every compression; all figures are of ONNX "
    "files run by onnxruntime on one core; fairness is the mean class recall of the worst group by "
    "that of the best (Xu et al., 2020; 1 is fair), gap the accuracy of the best group less that "
    "of the worst"
)


def measurements(job: AuditJob, run: Run) -> Iterator[Measured]:
    """Measure the classifier without and with every compression.

    What is measured already is not measured again. `audit.md`, `audit.csv` and `audit.html` are
    written after each compression; the compressed classifiers are in `models`.
    """
    need_onnx("audit")
    _check(job)
    audit = _Audit(_subject(job, run), job, run)
    for compression in (None, *job.compressions):
        yield from audit.measured(compression)
        write_audit(run.out)


def _check(job: AuditJob) -> None:
    named = [name for name in ("head", "encoder", "onnx") if getattr(job, name) is not None]
    if len(named) != 1:
        raise InputError(
            f"{' and '.join(named) or 'no classifier'} given; name one of head, encoder and onnx"
        )
    if not job.compressions:
        raise InputError("compressions: none given; name some, such as [{quantise: static}]")
    names = [compression.name for compression in job.compressions]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"compressions: '{twice[0]}' is there twice; take one out")
    if job.onnx and any(
        compression.sparsity or compression.clusters for compression in job.compressions
    ):
        raise InputError(
            "compressions: an ONNX file can be quantised only; to prune it or share its weights, "
            "audit the network that it was written of"
        )


def _subject(job: AuditJob, run: Run) -> Subject:
    if job.head is not None:
        if job.train_csv or job.test_csv:
            raise InputError("train_csv: a head brings its data; give data, or leave it out")
        return HeadSubject(load_head(job.head, job.data, run.say, job.seed), job.target)
    task = _task(job, run)
    if job.encoder is not None:
        return ProbeSubject(job.encoder, job, task, run.out / FEATURES_FOLDER)
    assert job.onnx is not None
    return FileSubject(Path(job.onnx), job, task)


def _task(job: AuditJob, run: Run) -> LabelTask:
    kind = TASKS.get(job.task)
    if kind is None or not learnable(kind):
        raise InputError(f"task: '{job.task}'; audits are of expression, classes and attributes")
    own = OwnData(train_csv=job.train_csv, test_csv=job.test_csv).face_sets(run.out)
    sets = own or face_sets_by_seed(job.data, False, [0], run.say)[0]
    tasks = serving_tasks(kind, sets, 0, job.bootstrap, "cpu", job.max_train)
    if len(tasks) > 1:
        named = ", ".join(task.faces.name for task in tasks)
        raise InputError(f"data: {named} serve {job.task}; name the folder of one")
    assert isinstance(tasks[0], LabelTask)
    return tasks[0]


class _Audit:
    """One classifier, measured with several compressions."""

    def __init__(self, subject: Subject, job: AuditJob, run: Run) -> None:
        self.subject, self.job, self.run = subject, job, run
        faces = subject.task.faces
        keys = (faces.records[i].key for i in subject.records)
        run.folder.skip(faces.name, keys, subject.skipped)
        self.records = subject.records[subject.test]
        self.groups = groups_of(faces, subject.target, self.records, job.groups, run.say)
        self.sample = subject.task.sample(self.records)
        draw = np.random.default_rng(job.seed)
        self.calibration = np.sort(draw.permutation(subject.learnt)[:CALIBRATED])
        self._pruned: dict[tuple[float, int], nn.Module] = {}  # trained once for several
        self.file = subject.file()
        self.digest = hashlib.sha256(self.file).hexdigest()[:16]

    def measured(self, compression: Compression | None) -> Iterator[Measured]:
        """Measure a compression, unless its records exist."""
        name = AS_IT_IS if compression is None else compression.name
        settings = self._settings(compression)
        if self._is_there(name, settings):
            self.run.say(f"{name}: measured already")
            return
        started = time.perf_counter()
        model = OnnxModel(self.file if compression is None else self._compressed(compression))
        subject, target = self.subject, self.subject.target
        classifier = _slug(f"{Path(subject.name).name} {subject.space}")
        file = f"{classifier}-seed{subject.seed}-{_slug(name)}.onnx"
        replace_file(self.run.out / MODELS_FOLDER / file, model.data)
        logits = self._logits(model)
        targets = target.numbers[self.records]
        predictions = class_predictions(
            self.sample.keys, targets, logits, target.classes, self.groups
        )
        learnt, nonzero = model.counts()
        chosen = {
            **subject.chosen,
            **settings,
            "cost": {
                "file_bytes": len(model.data),
                "compressed_bytes": model.compressed_bytes,
                **({} if compression else {"float16_bytes": model.float16_bytes}),
                "parameters": learnt,
                "nonzero": nonzero,
                "milliseconds": round(model.milliseconds(subject.prepared(subject.test[:1])), 4),
            },
            "as_it_was": self._as_it_was(model, compression),
        }
        trained = f"trained on {subject.taught:,} pictures"
        figures = class_figures(
            *(self.sample, predictions, {"hyperparameters": chosen}, trained, target.of)
        )
        figures += fairness_figures(self.sample, predictions, chosen, trained, target.of)
        task = subject.task
        facts = TaskFacts(
            *(task.name, task.data_set, task.split, f"{subject.how}; {PROTOCOL}", subject.seed)
        )
        seconds = time.perf_counter() - started
        row = Measured(
            facts, subject.name, subject.space, name, figures, subject.fingerprint, seconds
        )
        if chosen["as_it_was"]:
            self.run.say(f"{name}: left as they were: {', '.join(chosen['as_it_was'])}")
        by_group = group_figures(self.sample, predictions, chosen, target.of)
        for (grouping, group), figure in by_group.items():
            condition = {"factor": grouping, "level": group, "unit": ""}
            yield row._replace(figures=[figure], condition=condition)
        yield row  # the last: where it is recorded, all is

    def _settings(self, compression: Compression | None) -> dict[str, Any]:
        """The settings, beside the sample, that decide a compression's figures, as JSON values."""
        settings: dict[str, Any] = {"classifier": self.digest}
        if compression is not None:
            settings["compression"] = dataclasses.asdict(compression)
            settings["drawn_by"] = self.job.seed
            if compression.epochs:
                settings["tuning"] = dataclasses.asdict(self.job.tuning)
        settings["groups"] = sorted(self.groups)
        return json.loads(json.dumps(settings))

    def _is_there(self, name: str, settings: dict[str, Any]) -> bool:
        subject = self.subject
        return any(
            (r.encoder, r.feature_space, r.probe, r.seed, r.sample, r.task, r.data_set)
            == (
                *(subject.name, subject.space, name, subject.seed, self.sample.name),
                *(subject.task.name, subject.task.data_set),
            )
            and not r.condition
            and all(r.hyperparameters.get(key) == value for key, value in settings.items())
            for r in self.run.earlier
        )

    def _compressed(self, compression: Compression) -> bytes:
        data = self.file
        if compression.sparsity or compression.clusters:
            network = self._network
            example = self.subject.prepared(self.subject.test[:2])
            if compression.sparsity:
                key = compression.sparsity, compression.epochs
                if key not in self._pruned:
                    self._pruned[key] = pruned(network, example, compression, self._train)
                network = self._pruned[key]
            if compression.clusters:
                network = shared(network, example, compression.clusters, self.job.seed)
            data = exported(network, example)
        if compression.quantise:
            shown = self.subject.prepared(self.calibration)
            data = quantised(data, compression.quantise, shown)
        return data

    @property
    def _network(self) -> nn.Module:
        assert self.subject.network is not None  # files are only quantised: `_check`
        return self.subject.network

    def _train(self, network: nn.Module, epoch: int) -> None:
        """One epoch, in place."""
        tuning, rows = self.job.tuning, self.subject.learnt
        if len(rows) < tuning.batch_size:
            raise InputError(
                f"tuning.batch_size: {tuning.batch_size}; there are {len(rows):,} training pictures"
            )
        trained = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, tuning.learning_rate)
        order = EpochBatches(len(rows), tuning.batch_size, self.job.seed)
        order.set_epoch(epoch)
        for step, batch in enumerate(order):
            torch.manual_seed(self.job.seed + 7919 * (epoch * len(order) + step + 1))
            optimizer.zero_grad()
            loss = self.subject.losses(network, rows[batch])
            if not bool(loss.isfinite()):
                raise InputError(
                    f"tuning.learning_rate: {tuning.learning_rate}: the loss is not finite at step "
                    f"{step + 1} of epoch {epoch + 1}; give a lower rate"
                )
            loss.backward()
            optimizer.step()

    def _logits(self, model: OnnxModel) -> Tensor:
        test = self.subject.test
        parts = np.array_split(test, -(-len(test) // _AT_ONCE))
        return torch.cat([model.logits(self.subject.prepared(part)) for part in parts])

    def _as_it_was(self, model: OnnxModel, compression: Compression | None) -> list[str]:
        """Layers with weights that a compression leaves as they were."""
        if compression is None:
            return []
        layers = []
        if compression.sparsity or compression.clusters:
            example = self.subject.prepared(self.subject.test[:2])
            layers = weights_that_run(self._network, example)[1]
        return layers + (model.in_float() if compression.quantise else [])


def _slug(name: str) -> str:
    return safe_name(name.replace("%", "percent").replace(".", "_"))
