"""The one record that every figure is written as; tables and plots are made from records only."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_faces import InputError
from ssl_faces.common.errors import reason_of
from ssl_faces.common.files import regular, replace_file

RECORDS_FILE = "records.jsonl"


@dataclass(frozen=True, slots=True)
class Record:
    """One figure: what was measured, on what, how, and how sure it is.

    Attributes:
        task: `expression`, `pose`, `identity` or `attributes`.
        data_set: name of the face set.
        split: what the probe learnt on and what it was scored on.
        encoder: where the features come from: an encoder as it was named on the command line,
            the same with `, untrained`, or the name of a baseline.
        feature_space: which of the encoder's feature spaces.
        probe: what was fitted on the frozen features.
        metric: what `value` is.
        value: the figure, in `unit`.
        low: lower end of the 95 % bootstrap interval.
        high: upper end.
        unit: `%` (0 to 100), `degrees` or `years`.
        higher_is_better: whether a higher value is the better one.
        n: how many pictures or pairs it was measured on.
        seed: of splits, untrained weights and bootstrap.
        hyperparameters: what was chosen, without a look at the test part. `validation` is what it
            was chosen by, on the validation split of the training part: what a choice between
            encoders should rest on, too.
        at_grid_edge: the chosen value is the first or last of those tried, so that a better one
            may lie beyond.
        condition: what differs from the task as it is: `{}`, or `factor` (such as `blur` or
            `labels`), `level` (a number) and `unit`, for one point of a curve.
        protocol: how it was measured, for readers of the figure.
        note: what else they must know, such as what was left out.
        sample: SHA-256 (shortened) of the test rows and the bootstrap's draws from them: figures of
            the same sample can be compared pair by pair.
        fingerprint: SHA-256 (shortened) of the encoder's weights and configuration.
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
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    at_grid_edge: bool = False
    condition: dict[str, Any] = field(default_factory=dict)
    protocol: str = ""
    note: str = ""
    sample: str = ""
    fingerprint: str = ""
    seconds: float = 0.0
    hardware: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _FLOATS:
            if not math.isfinite(getattr(self, name)):
                raise self._not_finite(name)
        for name in ("hyperparameters", "condition"):
            if not _finite(getattr(self, name)):
                raise self._not_finite(name)

    def _not_finite(self, name: str) -> InputError:
        of = ", ".join(filter(None, (self.task, self.encoder, self.feature_space, self.metric)))
        return InputError(
            f"{of}: the record's '{name}' is not finite ({getattr(self, name)}); check the "
            "weights and the labels that the figure is of"
        )

    @property
    def key(self) -> tuple[str | int, ...]:
        """What the figure is of: a new record replaces an old one of the same key."""
        key: tuple[str | int, ...] = (
            self.task,
            self.data_set,
            self.split,
            self.encoder,
            self.feature_space,
            self.probe,
            self.metric,
            self.seed,
        )
        # Not of plain figures, whose names then stay what they were.
        return (*key, json.dumps(self.condition, sort_keys=True)) if self.condition else key

    @property
    def name(self) -> str:
        """The key as 16 letters and digits, for what is kept beside the records."""
        return hashlib.sha256(json.dumps(self.key).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """One line of JSON.

        Raises:
            ValueError: a number is not finite.
        """
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The record of one line.

        Raises:
            ValueError: the line is not a record; says why.
        """
        try:
            fields = json.loads(line, parse_constant=_refuse)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")
        for name, kind in _KINDS.items():
            if name in fields:
                fields[name] = _checked(name, fields[name], kind)
            elif name in _REQUIRED:
                raise ValueError(f"'{name}' is missing")
        unknown = sorted(set(fields) - set(_KINDS))
        if unknown:
            raise ValueError(f"unknown field '{unknown[0][:40]}'")
        if not all(isinstance(version, str) for version in fields.get("versions", {}).values()):
            raise ValueError("'versions' holds something else than text")
        return cls(**fields)


_KINDS: dict[str, type] = {
    f.name: {"str": str, "float": float, "int": int, "bool": bool}.get(str(f.type), dict)
    for f in dataclasses.fields(Record)
}
_REQUIRED = {
    f.name
    for f in dataclasses.fields(Record)
    if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
}
_SPOKEN = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}
_SPOKEN[dict] = "a JSON object"


def _checked(name: str, value: Any, kind: type[Any]) -> Any:
    """`value` if it is of `kind`; a whole number serves as a float, true and false as no number."""
    is_bool = isinstance(value, bool)
    if kind is float and isinstance(value, int) and not is_bool:
        try:
            value = float(value)
        except OverflowError as error:
            raise ValueError(f"'{name}' is not finite") from error
    if not isinstance(value, kind) or (is_bool and kind is not bool):
        raise ValueError(f"'{name}' is not {_SPOKEN[kind]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"'{name}' is not finite")
    return value


_FLOATS = [name for name, kind in _KINDS.items() if kind is float]


def _finite(value: Any) -> bool:
    """Whether all numbers within a JSON value are."""
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not a finite number")


def read_records(path: Path | str) -> list[Record]:
    """The records of a JSON-lines file, compressed where it is called `.gz`; blank lines are passed
    over.

    Raises:
        InputError: the file can't be read, or a line is not a record; names file and line.
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
    # Not splitlines: text within a record may hold other line separators.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip(" \t\r"):
            continue
        try:
            records.append(Record.from_json(line))
        except ValueError as error:
            reason = reason_of(error)
            raise InputError(
                f"{path}, line {number}: not a record ({reason}); delete the line"
            ) from error
    return records


def write_records(path: Path | str, records: Iterable[Record]) -> None:
    """Write records as JSON lines, compressed where `path` ends in `.gz`; it is never half-written.

    Raises:
        InputError: the folder can't be written, or the disk is full.
    """
    path = Path(path)
    content = "".join(f"{record.to_json()}\n" for record in records).encode()
    # Without the time: the same records are the same bytes.
    replace_file(path, gzip.compress(content, 9, mtime=0) if path.suffix == ".gz" else content)


def merged(old: Iterable[Record], new: Iterable[Record]) -> list[Record]:
    """`old` with the records of `new`: in the place of the one with the same key, else behind."""
    by_key = {record.key: record for record in old}
    by_key.update({record.key: record for record in new})
    return list(by_key.values())
