"""A sweep's YAML file, in W&B's format, read and checked before anything starts.

The keys are those of https://docs.wandb.ai/guides/sweeps/sweep-config-keys. What only W&B's server
can do (other distributions, `method: custom`, launch jobs) is told by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ssl_faces.common.errors import InputError
from ssl_faces.common.passwords import refuse_passwords
from ssl_faces.common.ranges import PositiveInt
from ssl_faces.common.yaml_settings import Strict, read_yaml, sentence

LIKE = "configs/sweep/facecycle_losses.yaml"

OWN = ("out", "ckpt_path")
"""Settings of `fit` that follow from the sweep: each trial has a folder, and goes on in it."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]


class Parameter(Strict):
    """What one setting may be.

    Attributes:
        value: always this.
        values: one of these.
        min, max: a number between these, both included; a whole one where both are and no
            distribution is named.
        distribution: how numbers are drawn; `log_uniform` has the natural logarithms of its ends.
        q: step of `q_uniform`.
    """

    value: Any = None
    values: list[Any] | None = Field(default=None, min_length=1)
    min: int | float | None = None
    max: int | float | None = None
    distribution: str | None = None
    q: int | float = Field(default=1, gt=0)

    @property
    def kind(self) -> str:
        """Its distribution, also where none is named."""
        if self.distribution is not None:
            return self.distribution
        if "value" in self.model_fields_set:
            return "constant"
        if self.values is not None:
            return "categorical"
        whole = isinstance(self.min, int) and isinstance(self.max, int)
        return "int_uniform" if whole else "uniform"

    @model_validator(mode="before")
    @classmethod
    def _one_level(cls, found: Any) -> Any:
        if isinstance(found, dict) and "parameters" in found:
            raise ValueError("a group of parameters; write each by itself, with dots in its name")
        if isinstance(found, dict) and "probabilities" in found:
            raise ValueError("probabilities are for `wandb agent` only; take them out")
        return found

    @model_validator(mode="after")
    def _whole(self) -> Parameter:
        given = self.model_fields_set
        ends = ("int_uniform", "uniform", "log_uniform", "log_uniform_values", "q_uniform")
        needs = {"constant": {"value"}, "categorical": {"values"}}
        needs |= {kind: {"min", "max"} for kind in ends}
        if self.kind not in needs:
            raise ValueError(
                f"distribution '{self.kind}' is not one of {', '.join(needs)}; take one of them"
            )
        needed = needs[self.kind]
        lacking = sorted(needed - given)
        if lacking:
            raise ValueError(f"no {' and no '.join(lacking)}; give value, values, or min and max")
        surplus = sorted(given - needed - {"distribution"} - ({"q"} & {self.kind[:1]}))
        if surplus:
            raise ValueError(f"'{surplus[0]}' says nothing beside its {' and '.join(needed)}")
        if self.min is not None and self.max is not None:
            if self.min >= self.max:
                raise ValueError(f"min {self.min} is not below max {self.max}; mend one")
            if self.kind == "log_uniform_values" and self.min <= 0:
                raise ValueError(f"min {self.min} has no logarithm; give one above 0")
            if self.kind == "int_uniform" and not (
                isinstance(self.min, int) and isinstance(self.max, int)
            ):
                raise ValueError("int_uniform between numbers that are not whole; mend them")
        return self


class Metric(Strict):
    """What a trial is judged by: the last value that its run logs.

    Attributes:
        name: as the run's CSV file and W&B have it, such as `online/expression_linear/expression`.
        goal: whether a higher or a lower value is better.
    """

    name: str = Field(min_length=1)
    goal: Literal["minimize", "maximize"] = "minimize"


class EarlyTerminate(Strict):
    """When a trial that does worse than others is ended. Counted in values of the metric.

    Attributes:
        min_iter: the first time that trials are compared, then `eta` times as many, and so on.
        max_iter, s: or: `s` times before `max_iter`, each at one `eta`th of the next.
        eta: one in so many goes on.
        strict: of W&B; here it makes no difference, as a trial is judged by its last value.
    """

    type: Literal["hyperband"]
    min_iter: PositiveInt | None = None
    max_iter: PositiveInt | None = None
    s: PositiveInt | None = None
    eta: int = Field(default=3, ge=2)
    strict: bool = False

    @model_validator(mode="after")
    def _either(self) -> EarlyTerminate:
        if self.min_iter is None and (self.max_iter is None or self.s is None):
            raise ValueError("give min_iter, or max_iter and s")
        return self

    @property
    def first(self) -> int:
        """Of how many values trials are first compared by."""
        if self.min_iter is not None:
            return self.min_iter
        assert self.max_iter is not None
        assert self.s is not None
        return max(1, self.max_iter // self.eta**self.s)


class Sweep(Strict):
    """A sweep, as its file has it.

    Attributes:
        command: what runs a trial; `${args}` stands for the trial's `--KEY=VALUE`.
        method: how settings are chosen: all (`grid`), by chance (`random`), by what earlier trials
            gave (`bayes`, here by Optuna's TPE).
        metric: what is optimised.
        parameters: what may vary.
        early_terminate: when bad trials are ended; None: never.
        run_cap: most trials; a grid has its own number.
        name, description, project, entity, program: as W&B has them.
    """

    command: list[str | int | float] = Field(min_length=1)
    method: Literal["grid", "random", "bayes"]
    metric: Metric
    parameters: dict[Name, Parameter] = Field(min_length=1)
    early_terminate: EarlyTerminate | None = None
    run_cap: PositiveInt | None = None
    name: str | None = None
    description: str | None = None
    project: str | None = None
    entity: str | None = None
    program: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Sweep:
        words = [str(word) for word in self.command]
        for own in OWN:
            given = [word.partition("=")[0].lstrip("-") for word in words if word.startswith("--")]
            if own in self.parameters or own in given:
                raise ValueError(f"'{own}' follows from the sweep, a folder a trial; leave it out")
        for name, parameter in self.parameters.items():
            if self.method == "grid" and parameter.kind not in (
                *("constant", "categorical", "int_uniform", "q_uniform"),
            ):
                raise ValueError(
                    f"parameters.{name}: a grid needs values, and {parameter.kind} has no end of "
                    "them; give `values`"
                )
        return self


def read(path: Path) -> Sweep:
    """A sweep from its file.

    Raises:
        InputError: no such file, not YAML, or settings that can't be; says which.
    """
    found = read_yaml(path, LIKE)
    for key in ("scheduler", "job", "image_uri", "controller", "metrics"):
        if key in found:
            raise InputError(f"{path}: '{key}' is for W&B's server only; take it out")
    refuse_passwords(found, str(path))
    for key in ("apiVersion", "kind"):
        found.pop(key, None)
    try:
        return Sweep.model_validate(found)
    except ValidationError as error:
        raise InputError(f"{path}: {sentence(error)}") from error
