"""What a comparison is of: its YAML file, read and checked before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from ssl_faces.common.ranges import GlobalSeed, PositiveFloat, UnitAbove0
from ssl_faces.common.yaml_settings import (
    OWN_KEYS,
    PREVIOUS,
    Arguments,
    Name,
    Probe,
    Strict,
    check_configs,
    read_as,
)


class Stage(Strict):
    """One run of `ssl-faces fit`.

    Attributes:
        configs: files for `-c`, in this order; the comparison's own come after them.
        arguments: `--KEY=VALUE`; `{previous}` stands for the folder of the stage before.
        share: of the budget; of several stages the shares are 1 together. Default: equal ones.
    """

    configs: list[str] = Field(min_length=1)
    arguments: Arguments = Field(default_factory=dict)
    share: UnitAbove0 | None = None

    @field_validator("arguments")
    @classmethod
    def _free(cls, arguments: Arguments) -> Arguments:
        return _without_own(arguments)


class Comparison(Strict):
    """Methods that get the same budget on the same data.

    Attributes:
        budget_pflop: 10^15 multiplications and additions of training, of each run with all its
            stages.
        seeds: each method is trained with each.
        methods: the stages of each method by the name that the table calls it by.
        configs: further files for `-c`, of every stage.
        arguments: `--KEY=VALUE` of every stage; a stage's own come after them.
        probe: how encoders are scored.
        spaces: by method, the feature space of a task, where it is not to be chosen on the
            validation split.
    """

    budget_pflop: PositiveFloat
    seeds: list[GlobalSeed] = Field(min_length=1)
    methods: dict[Name, list[Stage]] = Field(min_length=1)
    configs: list[str] = Field(default_factory=list)
    arguments: Arguments = Field(default_factory=dict)
    probe: Probe = Probe()
    spaces: dict[str, dict[str, str]] = Field(default_factory=dict)

    @field_validator("arguments")
    @classmethod
    def _free(cls, arguments: Arguments) -> Arguments:
        return _without_own(arguments)

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is there twice; name each once")
        return seeds

    @model_validator(mode="after")
    def _consistent(self) -> Comparison:
        for name, stages in self.methods.items():
            if name == "probe":
                raise ValueError("methods: 'probe' is the folder of the scores; take another name")
            shares = [stage.share for stage in stages if stage.share is not None]
            if not stages:
                raise ValueError(f"methods.{name}: no stage; give at least one with its configs")
            if shares and (len(shares) < len(stages) or abs(sum(shares) - 1) > 1e-6):
                raise ValueError(
                    f"methods.{name}: the shares of its {len(stages)} stages are not 1 together; "
                    "give each stage its share, or none"
                )
            if PREVIOUS in json.dumps(stages[0].arguments):
                raise ValueError(
                    f"methods.{name}: {PREVIOUS} in its first stage, which has none before it"
                )
        unknown = sorted(set(self.spaces) - set(self.methods))
        if unknown:
            raise ValueError(f"spaces: no method '{unknown[0]}'; name those of `methods`")
        return self

    def share(self, method: str, stage: int) -> float:
        """Of the budget, of a stage counted from 0."""
        stages = self.methods[method]
        return stages[stage].share or 1 / len(stages)


def read(path: Path) -> Comparison:
    """A comparison from its file.

    Raises:
        InputError: no such file, not YAML, or settings that can't be; says which.
    """
    comparison = read_as(Comparison, path, "configs/compare/small.yaml")
    for stage in (stage for stages in comparison.methods.values() for stage in stages):
        check_configs(path, [*stage.configs, *comparison.configs])
    return comparison


def _without_own(arguments: Arguments) -> Arguments:
    for key in arguments:
        if key in OWN_KEYS:
            raise ValueError(f"'{key}' follows from the comparison; leave it out")
    return arguments
