"""A linear probe in the folder of its encoder: calibrated probabilities of classes.

The file `TASK_probe.safetensors` holds mean, scale, weight, bias and temperature as float32, and a
description as JSON in its metadata. `linear-probe save-probe` makes it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.encoders.encoder import WEIGHTS_FILE
from ssl_faces.encoders.places import find_encoder

EXPRESSION = "expression"
_ABOUT = "probe"
_TENSORS = ("mean", "scale", "weight", "bias", "temperature")


@dataclass(frozen=True)
class SavedProbe:
    """Multinomial logistic regression on one feature space: `probe(features [N, D])` gives
    probabilities, float32 [N, K], with rows of sum 1.

    Attributes:
        task: the predicted task.
        space: the feature space.
        classes: names of the K classes.
        mean, scale: of the training features, [D] each.
        weight: [D, K] on standardised features.
        bias: [K].
        temperature: divisor of the logits, chosen on validation images.
        about: training data and accuracy, plain JSON values.
    """

    task: str
    space: str
    classes: tuple[str, ...]
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    temperature: float
    about: dict[str, Any] = field(default_factory=dict)

    def logits(self, features: Tensor) -> Tensor:
        """float32 [N, K] of features [N, D], before the temperature."""
        x = (features.to(self.weight) - self.mean) / self.scale
        return x @ self.weight + self.bias

    def __call__(self, features: Tensor) -> Tensor:
        return torch.softmax(self.logits(features) / self.temperature, dim=1)


def probe_file(task: str) -> str:
    """The name of the file of a task's probe."""
    return f"{task}_probe.safetensors"


def save_probe(encoder: str | os.PathLike[str], probe: SavedProbe) -> Path:
    """Write a probe into the folder of its encoder; returns the file. Raises InputError: no such
    encoder, or the file can't be written."""
    from safetensors.torch import save

    folder = find_encoder(encoder)
    about = {
        "task": probe.task,
        "feature_space": probe.space,
        "classes": list(probe.classes),
        "encoder_sha256": weights_hash(folder),
        **probe.about,
    }
    tensors = {
        name: torch.atleast_1d(torch.as_tensor(getattr(probe, name)).float().cpu()).contiguous()
        for name in _TENSORS
    }
    path = folder / probe_file(probe.task)
    replace_file(path, save(tensors, {_ABOUT: json.dumps(about)}))
    return path


def load_probe(encoder: str | os.PathLike[str], task: str = EXPRESSION) -> SavedProbe | None:
    """The probe of a task of an encoder; None if it has none.

    Args:
        encoder: its folder or name, as in `load_encoder`.
        task: of classes.

    Raises:
        InputError: no such encoder, a broken file, or a probe of other weights.
    """
    from safetensors import SafetensorError, safe_open

    folder = find_encoder(encoder)
    path = folder / probe_file(task)
    if not path.is_file():
        return None
    mend = f"make it again: linear-probe save-probe --encoder {os.fsdecode(encoder)} --overwrite"
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[_ABOUT])
            tensors = {name: file.get_tensor(name).float() for name in _TENSORS}
        if not all(value.isfinite().all() for value in tensors.values()):
            raise ValueError("numbers that are not finite")
        temperature = float(tensors.pop("temperature"))
        names = (str(about["task"]), str(about["feature_space"]), tuple(map(str, about["classes"])))
        probe = SavedProbe(*names, **tensors, temperature=temperature, about=about)
        dim, count = probe.weight.shape
        shapes = {"mean": (dim,), "scale": (dim,), "bias": (len(probe.classes),)}
        if len(probe.classes) != count or any(tensors[k].shape != v for k, v in shapes.items()):
            raise ValueError("mean, scale, bias or classes of another length")
        if not probe.temperature > 0 or not bool((probe.scale > 0).all()):
            raise ValueError("a scale or temperature that is not above 0")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: no whole probe ({error}); {mend}") from error
    if about.get("encoder_sha256") != weights_hash(folder):
        raise InputError(f"{path}: is of other weights than {WEIGHTS_FILE} there; {mend}")
    return probe


def find_probe(encoder: str | os.PathLike[str]) -> SavedProbe | None:
    """The probe beside an encoder: that of expressions, or else the only one; None without any.
    Raises InputError: as of `load_probe`, or there are several and none is of expressions."""
    folder = find_encoder(encoder)
    tasks = [path.name.removesuffix(probe_file("")) for path in folder.glob(probe_file("*"))]
    if EXPRESSION not in tasks and len(tasks) > 1:
        raise InputError(
            f"{os.fsdecode(encoder)}: has probes of {', '.join(sorted(tasks))} but none of "
            f"{EXPRESSION}; keep one of them"
        )
    return load_probe(encoder, tasks[0] if len(tasks) == 1 else EXPRESSION)


def weights_hash(folder: Path) -> str:
    """SHA-256 of an encoder's weights, in hex; InputError if they can't be read."""
    path = folder / WEIGHTS_FILE
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); copy it there") from error
