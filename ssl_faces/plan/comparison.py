"""The settings of `ssl-faces compare`: methods, their stages, and what they get."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from ssl_faces.common.ranges import GlobalSeed, PositiveFloat, UnitAbove0
from ssl_faces.common.yaml_settings import Arguments, Name, check_configs, read_as
from ssl_faces.plan import stages as plan_stages
from ssl_faces.plan.stages import Probe, free_of
from ssl_faces.plan.tuning import TUNING, Tuning

EXAMPLE = "configs/compare/small.yaml"

_Free = Annotated[plan_stages.Free, free_of(plan_stages.LENGTHS)]


class Stage(plan_stages.Stage):
    """One run of `ssl-faces fit`.

    Attributes:
        share: of the budget; the shares of several stages sum to 1. Default: equal ones.
    """

    arguments: _Free = Field(default_factory=dict)
    share: UnitAbove0 | None = None


class Comparison(plan_stages.Staged):
    """Methods that get the same budget on the same data.

    Attributes:
        budget_pflop: 10^15 multiplications and additions of training, of each run with all its
            stages.
        seeds: each method is trained with each.
        methods: the stages of each method by its name in the table.
        spaces: by method, the feature space of a task, if it is not to be chosen on the validation
            split.
        tuning: short runs that choose settings before the long ones; None: all as configured.
    """

    budget_pflop: PositiveFloat
    seeds: list[GlobalSeed] = Field(min_length=1)
    methods: dict[Name, list[Stage]] = Field(min_length=1)
    arguments: _Free = Field(default_factory=dict)
    probe: Probe = Probe()
    spaces: dict[str, dict[str, str]] = Field(default_factory=dict)
    tuning: Tuning | None = None

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is there twice; name each once")
        return seeds

    @model_validator(mode="after")
    def _consistent(self) -> Comparison:
        for name, stages in self.methods.items():
            shares = [stage.share for stage in stages if stage.share is not None]
            if not stages:
                raise ValueError(f"methods.{name}: no stage; give at least one with its configs")
            if shares and (len(shares) < len(stages) or abs(sum(shares) - 1) > 1e-6):
                raise ValueError(
                    f"methods.{name}: the shares of its {len(stages)} stages don't sum to 1; give "
                    "each stage its share, or none"
                )
            self.check(f"methods.{name}", self.methods, stages[0])
        unknown = sorted(set(self.spaces) - set(self.methods))
        if unknown:
            raise ValueError(f"spaces: no method '{unknown[0]}'; name those of `methods`")
        if self.tuning is not None:
            if TUNING in self.methods:
                raise ValueError(f"'{TUNING}' is the folder of the short runs; choose another name")
            self.tuning.check(self.methods)
        return self

    def with_arguments(
        self, methods: Mapping[str, tuple[str, Arguments]], **changed: Any
    ) -> Comparison:
        """The comparison of methods with further arguments in all of their stages.

        Args:
            methods: by its name in the new comparison: a method, and its arguments.
            changed: other fields.
        """
        staged = {
            name: [
                stage.model_copy(update={"arguments": {**stage.arguments, **own}})
                for stage in self.methods[method]
            ]
            for name, (method, own) in methods.items()
        }
        return self.model_copy(update={"methods": staged, "tuning": None, **changed})


def read(path: Path) -> Comparison:
    """A comparison from its file; raises InputError if that is missing or invalid."""
    comparison = read_as(Comparison, path, EXAMPLE)
    for stage in (stage for stages in comparison.methods.values() for stage in stages):
        check_configs(path, comparison.configs_of(stage))
    return comparison
