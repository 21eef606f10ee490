"""The record that every figure is stored as; tables and plots are made from records only."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_faces import InputError
from ssl_faces.common.errors import reason_of
from ssl_faces.common.files import regular, replace_file

RECORDS_FILE = "records.jsonl"
_KEY = ("task", "data_set", "split", "encoder", "feature_space", "probe", "metric", "seed")


@dataclass(frozen=True, slots=True)
class Record:
    """One figure: what was measured, on which data, how, and with which uncertainty.

    Attributes:
        task: `expression`, `pose`, `identity` or `attributes`.
        data_set: name of the face set.
        split: training part and test part.
        encoder: the source of the features: an encoder's name on the command line, the same with
            `, untrained`, or the name of a baseline.
        origin: the encoder on the command line, if it was given another name.
        feature_space: which of the encoder's feature spaces.
        probe: what was fitted on the frozen features.
        metric: name of the measure.
        value: the figure, in `unit`.
        low: lower end of the 95 % bootstrap interval.
        high: upper end.
        unit: `%` (0 to 100), `degrees` or `years`.
        higher_is_better: whether a higher value is the better one.
        n: number of test images or pairs.
        seed: of splits, untrained weights and bootstrap.
        hyperparameters: the chosen values; the test part plays no part in the choice. `validation`
            holds the scores on the validation split of the training part: choose between encoders
            by these too.
        at_grid_edge: the chosen value is the first or last of its grid.
        condition: how the task differs from the plain one: `{}`, or `factor` (such as `blur` or
            `labels`), `level` (a number) and `unit`, for one point of a curve.
        protocol: how it was measured, for readers of the figure.
        note: what else readers must know, such as rows that were left out.
        sample: SHA-256 (shortened) of the test rows and the bootstrap's draws from them: figures of
            the same sample can be compared pair by pair.
        fingerprint: SHA-256 (shortened) of the encoder's weights and configuration.
        overlap: the test images that the encoder was trained on, counted (the fields of
            `ssl_faces.encoders.trained_images.Overlap`); empty where that is not known.
        seconds: time of the probe, without the extraction of the features.
        hardware: what it ran on.
        versions: of Python and of the libraries that decide the figure.

    Raises:
        InputError: a number is NaN or infinite.
    """

    task: str
    data_set: str
    split: str
    encoder: str
    feature_space: str
    probe: str
    metric: str
    value: float
    low: float
    high: float
    unit: str
    higher_is_better: bool
    n: int
    seed: int
    origin: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    at_grid_edge: bool = False
    condition: dict[str, Any] = field(default_factory=dict)
    protocol: str = ""
    note: str = ""
    sample: str = ""
    fingerprint: str = ""
    overlap: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    hardware: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "seconds", "hyperparameters", "condition"):
            try:
                json.dumps(getattr(self, name), allow_nan=False)
            except ValueError as error:
                of = (self.task, self.encoder, self.feature_space, self.metric)
                raise InputError(
                    f"{', '.join(filter(None, of))}: the record's '{name}' is not finite "
                    f"({getattr(self, name)}); check the weights and the labels that the figure "
                    "is of"
                ) from error

    @property
    def key(self) -> tuple[str | int, ...]:
        """The identity of the figure: a new record replaces an old one with the same key."""
        key: tuple[str | int, ...] = tuple(getattr(self, name) for name in _KEY)
        # Keys of plain figures have no condition, so that older records keep their names.
        return (*key, json.dumps(self.condition, sort_keys=True)) if self.condition else key

    @property
    def name(self) -> str:
        """The key as 16 hexadecimal digits: the name of what is stored beside the record."""
        return hashlib.sha256(json.dumps(self.key).encode()).hexdigest()[:16]

    @property
    def row_name(self) -> str:
        """The name of its row on the command line: ENCODER=SPACE."""
        return f"{self.encoder}={self.feature_space}" if self.feature_space else self.encoder

    @property
    def supervised(self) -> bool:
        """Whether it is of a head that was trained on labels, not of a probe."""
        return not {"training", "epochs"}.isdisjoint(self.hyperparameters)

    def to_json(self) -> str:
        """One line of JSON.

        Raises:
            ValueError: a number is not finite.
        """
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The record in one line.

        Raises:
            ValueError: the line is not a record; the message says why.
        """
        try:
            fields = json.loads(line)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")
        for name, value in fields.items():
            if name not in _KINDS:
                raise ValueError(f"unknown field '{name[:40]}'")
            kind, noun = _KINDS[name]
            if kind is float and type(value) is int:
                fields[name] = value = float(value)
            if type(value) is not kind:
                raise ValueError(f"'{name}' is not {noun}")
        if not all(isinstance(version, str) for version in fields.get("versions", {}).values()):
            raise ValueError("'versions' holds a value that is not text")
        try:
            return cls(**fields)
        except (InputError, TypeError) as error:
            raise ValueError(reason_of(error)) from error


_NOUNS: dict[str, tuple[type, str]] = {
    "str": (str, "text"),
    "float": (float, "a number"),
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
}
_KINDS = {
    field.name: _NOUNS.get(str(field.type), (dict, "a JSON object"))
    for field in dataclasses.fields(Record)
}
"""By name: the type in JSON, and what it is called."""


def read_records(path: Path | str) -> list[Record]:
    """The records of a JSON-lines file, decompressed if it ends in `.gz`; blank lines are skipped.

    Raises:
        InputError: the file can't be read, or a line is not a record.
    """
    path = Path(path)
    try:
        content = regular(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); give a folder that `linear-probe run` wrote"
        ) from error
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8")
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: not a text file; delete it and run `linear-probe run` again"
        ) from error
    records = []
    # Not splitlines: a text in a record may contain other line separators.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip(" \t\r"):
            continue
        try:
            records.append(Record.from_json(line))
        except (ValueError, OverflowError) as error:
            raise InputError(
                f"{path}, line {number}: not a record ({reason_of(error)}); delete the line"
            ) from error
    return records


def write_records(path: Path | str, records: Iterable[Record]) -> None:
    """Write records as JSON lines; the file is never half-written.

    Args:
        path: the file, compressed if it ends in `.gz`.
        records: in the order to write.

    Raises:
        InputError: the folder can't be written, or the disk is full.
    """
    path = Path(path)
    content = "".join(f"{record.to_json()}\n" for record in records).encode()
    # Without the time, so that equal records give equal bytes.
    replace_file(path, gzip.compress(content, 9, mtime=0) if path.suffix == ".gz" else content)


def merged(old: Iterable[Record], new: Iterable[Record]) -> list[Record]:
    """Both; a record of `new` replaces the old one with the same key, else it comes last."""
    by_key = {record.key: record for record in old}
    by_key.update({record.key: record for record in new})
    return list(by_key.values())
