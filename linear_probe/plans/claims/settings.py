"""The YAML file of claims: which two arms each compares, and what is expected of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import Field, StringConstraints, field_validator, model_validator

from linear_probe.records.record import RECORDS_FILE, Record
from ssl_faces.common import config_files
from ssl_faces.common.arguments import whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular
from ssl_faces.common.ranges import FiniteFloat, PositiveFloat, Seed
from ssl_faces.common.yaml_settings import PREVIOUS, Strict, read_as
from ssl_faces.plan import stages as plan_stages
from ssl_faces.plan.cluster.resources import PlanResources
from ssl_faces.plan.steps import Step

FIT = "{fit}"
"""In arguments and rows: the folder of the encoder that was trained first."""
TRAINED = "{trained}"
"""In arguments: the folder of the `linear-probe head` that was run first."""
EXAMPLE = "configs/claims.yaml"

_MOVED = {
    "ssl_faces.rendered.": "ssl_faces.data.rendered.",
    "linear_probe.experiments.video.": "linear_probe.video.",
}
"""Classes that have moved count as what they were, so that archived records keep their folders."""

Command = Literal["head", "video", "landmarks", "audit", "run", "truth"]
_SEVERAL_SEEDS: set[Command] = {"head", "video", "landmarks"}


class Stage(plan_stages.Stage):
    """A run of `ssl-faces fit`; its `trainer.max_steps` says when it is done."""

    @field_validator("arguments")
    @classmethod
    def _has_an_end(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if "trainer.max_steps" not in arguments:
            raise ValueError("trainer.max_steps is missing")
        try:
            whole(1)(arguments["trainer.max_steps"])
        except ValueError as error:
            raise ValueError(f"trainer.max_steps: {error}") from error
        return arguments

    @property
    def steps(self) -> int:
        return int(self.arguments["trainer.max_steps"])


class Call(NamedTuple):
    """A call of `linear-probe`.

    Attributes:
        fits: runs of `ssl-faces fit` before it.
        words: the verb's arguments.
        folder: of the records.
        row: fields of the records that the claim is about, or how they end.
        trained: the call of `linear-probe head` before it, if any.
    """

    fits: list[Step]
    words: list[str]
    folder: Path
    row: dict[str, str]
    trained: Call | None = None


class Arm(Strict):
    """One side of a claim: a verb of `linear-probe` with its configs and arguments.

    Attributes:
        command: the verb.
        configs: files for its `-c`; `run` and `truth` have none.
        arguments: `--KEY VALUE`.
        fit: stages that `ssl-faces fit` trains before, in their order.
        trained: of an audit, an arm of `linear-probe head` whose head it compresses: its folder is
            `{trained}` in the arguments.
        row: selects records that the verb writes by their fields, such as
            `{feature_space: identity}`.
    """

    command: Command = "head"
    configs: list[str] = Field(default_factory=list)
    arguments: dict[str, Any] = Field(default_factory=dict)
    fit: list[Stage] = Field(default_factory=list)
    trained: Arm | None = None
    row: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Arm:
        if not self.configs and self.command not in ("run", "truth"):
            raise ValueError(f"configs: `linear-probe {self.command}` needs one")
        if self.configs and self.command in ("run", "truth"):
            raise ValueError(f"configs: `linear-probe {self.command}` takes none")
        if self.fit and self.command in _SEVERAL_SEEDS:
            raise ValueError(f"fit: `linear-probe {self.command}` trains on its own")
        if self.trained and (self.command, self.trained.command) != ("audit", "head"):
            raise ValueError("trained: audits are of an arm of `linear-probe head`")
        named = {f.name for f in dataclasses.fields(Record) if f.type == "str"}
        for field in self.row:
            if field not in named:
                raise ValueError(f"row: '{field}'; records have {', '.join(sorted(named))}")
        return self

    def calls(self, common: dict[str, Any], seeds: Sequence[int], out: Path) -> list[Call]:
        """The calls for these seeds. Equal arms of several claims share a folder, so that they run
        once; further seeds are added to it. An arm whose config has changed has a new folder.

        Args:
            common: arguments of all heads; other verbs ignore them.
            seeds: of the training; for an audit, of its random compression.
            out: the claims' folder.
        """
        words_of_all, folder = self._words(common), self._folder(common, out)
        if self.command == "video":
            # All arms share the features of the same frames.
            words_of_all.append(f"--features={out / 'features'}")
        if self.command in _SEVERAL_SEEDS:
            words = [*words_of_all, f"--seeds={list(seeds)}", f"--out={folder}"]
            return [Call([], words, folder, self.row)]
        calls = []
        for seed in seeds:
            here = folder / f"seed{seed}" if self.fit else folder
            fits = self._fits(seed, out)
            of_fit = str(fits[-1].out) if fits else ""
            words = [word.replace(FIT, of_fit) for word in words_of_all]
            trained = None
            if self.trained is not None:
                [trained] = self.trained.calls(common, [seed], out)
                words = [word.replace(TRAINED, str(trained.folder)) for word in words]
            words += [f"--out={here}"] if self.fit else [f"--seed={seed}", f"--out={here}"]
            # Relative: records are the same wherever `out` is.
            name = fits[-1].name if fits else ""
            row = {field: value.replace(FIT, name) for field, value in self.row.items()}
            calls.append(Call(fits, words, here, row, trained))
        return calls

    def calls_there(self, common: dict[str, Any], out: Path) -> list[Call]:
        """The calls of all seeds that have records."""
        folder = self._folder(common, out)
        if not self.fit:
            return self.calls(common, [0], out) if (folder / RECORDS_FILE).exists() else []
        names = (path.parent.name for path in folder.glob(f"seed*/{RECORDS_FILE}"))
        seeds = sorted(int(name.removeprefix("seed")) for name in names)
        return self.calls(common, seeds, out)

    def _folder(self, common: dict[str, Any], out: Path) -> Path:
        fits = [json.dumps(stage.model_dump()) for stage in self.fit]
        configs = [*self.configs, *(config for stage in self.fit for config in stage.configs)]
        contents = [_content(config) for config in configs]
        if self.trained is not None:
            contents.append(self.trained._folder(common, out).name)
        digest = _digest([self.command, *self._words(common), *fits, *contents])
        return out / "arms" / f"{self._name()}-{digest}"

    def _words(self, common: dict[str, Any]) -> list[str]:
        words = [word for config in self.configs for word in ("-c", config)]
        of_verb: dict[str, Any] = {}
        if self.command in ("head", "landmarks"):
            of_verb = {"label": self._label(), **(common if self.command == "head" else {})}
        for key, value in {**of_verb, **self.arguments}.items():
            if value is True and self.command in ("run", "truth"):
                words.append(f"--{key}")  # a switch
            else:
                words.append(f"--{key}={_text(value)}")
        return words

    def _name(self) -> str:
        configs = self.configs or [config for stage in self.fit[-1:] for config in stage.configs]
        return "-".join([Path(config).stem for config in configs] or [self.command])

    def _label(self) -> str:
        """The head's name in tables: its config, and the settings that differ from it."""
        shown = dict(self.arguments)
        if shown.get("before"):
            shown["before"] = " and ".join(stage["task"] for stage in shown["before"])
        changed = [
            f"{key.rpartition('.')[2]} {_text(value)}"
            for key, value in shown.items()
            if key.startswith(("head.", "before", "nodes", "frames"))
        ]
        return ", ".join(["+".join(Path(config).stem for config in self.configs), *changed])

    def _fits(self, seed: int, out: Path) -> list[Step]:
        """Runs of `ssl-faces fit` by one seed, each named by its folder within `out`."""
        fits: list[Step] = []
        of_all: list[str] = []
        for stage in self.fit:
            words = [word for config in stage.configs for word in ("-c", config)]
            for key, value in stage.arguments.items():
                words += [f"--{key}", _text(value)]
            # Of all stages so far: arms with the same first stages share them.
            of_all += [*words, *map(_content, stage.configs)]
            name = "-".join(Path(config).stem for config in stage.configs)
            folder = out / "fits" / f"{name}-{_digest(of_all)}" / f"seed{seed}"
            before = str(fits[-1].out) if fits else ""
            words = [word.replace(PREVIOUS, before) for word in words]
            words += ["--seed_everything", str(seed), "--data.seed", str(seed)]
            done = partial(plan_stages.finished_card, folder, stage.steps)
            name = str(folder.relative_to(out))
            fits.append(plan_stages.fit_step(name, words, folder, fits, is_whole=done))
        return fits


