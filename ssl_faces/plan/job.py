"""`ssl-faces job`: trains the stages of one experiment that are not trained, scores the encoder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.ranges import GlobalSeed
from ssl_faces.common.yaml_settings import (
    PREVIOUS,
    Arguments,
    Name,
    Strict,
    check_configs,
    read_as,
    settled,
)
from ssl_faces.plan.command import plan_parser, refuse_changes, run_plan
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.stages import (
    OWN_KEYS,
    PROBE,
    Probe,
    Stage,
    fit_step,
    fit_words,
    free_of,
    uses_previous,
)
from ssl_faces.plan.steps import Step, say
from ssl_faces.training.run_record import has_checkpoint, read_run, state_of

EXAMPLE = "configs/experiment/facecycle_small.yaml"
JOB_FILE = "job.yaml"
REPORT = "report.html"

_Own = free_of(OWN_KEYS, "job")


class JobStage(Stage):
    """One run of `ssl-faces fit`, as long as its arguments say."""

    arguments: Annotated[Arguments, _Own] = Field(default_factory=dict)


class Job(Strict):
    """Stages that build on each other; the last one's encoder is scored.

    Attributes:
        stages: by the name of their folders, in their order.
        seed: of all.
        configs: further files for `-c`, of every stage.
        arguments: `--KEY=VALUE` of every stage; a stage's own come after them.
        probe: how the encoder is scored; None: not at all.
    """

    stages: dict[Name, JobStage] = Field(min_length=1)
    seed: GlobalSeed = 0
    configs: list[str] = Field(default_factory=list)
    arguments: Annotated[Arguments, _Own] = Field(default_factory=dict)
    probe: Probe | None = Probe()

    @model_validator(mode="after")
    def _consistent(self) -> Job:
        first = next(iter(self.stages))
        if PROBE in self.stages:
            raise ValueError(f"stages: '{PROBE}' is the folder of the scores; choose another name")
        if uses_previous(self.stages[first].arguments, self.arguments):
            raise ValueError(f"stages.{first}: {PREVIOUS} in the first stage; none is before it")
        return self

    def configs_of(self, stage: str) -> list[str]:
        return [*self.stages[stage].configs, *self.configs]

    def steps(self, out: Path) -> list[Step]:
        """The stages as steps that are named after them, in the folder `out`."""
        steps: list[Step] = []
        for name, stage in self.stages.items():
            configs, arguments = self.configs_of(name), {**self.arguments, **stage.arguments}
            folder = out / name
            previous = steps[-1].out if steps else folder
            words = fit_words(configs, arguments, self.seed, previous)
            decides = settled(configs, {**arguments, "seed": self.seed})
            is_whole = partial(_is_finished, folder)
            steps.append(fit_step(name, words, folder, steps, decides=decides, is_whole=is_whole))
        return steps


def _is_finished(folder: Path) -> bool:
    return state_of(folder) == "finished"


def read(path: Path) -> Job:
    """A job from its file.

    Raises:
        InputError: no such file, not YAML, or invalid settings; says which.
    """
    job = read_as(Job, path, EXAMPLE)
    for stage in job.stages:
        check_configs(path, job.configs_of(stage))
    return job


def run(argv: Sequence[str]) -> int:
    """Run `ssl-faces job` with these arguments.

    Returns:
        0 when all is done, 128 plus the signal's number if it was stopped.

    Raises:
        InputError: bad input, or a stage that failed.
    """
    parser = plan_parser(
        "ssl-faces job",
        "Train the stages of one experiment and score its encoder. Stopped, the same command "
        "resumes.",
        "one of configs/experiment",
    )
    arguments = parser.parse_args(argv)
    job, source, out = read(arguments.config), arguments.config, arguments.out

    def work(engine: Engine) -> int:
        steps = job.steps(out)
        _check(job, source, out, steps)
        settings = {step.name: step.decides for step in steps}
        engine.begin(seed=job.seed, settings=settings)
        replace_file(out / JOB_FILE, source.read_bytes())
        engine.run(steps)
        _stop_if_failed(engine, source, "stages.")
        encoder = steps[-1].out
        say(f"encoder: {encoder / 'encoder'}")
        if job.probe is not None:
            _score(job.probe, encoder, out, engine, source)
        return 0

    return run_plan(["ssl-faces", "job", *argv], out, work)


def _check(job: Job, source: Path, out: Path, steps: Sequence[Step]) -> None:
    """Raises InputError if a stage can't run, or was begun with other settings."""
    earlier = (read_run(out) or {}).get("settings", {})
    for step in steps:
        # A run that failed before its first checkpoint restricts nothing.
        if step.name in earlier and has_checkpoint(step.out):
            delete = f"{step.out} and the stages after it"
            configs = job.configs_of(step.name)
            refuse_changes(source, step.out, earlier[step.name], step.decides, configs, delete)
    waiting = [step for step in steps if not step.is_done()]
    if waiting:
        from ssl_faces.training.fit import check

        # All of them now: an error in the second stage is reported before the first is trained.
        for step in waiting:
            try:
                check(step.argv[1:])
            except InputError as error:
                raise InputError(f"{source}: stages.{step.name}: {error}") from error


def _score(probe: Probe, encoder: Path, out: Path, engine: Engine, source: Path) -> None:
    scores = probe.step([encoder], out, "probe.log")
    # A job has one encoder, and notes its weights by themselves.
    decides: dict[str, Any] = {**scores.decides, "weights": scores.decides["weights"][0]}
    scores.decides = decides
    report = ["report", str(out / PROBE), "--out", str(out / REPORT), "--overwrite"]
    if os.environ.get("WANDB_MODE") != "disabled":
        report += ["--wandb", f"ssl-faces/{out.name}"]
    log = out / "probe.log"
    page = Step("report", ["linear-probe", *report], log, out, after=[PROBE], always=True)
    engine.run([scores, page], quiet=True)
    _stop_if_failed(engine, source)
    say(f"records: {out / PROBE / 'records.jsonl'}\nreport: {out / REPORT}")


def _stop_if_failed(engine: Engine, source: Path, place: str = "") -> None:
    for name, error in engine.failures.items():
        raise InputError(
            f"{source}: {place}{name}: {error}; what was done is kept, and the same command resumes"
        ) from error
