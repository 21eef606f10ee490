"""`linear-probe suite`: every task, encoder, probe and head of a file, each in its own cell."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from linear_probe.features.files import FEATURES_FOLDER
from linear_probe.plans.suite_data import data_hashes, run_arguments
from linear_probe.records.record import RECORDS_FILE, read_records
from linear_probe.sources.backbones import LIBRARIES
from linear_probe.sources.by_name import split_name
from linear_probe.sources.module import PREFIX
from linear_probe.tasks import TASKS
from ssl_faces import InputError
from ssl_faces.common.config_files import HEADS, find_config
from ssl_faces.common.errors import did_you_mean
from ssl_faces.common.executors import add_jobs, where
from ssl_faces.common.files import write_failure
from ssl_faces.common.yaml_settings import Name, Strict, check_configs, flags, read_as
from ssl_faces.encoders.encoder import WEIGHTS_FILE
from ssl_faces.encoders.places import find_encoder
from ssl_faces.plan.cluster.resources import PlanResources
from ssl_faces.plan.command import plan_parser, run_plan
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.stages import sha256
from ssl_faces.plan.steps import Step, say

EXAMPLE = "configs/suite/standard.yaml"
CELLS = "cells"
NOTE = "cell.json"
"""In a cell's folder once it is done: the command and the inputs that it was done with."""
REPORTS = ("report.html", "report.md")

_OWN = ("encoder", "task", "out", "baselines", "no-baselines")


class ProbeSettings(Strict):
    """`linear-probe run` with the same arguments on many tasks and encoders.

    Attributes:
        arguments: its `--KEY VALUE`; `true` stands for an argument without a value.
        tasks, encoders: instead of the suite's.
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
        words = []
        for key, value in self.arguments.items():
            if value is not False:
                words += [f"--{key}", *([] if value is True else [str(value)])]
        return words


class HeadSettings(Strict):
    """`linear-probe head` on several encoders.

    Attributes:
        configs: files for `-c`.
        arguments: `--KEY=VALUE`.
        encoders: frozen ones that it uses; null is its own network, trained end to end.
    """

    configs: list[str] = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)
    encoders: list[str | None] = Field(default=[None])


class Suite(Strict):
    """What is scored, and how.

    Attributes:
        encoders: as `linear-probe run --encoder` takes them.
        tasks: as `--task` does.
        probes, heads: by name.
        baselines: score pixels, HOG, LBP and untrained encoders too.
        resources: what the commands need of a cluster, by their verbs.
    """

    encoders: list[str] = Field(default_factory=list)
    tasks: list[str] = Field(default_factory=list)
    probes: dict[Name, ProbeSettings] = Field(default_factory=dict)
    heads: dict[Name, HeadSettings] = Field(default_factory=dict)
    baselines: bool = True
    resources: PlanResources = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something(self) -> Suite:
        if not self.probes and not self.heads:
            raise ValueError("neither probes nor heads; name at least one")
        for name, probe in self.probes.items():
            for kind in ("encoders", "tasks"):
                own = getattr(probe, kind)
                if not (getattr(self, kind) if own is None else own):
                    raise ValueError(f"probes.{name}: no {kind}; name some, here or for the suite")
        return self


def read(path: Path) -> Suite:
    """A suite from its file.

    Raises:
        InputError: no such file, not YAML, or invalid settings; says which.
    """
    suite = read_as(Suite, path, EXAMPLE)
    for head in suite.heads.values():
        check_configs(path, head.configs, "linear-probe head", HEADS)
    return suite


def cells(suite: Suite, out: Path) -> Iterator[Step]:
    """All cells: task by task, so that there is a table early.

    Raises:
        InputError: no such encoder.
    """
    for name, probe in suite.probes.items():
        encoders = suite.encoders if probe.encoders is None else probe.encoders
        for task in dict.fromkeys(suite.tasks if probe.tasks is None else probe.tasks):
            for number, encoder in enumerate(dict.fromkeys(encoders)):
                # Baselines without an encoder are scored once for all encoders.
                kind = "none" if not suite.baselines else "untrained" if number else "all"
                words = ["run", "--encoder", encoder, "--task", task, "--baselines", kind]
                words += probe.words()
                yield _cell((name, task, encoder), out, words, _weights(encoder))
    for name, head in suite.heads.items():
        for encoder_or_none in dict.fromkeys(head.encoders):
            words = ["head", *(word for config in head.configs for word in ("-c", config))]
            words += flags(head.arguments)
            inputs = {config: sha256(find_config(config, HEADS)) for config in head.configs}
            if encoder_or_none is not None:
                words += ["--encoder", encoder_or_none]
                inputs |= _weights(encoder_or_none)
            yield _cell((name, encoder_or_none or "own network"), out, words, inputs)


def _cell(parts: tuple[str, ...], out: Path, words: list[str], inputs: dict[str, str]) -> Step:
    digest = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:8]
    readable = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part).strip("_.")[-40:] for part in parts)
    folder = out / CELLS / f"{readable}-{digest}"
    return Step(
        ", ".join(parts),
        ["linear-probe", *words, "--out", str(folder)],
        folder.with_suffix(f"{folder.suffix}.log"),
        folder,
        # Not the folder: a suite may be moved.
        decides={"words": words, "inputs": inputs},
        note=folder / NOTE,
        is_whole=partial(_has_records, folder),
        prepare=partial(_prepare, folder, out if words[0] == "run" else None),
    )


def _has_records(folder: Path) -> bool:
    try:
        return bool(read_records(folder / RECORDS_FILE))
    except (OSError, InputError):
        return False


def _prepare(folder: Path, out: Path | None) -> None:
    """Make a cell's folder anew if it was done with other inputs.

    Args:
        out: the suite's folder, whose features the cell shares; None: it needs none.
    """
    try:
        if (folder / NOTE).exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / FEATURES_FOLDER
        if out is not None and not link.exists():
            (out / FEATURES_FOLDER).mkdir(exist_ok=True)
            target = os.path.relpath(out / FEATURES_FOLDER, folder)
            link.symlink_to(target, target_is_directory=True)
    except OSError as error:
        raise InputError(f"{folder}: {write_failure(error)}") from error


def _weights(encoder: str) -> dict[str, str]:
    """The hash of an encoder's file, if it has one."""
    name = split_name(encoder)[1]
    base, _, options = name.partition("?")
    if base.startswith((*LIBRARIES, PREFIX)):
        given = re.search(r"weights=([^&]+)", options)
        return {given[1]: sha256(Path(given[1]))} if given and os.path.isfile(given[1]) else {}
    file = Path(base)
    return {encoder: sha256(file if file.is_file() else find_encoder(name) / WEIGHTS_FILE)}


