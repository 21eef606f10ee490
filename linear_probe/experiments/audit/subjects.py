"""The subject of an audit: a trained classifier, with its images and the groups of people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linear_probe.experiments.audit.fairness import UNKNOWN, check_grouping
from linear_probe.experiments.audit.onnx_model import exported
from linear_probe.features.frozen import EncoderSource, FeatureCache, Features, Pictures
from linear_probe.heads.goals import Categories
from linear_probe.heads.head import Head
from linear_probe.heads.loading import TrainedHead
from linear_probe.heads.pictures import decode
from linear_probe.probes.linear import LinearPredictor, how_chosen
from linear_probe.probes.logistic import fit_logistic
from linear_probe.sources.by_name import encoder_sources
from linear_probe.sources.onnx_file import OnnxSource
from linear_probe.tasks.attributes import CLASSES, Attributes, age_bands
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.labelled import LabelTask, Split
from linear_probe.tasks.task import carries
from ssl_faces import FaceEncoder, InputError
from ssl_faces.data import FaceSet

if TYPE_CHECKING:
    from linear_probe.experiments.audit.settings import AuditJob


class Target(NamedTuple):
    """What is classified: its name, where the task has several things to say, else empty; the
    label; names of classes, by number; and int [records] of the face set."""

    of: str
    label: str
    classes: Sequence[str]
    numbers: np.ndarray


def target_of(task: LabelTask, name: str | None) -> Target:
    """The label that is audited: of attributes `gender` or `race`, of other tasks their own;
    InputError if it has no classes, or there is no such label."""
    if isinstance(task, Classes):
        if name not in (None, task.label):
            raise InputError(f"target: '{name}'; {task.name} has {task.label} alone: leave it out")
        return Target("", task.label, task.class_names, task.labels)
    there = [n for n in CLASSES if isinstance(task, Attributes) and n in task.labels]
    if not isinstance(task, Attributes) or not there:
        raise InputError(
            f"task: {task.name} of {task.faces.title} has no classes; audits are of expression, "
            "classes and attributes"
        )
    if name not in there:
        named = "none given" if name is None else f"'{name}'"
        raise InputError(f"target: {named}; {task.faces.title} has {', '.join(there)}: name one")
    return Target(name, name, task.faces.class_names[name], task.labels[name])


def groups_of(
    faces: FaceSet,
    target: Target,
    records: np.ndarray,
    wanted: Sequence[str] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, list[str]]:
    """The group of each of the records, by grouping: all labels with names but the target, and the
    decade of the age if the set has no age bands. `wanted`: groupings, perhaps none; None is all
    that have something to compare. Raises InputError: there is no such grouping, or nothing in
    it to compare."""
    # Expressions and the like are no groups of people.
    labels = [n for n in faces.class_names if n not in (target.label, "expression", "category")]
    groups = {name: _names(faces, name, records) for name in labels if carries(faces, name)}
    if carries(faces, "age") and "age_band" not in groups:
        ages = [faces.records[i].labels.get("age") for i in records]
        bands = iter(age_bands(np.array([age for age in ages if age is not None])))
        groups["age band"] = [UNKNOWN if age is None else next(bands) for age in ages]
    for name in wanted or []:
        if name not in groups:
            there = f"has {', '.join(groups)}" if groups else "has none"
            raise InputError(f"groups: '{name}'; beside {target.label} {faces.title} {there}")
        check_grouping(name, groups[name])
    if wanted is not None:
        return {name: groups[name] for name in wanted}
    for name in [*groups]:
        try:
            check_grouping(name, groups[name])
        except InputError as error:
            say(f"left out: {error}")
            del groups[name]
    if not groups:
        raise InputError(
            f"{faces.title}: beside {target.label} no column of groups that can be compared, such "
            "as gender, race or age; give train_csv and test_csv with one"
        )
    return groups


def _names(faces: FaceSet, label: str, records: np.ndarray) -> list[str]:
    numbers = [faces.records[i].labels.get(label, -1) for i in records]
    return [UNKNOWN if n < 0 else faces.class_names[label][n] for n in numbers]


class Subject:
    """A trained classifier and its data.

    Args:
        task: what it is scored on.
        target: the label that is audited, see `target_of`.
        side: of its images.
        seen: the features and rows that it was fitted on, if they are known already.

    Attributes:
        name, space, fingerprint, seed: as in its records.
        network: images as of `prepared` to logits [N, K], in evaluation mode; it can be pruned,
            shared and trained. None: a file that can only be quantised.
        chosen, how: hyper-parameters of its training, and how it was trained, in words.
        images, records: uint8 [N, 3, R, R], and their records of the face set, int64 [N].
        learnt, test: int64, rows of the training part without its validation rows, and of the test
            part.
        taught: number of training images, its validation images among them.
        skipped: images that can't be decoded.
    """

    name: str
    space: str
    fingerprint = ""
    seed: int
    how: str
    network: nn.Module | None = None

    def __init__(
        self,
        task: LabelTask,
        target: str | None,
        side: int,
        seen: tuple[Features, Split] | None = None,
    ) -> None:
        self.task, self.target = task, target_of(task, target)
        self.chosen: dict[str, Any] = {}
        if task.folds is not None:
            raise InputError(
                f"{task.faces.title} is scored in folds, each by a classifier of its own; audit "
                "one on a set with a test part"
            )
        decoded = decode(task.faces, task.indices if seen is None else seen[0].records, side)
        self.images, self.records, self.skipped = decoded.images, decoded.records, decoded.skipped
        pictures = Pictures(task.faces, task.indices)
        rows = task.rows(decoded.rows, pictures) if seen is None else seen[1]
        # A head's validation images are not trained on here either.
        self.learnt, self.test = rows.train[~rows.validation], rows.test
        self.taught = len(rows.train)

    def prepared(self, rows: np.ndarray) -> Tensor:
        """The images of these rows as the network takes them, float32 [N, 3, S, S] in [0, 1]."""
        return self.images[torch.from_numpy(rows)].float() / 255

    def losses(self, network: nn.Module, rows: np.ndarray) -> Tensor:
        """What is minimised when a copy of the network is trained on these rows."""
        raise NotImplementedError

    def file(self) -> bytes:
        """The uncompressed classifier as an ONNX file, from such images to logits."""
        assert self.network is not None
        return exported(self.network, self.prepared(self.test[:2]))


class HeadNetwork(nn.Module):
    """Some outputs of a head, as it is scored."""

    def __init__(self, head: Head, columns: slice) -> None:
        super().__init__()
        self.head, self.columns = head, columns

    def forward(self, images: Tensor) -> Tensor:
        return self.head.predict(images)[:, self.columns]


class HeadSubject(Subject):
    """A head of `linear-probe head`."""

    def __init__(self, trained: TrainedHead, target: str | None = None) -> None:
        head, asked, job, self.seed = trained
        super().__init__(asked.task, target, head.read_size)
        name = job.label or head.name
        self.name = name + (f" on {job.encoder}" if job.encoder else "")
        self.space = head.space
        self._labels = asked.labels[torch.from_numpy(self.records)]
        head.goal.count(self._labels[torch.from_numpy(self.learnt)])
        self._balanced, self._head = job.training.balanced, head
        self.network = HeadNetwork(head, _columns(head, self.target)).eval()
        self.how = f"{name}, trained as `linear-probe head` does"

    def prepared(self, rows: np.ndarray) -> Tensor:
        return self._head.prepare(self.images[torch.from_numpy(rows)]).float()

    def losses(self, network: nn.Module, rows: np.ndarray) -> Tensor:
        assert isinstance(network, HeadNetwork)
        head, of = network.head, torch.from_numpy(rows)
        varied = head.vary(self.images[of])
        return torch.stack([*head.losses(varied, self._labels[of], self._balanced).values()]).sum()


def _columns(head: Head, target: Target) -> slice:
    if isinstance(head.goal, Categories):
        return slice(None)
    start = 0
    for name, size in head.goal.sizes.items():
        if name == target.label:
            return slice(start, start + size)
        start += size
    raise InputError(f"target: '{target.label}'; the head says {', '.join(head.goal.sizes)}")


class ProbedEncoder(nn.Module):
    """An encoder and a fitted probe on one of its feature spaces as one network: images float [B,
    3, S, S] in [0, 1] to logits."""

    def __init__(self, encoder: nn.Module, space: str, predictor: LinearPredictor) -> None:
        super().__init__()
        self.encoder, self.space = encoder, space
        weight = predictor.weight / predictor.standardise.scale[:, None]
        self.probe = nn.Linear(*weight.shape)
        with torch.no_grad():
            self.probe.weight.copy_(weight.T)
            self.probe.bias.copy_(predictor.bias - predictor.standardise.mean @ weight)

    def forward(self, images: Tensor) -> Tensor:
        more = ((self.space,),) if isinstance(self.encoder, FaceEncoder) else ()
        return self.probe(self.encoder(images, *more)[self.space])


class ProbeSubject(Subject):
    """An encoder with a linear probe, fitted as `linear-probe run` fits it, by the task's seed.

    Args:
        encoder: as `--encoder` takes it, but for files.
        features: folder of the frozen features.

    Raises:
        InputError: no network that can be compressed, or no such space.
    """

    def __init__(self, encoder: str, job: AuditJob, task: LabelTask, features: Path) -> None:
        space, numbers = job.space, target_of(task, job.target).numbers
        (source,) = encoder_sources([encoder], None, "32", baselines=False)
        if not isinstance(source, EncoderSource) or not isinstance(source.encoder, nn.Module):
            raise InputError(
                f"encoder: {encoder} is no network of torch, which alone can be compressed with "
                "its probe; give a saved encoder, timm:NAME or torchvision:NAME"
            )
        spaces = list(source.dims)
        space = spaces[0] if space is None and len(spaces) == 1 else space
        if space not in spaces:
            named = "none given" if space is None else f"'{space}'"
            raise InputError(f"space: {named}; {encoder} has {', '.join(spaces)}: name one")
        source.dims = {space: source.dims[space]}
        self.name, self.space, self.seed = encoder, space, job.seed
        self.fingerprint = source.fingerprint
        pictures = Pictures(task.faces, task.indices)
        cache = FeatureCache(features)
        cache.fill([source], pictures)
        values = cache.read(source, pictures, space)
        rows = task.rows(values, pictures)
        known = torch.from_numpy(numbers[values.records[rows.train]])
        predictor = fit_logistic(
            values.values[torch.from_numpy(rows.train)], known, rows.validation
        )
        source.encoder.to("cpu").to(memory_format=torch.contiguous_format)
        network = ProbedEncoder(source.encoder, space, predictor)
        self.network = network.eval().requires_grad_(True)
        super().__init__(task, job.target, source.input_size, (values, rows))
        self.chosen = how_chosen([predictor])["hyperparameters"]
        self.how = f"logistic regression on {space}, fitted as `linear-probe run` does"

    def losses(self, network: nn.Module, rows: np.ndarray) -> Tensor:
        images = self.prepared(rows)
        mirrored = torch.rand(len(images)) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        labels = self.target.numbers[self.records[rows]]
        return F.cross_entropy(network(images), torch.from_numpy(labels))


class FileSubject(Subject):
    """An ONNX file of a classifier: images [B, 3, S, S] in [0, 1] to logits [B, K], in the order of
    the task's classes. It can be quantised, and no more.

    Raises:
        InputError: it can't be read, or takes other images or has other classes.
    """

    space = "end to end"
    how = "a file, as it is"

    def __init__(self, path: Path, job: AuditJob, task: LabelTask) -> None:
        source = OnnxSource(str(path))
        super().__init__(task, job.target, source.input_size)
        (classes, *others) = source.dims.values()
        if others or classes != len(self.target.classes):
            raise InputError(
                f"{path}: gives {', '.join(map(str, source.dims.values()))} numbers a picture, and "
                f"{self.target.label} of {task.faces.title} has {len(self.target.classes)} classes "
                f"({', '.join(self.target.classes)}); export one output with a logit for each"
            )
        self.name, self.seed, self._data = str(path), job.seed, path.read_bytes()

    def file(self) -> bytes:
        return self._data
