"""The settings of `ssl-faces compare`: methods, their stages, what they get, and their tuning."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from ssl_faces.common.ranges import GlobalSeed, PositiveFloat, UnitAbove0
from ssl_faces.common.yaml_settings import Arguments, Name, Strict, check_configs, read_as
from ssl_faces.plan import stages as plan_stages
from ssl_faces.plan.stages import LENGTHS, OWN_KEYS, Probe, free_of
from ssl_faces.plan.steps import say

EXAMPLE = "configs/compare/small.yaml"

_Free = Annotated[plan_stages.Free, free_of(LENGTHS)]
TUNING = "tuning"
"""Folder of the short runs; `linear-probe tuning` writes TUNING.json there."""

_Values = Annotated[list[Any], Field(min_length=1)]
_Grid = Annotated[dict[str, _Values], free_of(LENGTHS | OWN_KEYS)]


class Stage(plan_stages.Stage):
    """One run of `ssl-faces fit`."""

    arguments: _Free = Field(default_factory=dict)
    # Of the budget; the shares of several stages sum to 1. Default: equal ones
    share: UnitAbove0 | None = None


class Tuning(Strict):
    """How settings of methods are chosen. Every method gets the same number of short runs, of the
    comparison's first seed. The best mean rank over the tasks' validation scores wins."""

    share: UnitAbove0 = 0.2  # of the budget, for each short run
    # By method: some settings of `fit` with the values to try. Each combination is a run
    settings: dict[Name, _Grid]
    # Scores the short runs. Only scores on the validation split are read
    probe: Probe = Probe(task="expression,pose", baselines=False, max_train=5000, bootstrap=1)

    def check(self, methods: Collection[str]) -> None:
        """Raises ValueError if `settings` has other methods, or methods differ in their runs."""
        for name in sorted(set(methods) ^ set(self.settings)):
            problem = "is missing" if name in methods else "is no method"
            raise ValueError(f"tuning.settings: '{name}' {problem}; name each of `methods` once")
        runs = {name: len(list(self.runs(name))) for name in methods}
        if len(set(runs.values())) > 1:
            counts = ", ".join(f"{name} {count}" for name, count in runs.items())
            raise ValueError(
                f"tuning.settings: methods have different numbers of runs ({counts}); give each "
                "as many combinations of values"
            )

    def runs(self, method: str) -> Iterator[tuple[str, Arguments]]:
        """The name and the arguments of each short run of a method."""
        settings = self.settings[method]
        for i, values in enumerate(itertools.product(*settings.values())):
            yield f"{method}-{i}", dict(zip(settings, values, strict=True))

    def chosen(self, folder: Path, methods: Collection[str]) -> dict[str, Arguments]:
        """The best arguments of each method by `tuning.json`; none for methods without scores."""
        path = folder / f"{TUNING}.json"
        scores = json.loads(path.read_bytes()) if path.is_file() else {}
        chosen: dict[str, Arguments] = {}
        for name in methods:
            arguments = dict(self.runs(name))
            by_run = {run: scores[run] for run in arguments if scores.get(run)}
            if not by_run:
                say(f"{name}: none of its short runs has a score; trained as configured")
            best = best_run(by_run)
            chosen[name] = {} if best is None else arguments[best]
        return chosen

    def about(self, chosen: Mapping[str, Arguments]) -> dict[str, Any]:
        """What was tuned, for the table."""
        runs = max(len(list(self.runs(name))) for name in chosen)
        return {"share": self.share, "runs": runs, "task": self.probe.task, "chosen": dict(chosen)}


class Comparison(plan_stages.Staged):
    """Methods that get the same budget on the same data."""

    # 10^15 multiplications and additions of training, of each run with all its stages
    budget_pflop: PositiveFloat
    seeds: list[GlobalSeed] = Field(min_length=1)  # each method is trained with each
    # The stages of each method by its name in the table
    methods: dict[Name, list[Stage]] = Field(min_length=1)
    arguments: _Free = Field(default_factory=dict)
    probe: Probe = Probe()
    # By method, the feature space of a task, if it is not to be chosen on the validation split
    spaces: dict[str, dict[str, str]] = Field(default_factory=dict)
    # Short runs that choose settings before the long ones; None: all as configured
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


def best_run(scores: Mapping[str, Mapping[str, float]]) -> str | None:
    """The run with the best mean rank over tasks; the first of equals.

    Args:
        scores: by run and task, higher is better; a run without a task's score is last there.
    """
    import numpy as np  # late: `--help` needs neither
    from scipy.stats import rankdata

    tasks = {task for of_run in scores.values() for task in of_run}
    if not tasks:
        return None
    table = [[scores[run].get(task, -np.inf) for task in sorted(tasks)] for run in scores]
    ranks = rankdata(-np.asarray(table), axis=0).mean(axis=1)
    return list(scores)[int(ranks.argmin())]
