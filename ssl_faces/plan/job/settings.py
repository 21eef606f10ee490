"""What a job is of: its YAML file, read and checked before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from ssl_faces.common.ranges import GlobalSeed
from ssl_faces.common.yaml_settings import (
    OWN_KEYS,
    PREVIOUS,
    Arguments,
    Name,
    Probe,
    Strict,
    check_configs,
    flags,
    read_as,
)

EXAMPLE = "configs/experiment/facecycle_small.yaml"
PROBE = "probe"

# Lengths are a job's own to say.
_FOLLOWING = OWN_KEYS - {"trainer.max_steps", "trainer.max_epochs"}


def _free(arguments: Arguments) -> Arguments:
    for key in arguments:
        if key in _FOLLOWING:
            raise ValueError(f"'{key}' follows from the job; leave it out")
    return arguments


class JobStage(Strict):
    """One run of `ssl-faces fit`.

    Attributes:
        configs: files for `-c`, in this order; the job's own come after them.
        arguments: `--KEY=VALUE`; `{previous}` stands for the folder of the stage before.
    """

    configs: list[str] = Field(min_length=1)
    arguments: Arguments = Field(default_factory=dict)

    _own = field_validator("arguments")(_free)


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
    arguments: Arguments = Field(default_factory=dict)
    probe: Probe | None = Probe()

    _own = field_validator("arguments")(_free)

    @model_validator(mode="after")
    def _consistent(self) -> Job:
        first = next(iter(self.stages))
        if PROBE in self.stages:
            raise ValueError(f"stages: '{PROBE}' is the folder of the scores; take another name")
        if PREVIOUS in json.dumps([self.stages[first].arguments, self.arguments]):
            raise ValueError(f"stages.{first}: {PREVIOUS} in the first stage; none is before it")
        return self

    def configs_of(self, stage: str) -> list[str]:
        return [*self.stages[stage].configs, *self.configs]

    def arguments_of(self, stage: str) -> Arguments:
        return {**self.arguments, **self.stages[stage].arguments}

    def words(self, stage: str, out: Path) -> list[str]:
        """The arguments of `ssl-faces`, for a stage of a job in the folder `out`."""
        names = list(self.stages)
        previous = out / names[max(0, names.index(stage) - 1)]
        found = ["fit", *(word for config in self.configs_of(stage) for word in ("-c", config))]
        found += [word.replace(PREVIOUS, str(previous)) for word in flags(self.arguments_of(stage))]
        found += ["--seed_everything", str(self.seed), "--data.seed", str(self.seed)]
        return [*found, "--out", str(out / stage), "--ckpt_path", "last"]


def read(path: Path) -> Job:
    """A job from its file.

    Raises:
        InputError: no such file, not YAML, or settings that can't be; says which.
    """
    job = read_as(Job, path, EXAMPLE)
    for stage in job.stages:
        check_configs(path, job.configs_of(stage))
    return job
