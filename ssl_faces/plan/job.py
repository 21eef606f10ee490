"""`ssl-faces job`: trains the stages of one experiment that are not trained, scores the encoder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydantic import Field, model_validator

from ssl_faces.common.errors import InputError
from ssl_faces.common.executors import where
from ssl_faces.common.files import replace_file
from ssl_faces.common.ranges import GlobalSeed
from ssl_faces.common.run_record import read_run, state_of
from ssl_faces.common.yaml_settings import Name, check_configs, read_as
from ssl_faces.plan.command import plan_parser, run_plan
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.stages import PROBE, Stage, Staged, fit_step, fit_words
from ssl_faces.plan.steps import Step, say

EXAMPLE = "configs/experiment/facecycle_small.yaml"
JOB_FILE = "job.yaml"
REPORT = "report.html"


class Job(Staged):
    """Stages that build on each other; the last one's encoder is scored."""

    stages: dict[Name, Stage] = Field(min_length=1)  # by the name of their folders, in their order
    seed: GlobalSeed = 0  # of all

    @model_validator(mode="after")
    def _consistent(self) -> Job:
        first, stage = next(iter(self.stages.items()))
        self.check(f"stages.{first}", self.stages, stage)
        return self

    def steps(self, out: Path) -> list[Step]:
        """The stages as steps that are named after them, in the folder `out`."""
        steps: list[Step] = []
        for name, stage in self.stages.items():
            folder = out / name
            previous = steps[-1].out if steps else folder
            words = fit_words(self.configs_of(stage), self.arguments_of(stage), self.seed, previous)
            decides = self.decides(stage, seed=self.seed)
            is_whole = partial(_is_finished, folder)
            steps.append(fit_step(name, words, folder, steps, decides=decides, is_whole=is_whole))
        return steps


def _is_finished(folder: Path) -> bool:
    return state_of(folder) == "finished"


def read(path: Path) -> Job:
    """A job from its file; raises InputError if that is missing or invalid."""
    job = read_as(Job, path, EXAMPLE)
    for stage in job.stages.values():
        check_configs(path, job.configs_of(stage))
    return job


def run(argv: Sequence[str]) -> int:
    """Run `ssl-faces job`; raises InputError, also if a stage failed."""
    parser = plan_parser(
        "ssl-faces job",
        "Train the stages of one experiment and score its encoder. Stopped, the same command "
        "resumes.",
        EXAMPLE,
    )
    arguments = parser.parse_args(argv)
    job, source, out = read(arguments.config), arguments.config, arguments.out

    def work(engine: Engine) -> int:
        steps = job.steps(out)
        _check(job, source, out, steps)
        engine.begin(seed=job.seed, settings={step.name: step.decides for step in steps})
        replace_file(out / JOB_FILE, source.read_bytes())
        engine.run(steps)
        for name, failed in engine.failures.items():
            raise _failed(f"{source}: stages.{name}: {failed}") from failed
        encoder = steps[-1].out
        say(f"encoder: {encoder / 'encoder'}")
        if job.probe is not None:
            report = ["report", str(out / PROBE), "--out", str(out / REPORT), "--overwrite"]
            if os.environ.get("WANDB_MODE") != "disabled":
                project = job.arguments.get("wandb.project") or os.environ.get("WANDB_PROJECT")
                report += ["--wandb", f"{project or 'ssl-faces'}/{out.name}"]
            page = ("report", report)
            error = job.probe.score(engine, [encoder], out, out / "probe.log", page)
            if error is not None:
                raise _failed(f"{source}: {PROBE}: {error}") from error
            say(f"records: {out / PROBE / 'records.jsonl'}\nreport: {out / REPORT}")
        return 0

    command = ["ssl-faces", "job", *argv]
    return run_plan(command, out, work, resources=job.resources, **where(arguments))


def _check(job: Job, source: Path, out: Path, steps: Sequence[Step]) -> None:
    """Raises InputError if a stage can't run, or was begun with other settings."""
    earlier = (read_run(out) or {}).get("settings", {})
    for step in steps:
        stage, before = job.stages[step.name], earlier.get(step.name)
        delete = f"{step.out} and the stages after it"
        job.check_unchanged(source, step, stage, before, delete)
    waiting = [step for step in steps if not step.is_done()]
    if waiting:
        from ssl_faces.training.fit import check

        # All of them now: an error in the second stage is reported before the first is trained.
        for step in waiting:
            try:
                check(step.argv[1:])
            except InputError as error:
                raise InputError(f"{source}: stages.{step.name}: {error}") from error


def _failed(message: str) -> InputError:
    return InputError(f"{message}; what was done is kept, and the same command resumes")
