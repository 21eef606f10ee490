"""What jobs and comparisons have in common: stages of `ssl-faces fit`, and scores of encoders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator

from ssl_faces.common.arguments import whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import PositiveInt
from ssl_faces.common.run_record import CHECKPOINT
from ssl_faces.common.yaml_settings import (
    PREVIOUS,
    Arguments,
    Strict,
    first_change,
    flags,
    settled,
)
from ssl_faces.plan.cluster.resources import PlanResources
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.processes import Failed
from ssl_faces.plan.steps import Step

PROBE = "probe"
"""Folder of the scores."""

LENGTHS = {"trainer.max_steps", "trainer.max_epochs"}
OWN_KEYS = {"out", "ckpt_path", "seed_everything", "data.seed"}
"""Settings of `fit` that follow from the plan."""


def free_of(keys: Collection[str]) -> AfterValidator:
    """Arguments that have none of these keys, which follow from the plan."""

    def check(arguments: Arguments) -> Arguments:
        for key in arguments:
            if key in keys:
                raise ValueError(f"'{key}' follows from the plan; leave it out")
        return arguments

    return AfterValidator(check)


Free = Annotated[Arguments, free_of(OWN_KEYS)]


class Probe(Strict):
    """Arguments of `linear-probe run`, by their names; the defaults are those of that command."""

    task: str = "expression,pose,identity,attributes"
    features: str | None = None
    data: str | None = None
    or_rendered: bool = False
    validation: bool = False  # score a part of the training parts instead of the tests
    baselines: bool = True
    precision: Literal["32", "bf16", "auto"] = "auto"
    device: Literal["cpu", "cuda", "auto"] = "auto"
    batch_size: PositiveInt = 256
    bootstrap: PositiveInt = 1000
    max_train: Annotated[int, PlainValidator(whole(100))] | None = None

    def words(self) -> list[str]:
        """As on the command line."""
        words = []
        for name, value in self:
            option = f"--{name.replace('_', '-')}"
            if name == "baselines":
                words += [] if value else ["--no-baselines"]
            elif value is True:
                words.append(option)
            elif value not in (None, False):
                words += [option, str(value)]
        return words

    def score(
        self,
        engine: Engine,
        encoders: Sequence[Path],
        out: Path,
        log: Path,
        page: tuple[str, Sequence[str]],
        name: str = PROBE,
    ) -> Failed | None:
        """Score encoders in one run, unless that was done with the same weights; then make a page.

        Args:
            out: its folder `probe` gets the scores.
            page: name of its step, and a command of `linear-probe`, always run.
            name: of the scores' step.

        Returns:
            The error of the step that failed, if any.
        """
        words = ["run", *(word for path in encoders for word in ("--encoder", str(path)))]
        words += ["--out", str(out / PROBE), *self.words()]
        scores = Step(
            name,
            ["linear-probe", *words],
            log,
            out / PROBE,
            decides={
                "words": words,
                "weights": [sha256(path / "encoder" / "encoder.safetensors") for path in encoders],
            },
            note=out / "probe.json",
            is_whole=lambda: (out / PROBE / "records.jsonl").is_file(),
        )
        argv = ["linear-probe", *page[1]]
        page_step = Step(page[0], argv, log, out, after=[name], always=True, here=True)
        engine.run([scores, page_step], quiet=True)
        return next((engine.failures[n] for n in (name, page[0]) if n in engine.failures), None)


def fit_words(configs: Sequence[str], arguments: Arguments, seed: int, previous: Path) -> list[str]:
    """Arguments of `ssl-faces fit`, except for `--out`."""
    words = [word for config in configs for word in ("-c", config)]
    words += [word.replace(PREVIOUS, str(previous)) for word in flags(arguments)]
    return [*words, "--seed_everything", str(seed), "--data.seed", str(seed)]


def fit_step(
    name: str, words: Sequence[str], folder: Path, steps: Sequence[Step], **more: Any
) -> Step:
    """A run of `ssl-faces fit` in a folder, resumed if it was begun, after the last of `steps`."""
    argv = ["ssl-faces", "fit", *words, "--out", str(folder), "--ckpt_path", "last"]
    log = folder.with_name(f"{folder.name}.log")
    return Step(name, argv, log, folder, after=[step.name for step in steps[-1:]], **more)


def finished_card(folder: Path, steps: int) -> dict[str, Any] | None:
    """Card of the encoder of a run that has done its steps; None if it has not."""
    from ssl_faces.encoders.encoder import read_card  # late: it imports torch

    try:
        card = read_card(folder / "encoder")
    except InputError:
        return None
    return card if card.get("steps") == steps else None


class Stage(Strict):
    """One run of `ssl-faces fit`."""

    # Files for `-c`, in this order; the plan's own come after them
    configs: list[str] = Field(min_length=1)
    # `--KEY=VALUE`; `{previous}` stands for the folder of the stage before
    arguments: Free = Field(default_factory=dict)


class Staged(Strict):
    """Settings of plans with stages."""

    configs: list[str] = Field(default_factory=list)  # further files for `-c`, of every stage
    # `--KEY=VALUE` of every stage; a stage's own come after them
    arguments: Free = Field(default_factory=dict)
    probe: Probe | None = Probe()  # how encoders are scored; None: not at all
    # What its commands need of a cluster, by their verbs
    resources: PlanResources = Field(default_factory=dict)

    def configs_of(self, stage: Stage) -> list[str]:
        return [*stage.configs, *self.configs]

    def arguments_of(self, stage: Stage) -> Arguments:
        return {**self.arguments, **stage.arguments}

    def decides(self, stage: Stage, **more: Any) -> dict[str, Any]:
        """All that decides a stage, as JSON values; configs by their contents."""
        return settled(self.configs_of(stage), {**self.arguments_of(stage), **more})

    def check_unchanged(
        self, source: Path, step: Step, stage: Stage, before: Mapping[str, Any] | None, delete: str
    ) -> None:
        """Refuse to resume a run with other settings.

        Args:
            source: the plan's file, for the message.
            step: of the run; a run that failed before its first checkpoint restricts nothing.
            before: what decided the run when it was begun; None if unknown.
            delete: what to delete to run it anew.

        Raises:
            InputError: a setting or a config's content has changed.
        """
        if before is None or not (step.out / CHECKPOINT).exists():
            return
        change = first_change(dict(before), step.decides, self.configs_of(stage))
        if change is not None:
            raise InputError(
                f"{source}: {step.out} was begun with other settings ({change}); set it back, give "
                f"another --out, or delete {delete}"
            )

    def check(self, place: str, folders: Iterable[str], first: Stage) -> None:
        """Raises ValueError if a name or the first stage, at `place`, can't be."""
        if PROBE in folders:
            raise ValueError(f"'{PROBE}' is the folder of the scores; choose another name")
        if PREVIOUS in json.dumps(self.arguments_of(first)):
            raise ValueError(f"{place}: {PREVIOUS} in the first stage; none is before it")


def sha256(path: Path) -> str:
    """Hash of a file. Raises InputError: it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
