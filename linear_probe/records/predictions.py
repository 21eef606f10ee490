"""Predictions of every test row, stored beside the records: for confusions, groups, galleries."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from linear_probe.records.record import Record
from ssl_faces import InputError
from ssl_faces.common.files import regular, replace_file

PREDICTIONS_FOLDER = "predictions"

Kind = Literal["classification", "regression", "verification"]


@dataclass(frozen=True)
class Predictions:
    """Predictions of N test rows, images or pairs.

    Attributes:
        kind: what was predicted.
        keys: of the images, N; for a pair both keys, with a tab between.
        targets: int [N] classes, or float [N] values, or for pairs int [N], 1 for one person.
        predicted: as `targets`.
        scores: float32 [N, K] class probabilities, [N, 1] similarities of pairs, or [N, 0].
        classes: K names, by number; for pairs `different` and `same`; none for values.
        groups: for each grouping (such as `race`) the name of each row's group, N.
    """

    kind: Kind
    keys: list[str]
    targets: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    classes: list[str] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.keys), len(self.targets), len(self.predicted), len(self.scores)}
        if len(lengths | {len(names) for names in self.groups.values()}) != 1:
            raise ValueError("columns of different lengths")


def predictions_path(folder: Path | str, record: Record) -> Path:
    """The path of the predictions behind a figure, in this run folder, if they were kept."""
    return Path(folder) / PREDICTIONS_FOLDER / f"{record.name}.safetensors"


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions; `path` is never half-written.

    Raises:
        InputError: the folder can't be written, or the disk is full.
    """
    about = {name: getattr(predictions, name) for name in ("kind", "keys", "classes", "groups")}
    arrays = {
        "targets": np.ascontiguousarray(predictions.targets),
        "predicted": np.ascontiguousarray(predictions.predicted),
        "scores": np.ascontiguousarray(predictions.scores, dtype=np.float32),
    }
    # ASCII: file names may hold bytes that are not UTF-8.
    replace_file(path, save(arrays, metadata={"about": json.dumps(about)}))


def read_predictions(path: Path) -> Predictions | None:
    """The predictions in a file; None if there is no file.

    Raises:
        InputError: the file can't be read.
    """
    if not path.exists():
        return None
    try:
        with safe_open(regular(path), framework="np") as file:
            about = json.loads(file.metadata()["about"])
            arrays = {name: file.get_tensor(name) for name in ("targets", "predicted", "scores")}
        return Predictions(**about, **arrays)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: can't be read ({error}); delete it and run `linear-probe run` again"
        ) from error
