"""Optuna's search space, sampler and pruner for a sweep's file."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ssl_faces.plan.sweep.settings import Parameter, Sweep

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

PrunerName = Literal["file", "hyperband", "median", "none"]

WARM_UP = 5
"""Trials that the median pruner needs before it ends others."""


def distribution(parameter: Parameter) -> BaseDistribution:
    """Optuna's distribution of a parameter; values that are no scalars become JSON."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.kind in ("constant", "categorical"):
        return CategoricalDistribution([_scalar(value) for value in parameter.examples])
    (low, high), q = parameter.ends, parameter.q
    if parameter.kind == "log_uniform":
        return FloatDistribution(math.exp(low), math.exp(high), log=True)
    if parameter.kind == "int_uniform":
        return IntDistribution(int(low), int(high))
    if parameter.kind == "q_uniform":
        if all(isinstance(number, int) for number in (low, high, q)):
            return IntDistribution(int(low), int(high), step=int(q))
        return FloatDistribution(low, high, step=q)
    return FloatDistribution(low, high, log=parameter.kind == "log_uniform_values")


def suggest(trial: Trial, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """The trial's settings, for its command line."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    settings: dict[str, Any] = {}
    for name, parameter in parameters.items():
        of: Any = distribution(parameter)
        if isinstance(of, CategoricalDistribution):
            settings[name] = _from_scalar(trial.suggest_categorical(name, of.choices), parameter)
        elif isinstance(of, IntDistribution):
            settings[name] = trial.suggest_int(name, of.low, of.high, step=of.step)
        else:
            settings[name] = trial.suggest_float(name, of.low, of.high, step=of.step, log=of.log)
    return settings


def grid(parameters: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """Every point of the grid, as parameters of Optuna; the last parameter varies fastest."""
    choices: list[list[Any]] = []
    for parameter in parameters.values():
        if parameter.kind in ("constant", "categorical"):
            # Equal values are one point; True and 1 are two.
            scalars = [_scalar(value) for value in parameter.examples]
            choices.append(list({(type(value), value): value for value in scalars}.values()))
        else:
            low, high = parameter.ends
            step = parameter.q if parameter.kind == "q_uniform" else 1
            count = math.floor((high - low) / step + 1e-9) + 1
            choices.append([low + i * step for i in range(count)])
    return [dict(zip(parameters, point, strict=True)) for point in itertools.product(*choices)]


def sampler(sweep: Sweep, seed: int, index: int) -> BaseSampler:
    """The sampler of one trial. Its numbers follow from the seed and the trial's index, in any
    process and after any number of stops (TPE's also from the trials before it).
    """
    import numpy as np
    from optuna.samplers import RandomSampler, TPESampler

    drawn = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    if sweep.method == "bayes":
        # Settings of running trials count as bad, so that workers spread.
        return TPESampler(seed=drawn, constant_liar=True)
    return RandomSampler(seed=drawn)


def pruner(sweep: Sweep, name: PrunerName) -> BasePruner:
    """The pruner of the file, or another by its name.

    W&B's hyperband compares a trial at each rung with all trials that reached it: one bracket of
    Hyperband, which is successive halving. `hyperband` by name is Optuna's, with several brackets.
    """
    from optuna import pruners

    stop = sweep.early_terminate
    if name == "median":
        first = stop.first if stop else 1
        return pruners.MedianPruner(n_startup_trials=WARM_UP, n_warmup_steps=first - 1)
    if name == "hyperband":
        return pruners.HyperbandPruner(
            min_resource=stop.first if stop else 1,
            max_resource=stop.max_iter if stop and stop.max_iter else "auto",
            reduction_factor=stop.eta if stop else 3,
        )
    if name == "file" and stop is not None:
        return pruners.SuccessiveHalvingPruner(min_resource=stop.first, reduction_factor=stop.eta)
    return pruners.NopPruner()


def _scalar(value: Any) -> bool | int | float | str | None:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value)


def _from_scalar(value: Any, parameter: Parameter) -> Any:
    for named in parameter.examples:
        if type(_scalar(named)) is type(value) and _scalar(named) == value:
            return named
    return value
