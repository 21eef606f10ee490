"""What a file of claims says: which two things are compared, and what is expected of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import Field, StringConstraints, field_validator, model_validator

from linear_probe.records.record import RECORDS_FILE, Record
from ssl_faces.common.arguments import whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular
from ssl_faces.common.ranges import FiniteFloat, NonNegativeFloat, Seed
from ssl_faces.common.yaml_settings import PREVIOUS, Strict, read_as

FIT = "{fit}"
"""In arguments and rows: the folder of what was trained first."""
EXAMPLE = "configs/claims.yaml"

Command = Literal["head", "video", "landmarks", "audit", "run", "truth"]
_SEVERAL_SEEDS: set[Command] = {"head", "video", "landmarks"}


class Stage(Strict):
    """A run of `ssl-faces fit`.

    Attributes:
        configs: of its `-c`.
        arguments: `--KEY VALUE`; `trainer.max_steps` is among them, and says when it is done.
    """

    configs: list[str] = Field(min_length=1)
    arguments: dict[str, Any]

    @field_validator("arguments")
    @classmethod
    def _has_an_end(cls, given: dict[str, Any]) -> dict[str, Any]:
        if "trainer.max_steps" not in given:
            raise ValueError("trainer.max_steps is missing")
        try:
            whole(1)(given["trainer.max_steps"])
        except ValueError as error:
            raise ValueError(f"trainer.max_steps: {error}") from error
        return given

    @property
    def steps(self) -> int:
        return int(self.arguments["trainer.max_steps"])


class Fit(NamedTuple):
    """A stage by one seed: where it is trained, and the arguments of `ssl-faces fit`."""

    folder: Path
    words: list[str]
    steps: int


class Call(NamedTuple):
    """A call of `linear-probe`.

    Attributes:
        fits: what is trained before.
        words: the verb's arguments.
        folder: has the records.
        row: fields of the records that the claim is about, or how they end.
    """

    fits: list[Fit]
    words: list[str]
    folder: Path
    row: dict[str, str]


class Arm(Strict):
    """One of the two: a verb of `linear-probe` with these configs and arguments.

    Attributes:
        command: the verb.
        configs: of its `-c`; `run` and `truth` have none.
        arguments: `--KEY VALUE`.
        fit: what `ssl-faces fit` trains before, one stage after the other.
        row: of the records that the verb writes, those that are meant, by their fields, such as
            `{feature_space: identity}`.
    """

    command: Command = "head"
    configs: list[str] = Field(default_factory=list)
    arguments: dict[str, Any] = Field(default_factory=dict)
    fit: list[Stage] = Field(default_factory=list)
    row: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Arm:
        if not self.configs and self.command not in ("run", "truth"):
            raise ValueError(f"configs: `linear-probe {self.command}` needs one")
        if self.configs and self.command in ("run", "truth"):
            raise ValueError(f"configs: `linear-probe {self.command}` takes none")
        if self.fit and self.command in _SEVERAL_SEEDS:
            raise ValueError(f"fit: `linear-probe {self.command}` trains on its own")
        named = {f.name for f in dataclasses.fields(Record) if f.type == "str"}
        for field in self.row:
            if field not in named:
                raise ValueError(f"row: '{field}'; records have {', '.join(sorted(named))}")
        return self

    def calls(self, common: dict[str, Any], seeds: Sequence[int], out: Path) -> list[Call]:
        """What is run for these seeds. Arms that are alike share their folders, so that what
        several claims need is trained once; further seeds are added to what is there. Arms whose
        config says something else than before have a folder of their own.

        Args:
            common: arguments of all heads; other verbs have none of them.
            seeds: of the training; of an audit, of what compressing draws.
            out: the claims' folder.
        """
        asked, folder = self._words(common), self._folder(common, out)
        if self.command == "video":
            asked.append(f"--features={out / 'features'}")  # all see the same frames
        if self.command in _SEVERAL_SEEDS:
            words = [*asked, f"--seeds={list(seeds)}", f"--out={folder}"]
            return [Call([], words, folder, self.row)]
        found, rows = [], self.row.items()
        for seed in seeds:
            here = folder / f"seed{seed}" if self.fit else folder
            fits = self._fits(seed, out)
            of_fit = str(fits[-1].folder) if fits else ""
            words = [word.replace(FIT, of_fit) for word in asked]
            words += [f"--out={here}"] if self.fit else [f"--seed={seed}", f"--out={here}"]
            row = {field: value.replace(FIT, _within(out, of_fit)) for field, value in rows}
            found.append(Call(fits, words, here, row))
        return found

    def calls_there(self, common: dict[str, Any], out: Path) -> list[Call]:
        """Those, by whatever seeds, that there are records of."""
        folder = self._folder(common, out)
        if not self.fit:
            return self.calls(common, [0], out) if (folder / RECORDS_FILE).exists() else []
        names = (path.parent.name for path in folder.glob(f"seed*/{RECORDS_FILE}"))
        seeds = sorted(int(name.removeprefix("seed")) for name in names)
        return self.calls(common, seeds, out)

    def _folder(self, common: dict[str, Any], out: Path) -> Path:
        fits = [json.dumps(stage.model_dump()) for stage in self.fit]
        configs = [*self.configs, *(config for stage in self.fit for config in stage.configs)]
        said = [_content(config) for config in configs]
        digest = _digest([self.command, *self._words(common), *fits, *said])
        return out / "arms" / f"{self._name()}-{digest}"

    def _words(self, common: dict[str, Any]) -> list[str]:
        found = [word for config in self.configs for word in ("-c", config)]
        of_verb: dict[str, Any] = {}
        if self.command == "landmarks":
            of_verb = {"label": self._label()}
        elif self.command == "head":
            of_verb = {"label": self._label(), **common}
        for key, value in {**of_verb, **self.arguments}.items():
            if value is True and self.command in ("run", "truth"):
                found.append(f"--{key}")  # a switch
            else:
                found.append(f"--{key}={value if isinstance(value, str) else json.dumps(value)}")
        return found

    def _name(self) -> str:
        configs = self.configs or [config for stage in self.fit[-1:] for config in stage.configs]
        return "-".join([Path(config).stem for config in configs] or [self.command])

    def _label(self) -> str:
        """What tells the head from others in tables: its config, and what is changed about it."""
        changed = [
            f"{key.rpartition('.')[2]} {value if isinstance(value, str) else json.dumps(value)}"
            for key, value in self.arguments.items()
            if key.startswith(("head.", "before", "nodes", "frames"))
        ]
        return ", ".join(["+".join(Path(config).stem for config in self.configs), *changed])

    def _fits(self, seed: int, out: Path) -> list[Fit]:
        found: list[Fit] = []
        of_all: list[str] = []
        for stage in self.fit:
            words = [word for config in stage.configs for word in ("-c", config)]
            for key, value in stage.arguments.items():
                words += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
            # Of all stages so far: those that begin alike share them.
            of_all += [*words, *(_content(config) for config in stage.configs)]
            name = "-".join(Path(config).stem for config in stage.configs)
            folder = out / "fits" / f"{name}-{_digest(of_all)}" / f"seed{seed}"
            before = str(found[-1].folder) if found else ""
            words = [word.replace(PREVIOUS, before) for word in words]
            words += ["--seed_everything", str(seed), "--data.seed", str(seed)]
            words += ["--out", str(folder), "--ckpt_path", "last"]
            found.append(Fit(folder, words, stage.steps))
        return found


class Claim(Strict):
    """What a paper claims, and how it is put to the test.

    Attributes:
        says: in words.
        paper: whose it is; those of one are counted together.
        published: what was measured there, with its protocol.
        idea, without: what the paper proposes, and the same without its idea.
        metric: of the records; of several, on one scale, their mean.
        probe, task: of the records, where several have such a metric.
        level: of the degradation that it is about; None is pictures as they are.
        at_most_worse: the claim is that the idea costs no more than so much; None: that it is
            better.
        at_least_smaller: and that its compressed file is so many times smaller (of audits).
        tried: what else was tried where it does not hold; told once of several that share it.
    """

    says: str
    paper: str
    published: str
    idea: Arm
    without: Arm
    metric: str | Annotated[list[str], Field(min_length=1)] = "accuracy"
    probe: str | None = None
    task: str | None = None
    level: FiniteFloat | None = None
    at_most_worse: NonNegativeFloat | None = None
    at_least_smaller: float | None = Field(default=None, gt=1)
    tried: str = ""

    @property
    def metrics(self) -> list[str]:
        return [self.metric] if isinstance(self.metric, str) else self.metric


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Claims(Strict):
    """The file: seeds and arguments of all heads, then the claims by name."""

    seeds: list[Seed] = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)
    claims: dict[Name, Claim] = Field(min_length=1)

    def only(self, names: Sequence[str]) -> Claims:
        """The same with these claims alone, in this order.

        Raises:
            InputError: no such claim.
        """
        unknown = sorted({*names} - {*self.claims})
        if unknown:
            raise InputError(f"--only {unknown[0]}: there are {', '.join(self.claims)}")
        return self.model_copy(update={"claims": {name: self.claims[name] for name in names}})


def read_claims(path: Path) -> Claims:
    """The file, checked.

    Raises:
        InputError: it can't be read, or says what there isn't.
    """
    return read_as(Claims, path, EXAMPLE)


def _within(out: Path, folder: str) -> str:
    """A folder of `out`, from there: records are the same wherever `out` is."""
    return str(Path(folder).relative_to(out)) if folder else ""


def _content(config: str) -> str:
    """What a config says, whatever its comments; empty where it can't be read, which its verb will
    tell."""
    try:
        return json.dumps(
            yaml.safe_load(regular(Path(config)).read_text()), sort_keys=True, default=str
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:8]
