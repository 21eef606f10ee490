"""A sweep's YAML file, in W&B's format, read and checked before anything starts.

The keys are those of https://docs.wandb.ai/guides/sweeps/sweep-config-keys. What only W&B's server
can do (other distributions, `method: custom`, launch jobs) is refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from ssl_faces.common.errors import InputError
from ssl_faces.common.passwords import refuse_passwords
from ssl_faces.common.ranges import PositiveInt
from ssl_faces.common.yaml_settings import Strict, read_as, read_yaml
from ssl_faces.plan.cluster.resources import PlanResources

LIKE = "configs/sweep/facecycle_losses.yaml"

OWN = ("out", "ckpt_path")
"""Settings of `fit` that follow from the sweep: each trial has a folder, and resumes in it."""

_RANGES = ("int_uniform", "uniform", "log_uniform", "log_uniform_values", "q_uniform")
_NEEDS = {"constant": {"value"}, "categorical": {"values"}} | {k: {"min", "max"} for k in _RANGES}
"""The keys that each distribution needs."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]


class Parameter(Strict):
    """The values of one setting."""

    value: Any = None  # the only value
    values: list[Any] | None = Field(default=None, min_length=1)  # all values
    # min, max: range of numbers, both included; of integers if both are and no distribution is
    # named
    min: int | float | None = None
    max: int | float | None = None
    # Of the numbers; the ends of `log_uniform` are natural logarithms
    distribution: str | None = None
    q: int | float = Field(default=1, gt=0)  # step of `q_uniform`

    @property
    def kind(self) -> str:
        """Its distribution, also if none is named."""
        if self.distribution is not None:
            return self.distribution
        if "value" in self.model_fields_set:
            return "constant"
        if self.values is not None:
            return "categorical"
        return "int_uniform" if self._has_integers else "uniform"

    @property
    def _has_integers(self) -> bool:
        return isinstance(self.min, int) and isinstance(self.max, int)

    @property
    def ends(self) -> tuple[Any, Any]:
        """The ends of a range of numbers."""
        return self.min, self.max

    @property
    def examples(self) -> list[Any]:
        """Its values, or the ends of its range."""
        if self.kind == "constant":
            return [self.value]
        if self.values is not None:
            return self.values
        return [float(end) for end in self.ends] if "log" in self.kind else list(self.ends)

    @model_validator(mode="before")
    @classmethod
    def _one_level(cls, settings: Any) -> Any:
        if isinstance(settings, dict) and "parameters" in settings:
            raise ValueError("a group of parameters; write each by itself, with dots in its name")
        if isinstance(settings, dict) and "probabilities" in settings:
            raise ValueError("probabilities are for `wandb agent` only; take them out")
        return settings

    @model_validator(mode="after")
    def _complete(self) -> Parameter:
        if self.kind not in _NEEDS:
            raise ValueError(
                f"distribution '{self.kind}' is not one of {', '.join(_NEEDS)}; take one of them"
            )
        keys, needed = self.model_fields_set, _NEEDS[self.kind]
        missing = sorted(needed - keys)
        if missing:
            raise ValueError(f"no {' and no '.join(missing)}; give value, values, or min and max")
        surplus = sorted(keys - needed - {"distribution"} - ({"q"} & {self.kind[:1]}))
        if surplus:
            raise ValueError(f"'{surplus[0]}' has no effect beside its {' and '.join(needed)}")
        if self.min is not None and self.max is not None:
            if self.min >= self.max:
                raise ValueError(f"min {self.min} is not below max {self.max}; mend one")
            if self.kind == "log_uniform_values" and self.min <= 0:
                raise ValueError(f"min {self.min} has no logarithm; give one above 0")
            if self.kind == "int_uniform" and not self._has_integers:
                raise ValueError("int_uniform between numbers that are no integers; mend them")
        return self


class Metric(Strict):
    """The figure of a trial: the last value that its run logs."""

    # As in the run's CSV file and W&B, such as `online/expression_linear/expression`
    name: str = Field(min_length=1)
    # Whether a higher or a lower value is better
    goal: Literal["minimize", "maximize"] = "minimize"


class EarlyTerminate(Strict):
    """When a trial that does worse than others is pruned. Counted in values of the metric."""

    type: Literal["hyperband"]
    # Number of values at which trials are first compared; then `eta` times as many, and so on
    min_iter: PositiveInt | None = None
    # max_iter, s: or: `s` times before `max_iter`, each at one `eta`th of the next
    max_iter: PositiveInt | None = None
    s: PositiveInt | None = None
    eta: int = Field(default=3, ge=2)  # one in so many continues
    strict: bool = False  # of W&B; it has no effect here, as a trial is judged by its last value

    @model_validator(mode="after")
    def _either(self) -> EarlyTerminate:
        if self.min_iter is None and (self.max_iter is None or self.s is None):
            raise ValueError("give min_iter, or max_iter and s")
        return self

    @property
    def first(self) -> int:
        """Number of values at which trials are first compared."""
        return self.min_iter or max(1, (self.max_iter or 0) // self.eta ** (self.s or 0))


class Sweep(Strict):
    """A sweep, as its file has it."""

    # Runs a trial; `${args}` stands for the trial's `--KEY=VALUE`
    command: list[str | int | float] = Field(min_length=1)
    # How settings are chosen: all (`grid`), at random (`random`), or by the figures of earlier
    # trials (`bayes`, here by Optuna's TPE)
    method: Literal["grid", "random", "bayes"]
    metric: Metric  # the figure to optimise
    parameters: dict[Name, Parameter] = Field(min_length=1)  # the settings that vary
    early_terminate: EarlyTerminate | None = None  # when bad trials are pruned; None: never
    run_cap: PositiveInt | None = None  # most trials; a grid has its own number
    # What a trial needs of a cluster, by its command's verb; not of W&B
    resources: PlanResources = Field(default_factory=dict)
    # name, description, project, entity, program, apiVersion, kind: as for W&B
    name: str | None = None
    description: str | None = None
    project: str | None = None
    entity: str | None = None
    program: str | None = None
    apiVersion: Any = None
    kind: Any = None

    @model_validator(mode="after")
    def _consistent(self) -> Sweep:
        words = [str(word) for word in self.command]
        for own in OWN:
            keys = [word.partition("=")[0].lstrip("-") for word in words if word.startswith("--")]
            if own in self.parameters or own in keys:
                raise ValueError(f"'{own}' follows from the sweep, a folder a trial; leave it out")
        for name, parameter in self.parameters.items():
            if self.method == "grid" and parameter.kind not in (
                *("constant", "categorical", "int_uniform", "q_uniform"),
            ):
                raise ValueError(
                    f"parameters.{name}: a grid needs values, and {parameter.kind} has "
                    "infinitely many; give `values`"
                )
        return self


def read(path: Path) -> Sweep:
    """A sweep from its file; raises InputError if that is missing or invalid."""
    settings = read_yaml(path, LIKE)
    for key in ("scheduler", "job", "image_uri", "controller", "metrics"):
        if key in settings:
            raise InputError(f"{path}: '{key}' is for W&B's server only; take it out")
    refuse_passwords(settings, str(path))
    return read_as(Sweep, path, LIKE)