class Claim(Strict):
    """What a paper claims, and how it is tested.

    Attributes:
        says: the claim in words.
        paper: its source; claims of one paper are counted together.
        published: the published figure, with its protocol.
        idea, without: the paper's proposal, and the same without its idea.
        metric: of the records; the mean of several metrics on one scale.
        probe, task: of the records, if several have such a metric.
        level: of the degradation; None is unchanged images.
        at_most_worse: the claim is that the idea costs no more than this margin; None: that it is
            better.
        at_least_smaller: and that its compressed file is so many times smaller (for audits).
        tried: what else was tried if it is not supported; printed once for claims that share it.
        note: what readers must know whatever the verdict is; printed once, too.
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
    at_most_worse: PositiveFloat | None = None
    at_least_smaller: float | None = Field(default=None, gt=1)
    tried: str = ""
    note: str = ""

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """With the idea, and without it."""
        return self.idea, self.without

    @property
    def metrics(self) -> list[str]:
        return [self.metric] if isinstance(self.metric, str) else self.metric


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Smallest(Strict):
    """The smallest effect of interest of some metrics.

    Attributes:
        effect: in their unit; verdicts are by it (see `linear_probe.stats.verdicts`).
        metrics: whose it is.
        reason: why, from outside the results.
    """

    effect: PositiveFloat
    metrics: list[str] = Field(min_length=1)
    reason: str


class Claims(Strict):
    """The file.

    Attributes:
        seeds, arguments: of all heads.
        smallest: effects of interest by kind of metric.
        remark: what readers of the table must know.
        claims: by name.
        resources: what the commands need of a cluster, by their verbs.
    """

    seeds: list[Seed] = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)
    smallest: list[Smallest] = Field(min_length=1)
    remark: str = ""
    claims: dict[Name, Claim] = Field(min_length=1)
    resources: PlanResources = Field(default_factory=dict)

    @model_validator(mode="after")
    def _effects(self) -> Claims:
        for name, claim in self.claims.items():
            effects = [{s.effect for s in self.smallest if m in s.metrics} for m in claim.metrics]
            if any(len(of) != 1 or of != effects[0] for of in effects):
                raise ValueError(
                    f"claims.{name}: `smallest` has not one effect for {', '.join(claim.metrics)}; "
                    "name each metric in one of its entries"
                )
        return self

    def smallest_of(self, claim: Claim) -> float:
        """The smallest effect of interest of a claim's metric, in its unit."""
        return next(s.effect for s in self.smallest if claim.metrics[0] in s.metrics)

    def only(self, names: Sequence[str]) -> Claims:
        """Only these claims, in this order.

        Raises:
            InputError: no such claim.
        """
        for name in names:
            if name not in self.claims:
                raise InputError(f"--only {name}: there are {', '.join(self.claims)}")
        return self.model_copy(update={"claims": {name: self.claims[name] for name in names}})


def read_claims(path: Path) -> Claims:
    """The file, checked.

    Raises:
        InputError: it can't be read, or has invalid settings.
    """
    return read_as(Claims, path, EXAMPLE)


def _content(config: str) -> str:
    """A config without its comments; empty if it can't be read, which its verb reports."""
    try:
        text = regular(config_files.find_config(config, config_files.ALL)).read_text()
        for now, before in _MOVED.items():
            text = text.replace(now, before)
        return json.dumps(yaml.safe_load(text), sort_keys=True, default=str)
    except (InputError, OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:8]