def check(source: Path, steps: Sequence[Step]) -> None:
    """Raises InputError if the arguments of a cell are invalid, before any is run."""
    from linear_probe.experiments.job_files import read_job

    for step in steps:
        words = step.argv[1:]
        try:
            if words[0] == "head":
                read_job("head", words[1:])
                continue
            task = run_arguments(words[1:]).task
            if task not in TASKS:
                near = did_you_mean(task, TASKS)
                known = ", ".join(TASKS)
                raise InputError(f"unknown task '{task}'{near}; this version knows {known}")
        except InputError as error:
            raise InputError(f"{source}: {step.name}: {error}") from error


def run(argv: Sequence[str]) -> int:
    """Run `linear-probe suite` with these arguments.

    Returns:
        0 when all is done, 1 if a cell failed, 128 plus the signal's number if it was stopped.

    Raises:
        InputError: bad input.
    """
    parser = plan_parser(
        "linear-probe suite",
        "Score encoders on tasks by probes and heads, each combination in its own cell, and write "
        "one report. Stopped or killed, the same command resumes.",
        EXAMPLE,
    )
    local_jobs = max(1, (os.cpu_count() or 2) // 2)
    add_jobs(parser, local_jobs)
    parser.add_argument(
        "--data", metavar="DIR|rendered[:COUNT]", help="images for the report's galleries"
    )
    arguments = parser.parse_args(argv)
    out = arguments.out
    suite = read(arguments.config)
    steps = list(cells(suite, out))
    check(arguments.config, steps)

    def work(engine: Engine) -> int:
        engine.begin()
        for step in steps:
            step.decides["inputs"] |= data_hashes(step.argv[1:])
        engine.run(steps)
        done = [str(step.out) for step in steps if step.is_done()]
        if done:
            _report(done, out, arguments.data)
        for name, error in engine.failures.items():
            say(f"failed: {name}: {error}")
        return 1 if engine.failures else 0

    settings = {"jobs": arguments.jobs, "local_jobs": local_jobs, "resources": suite.resources}
    command = ["linear-probe", "suite", *argv]
    return run_plan(command, out, work, **settings, **where(arguments))


def _report(folders: list[str], out: Path, data: str | None) -> None:
    from linear_probe.reports.write import write_report

    for name in REPORTS:
        write_report(folders, out / name, data if name.endswith(".html") else None)
        say(f"report: {out / name}")
