"""What a suite is of: its YAML file, read and checked, and the cells that it comes to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from linear_probe.sources.backbones import LIBRARIES
from ssl_faces import InputError
from ssl_faces.common.yaml_settings import Name, Strict, check_configs, flags, read_as
from ssl_faces.encoders.encoder import WEIGHTS_FILE, find_encoder

EXAMPLE = "configs/suite/standard.yaml"
CELLS = "cells"
_OWN = ("encoder", "task", "out", "baselines", "no-baselines")


class ProbeSettings(Strict):
    """`linear-probe run` with the same arguments on many tasks and encoders.

    Attributes:
        arguments: `--KEY VALUE` of it; `true` stands for an argument without a value.
        tasks, encoders: other ones than the suite's.
    """

    arguments: dict[str, Any] = Field(default_factory=dict)
    tasks: list[str] | None = None
    encoders: list[str] | None = None

    @model_validator(mode="after")
    def _free(self) -> ProbeSettings:
        for key in self.arguments:
            if key in _OWN:
                raise ValueError(f"'{key}' follows from the suite; leave it out of the arguments")
        return self

    def words(self) -> list[str]:
        found = []
        for key, value in self.arguments.items():
            if value is not False:
                found += [f"--{key}"] if value is True else [f"--{key}", str(value)]
        return found


class HeadSettings(Strict):
    """`linear-probe head` on several encoders.

    Attributes:
        configs: files for `-c`.
        arguments: `--KEY=VALUE`.
        encoders: that it rests on, frozen; null is its own network, end to end.
    """

    configs: list[str] = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)
    encoders: list[str | None] = Field(default=[None])


class Suite(Strict):
    """What is scored how.

    Attributes:
        encoders: as `linear-probe run --encoder` takes them.
        tasks: as `--task` does.
        probes, heads: by name.
        baselines: score pixels, HOG, LBP and untrained encoders too.
    """

    encoders: list[str] = Field(default_factory=list)
    tasks: list[str] = Field(default_factory=list)
    probes: dict[Name, ProbeSettings] = Field(default_factory=dict)
    heads: dict[Name, HeadSettings] = Field(default_factory=dict)
    baselines: bool = True

    @model_validator(mode="after")
    def _something(self) -> Suite:
        if not self.probes and not self.heads:
            raise ValueError("neither probes nor heads; name at least one")
        for name, probe in self.probes.items():
            if not (self.encoders if probe.encoders is None else probe.encoders):
                raise ValueError(f"probes.{name}: no encoders; name some, of it or of the suite")
            if not (self.tasks if probe.tasks is None else probe.tasks):
                raise ValueError(f"probes.{name}: no tasks; name some, of it or of the suite")
        return self


@dataclass(frozen=True)
class Cell:
    """One command of `linear-probe`.

    Attributes:
        title: in words.
        folder: its `--out`.
        words: the command's, behind `linear-probe`.
        inputs: what else decides its records: files by what is in them.
        features: whether it shares the suite's features.
    """

    title: str
    folder: Path
    words: list[str]
    inputs: dict[str, str]
    features: bool


def read(path: Path) -> Suite:
    """A suite from its file.

    Raises:
        InputError: no such file, not YAML, or settings that can't be; says which.
    """
    suite = read_as(Suite, path, EXAMPLE)
    for head in suite.heads.values():
        check_configs(path, head.configs, "linear-probe head")
    return suite


def cells(suite: Suite, out: Path) -> Iterator[Cell]:
    """All of them: tasks by tasks, so that a table can be had early.

    Raises:
        InputError: no such encoder.
    """
    for name, probe in suite.probes.items():
        encoders = suite.encoders if probe.encoders is None else probe.encoders
        for task in dict.fromkeys(suite.tasks if probe.tasks is None else probe.tasks):
            for number, encoder in enumerate(dict.fromkeys(encoders)):
                # What knows no encoder is scored once for all of them.
                kind = "none" if not suite.baselines else "untrained" if number else "all"
                words = ["run", "--encoder", encoder, "--task", task, "--baselines", kind]
                words += probe.words()
                yield _cell((name, task, encoder), out, words, _weights(encoder), True)
    for name, head in suite.heads.items():
        for on in dict.fromkeys(head.encoders):
            words = ["head", *(word for config in head.configs for word in ("-c", config))]
            words += flags(head.arguments)
            words += [] if on is None else ["--encoder", on]
            inputs = {config: _sha256(Path(config)) for config in head.configs}
            inputs |= {} if on is None else _weights(on)
            yield _cell((name, on or "own network"), out, words, inputs, False)


def _cell(
    parts: tuple[str, ...], out: Path, words: list[str], inputs: dict[str, str], features: bool
) -> Cell:
    digest = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:8]
    readable = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part).strip("_.")[-40:] for part in parts)
    folder = out / CELLS / f"{readable}-{digest}"
    title = ", ".join(parts)
    return Cell(title, folder, [*words, "--out", str(folder)], inputs, features)


def _weights(encoder: str) -> dict[str, str]:
    """What is in the file that an encoder's name stands for; nothing of a library's."""
    if encoder.startswith(LIBRARIES):
        return {}
    file = Path(encoder.partition("?")[0])
    if not file.is_file():
        file = find_encoder(encoder) / WEIGHTS_FILE
    return {encoder: _sha256(file)}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
