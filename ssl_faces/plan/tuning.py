"""Short runs of a comparison's methods, which choose settings on validation splits."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ssl_faces.common.ranges import UnitAbove0
from ssl_faces.common.yaml_settings import Arguments, Name, Strict
from ssl_faces.plan.stages import LENGTHS, OWN_KEYS, Probe, free_of
from ssl_faces.plan.steps import say

TUNING = "tuning"
"""Folder of the short runs."""

TUNING_FILE = "tuning.json"
"""Their scores, which `linear-probe tuning` writes there."""

_Values = Annotated[list[Any], Field(min_length=1)]
_Free = Annotated[dict[str, _Values], free_of(LENGTHS | OWN_KEYS, "comparison")]


class Tuning(Strict):
    """How settings of methods are chosen. Every method gets the same number of short runs, of the
    comparison's first seed. The best mean rank over the tasks' validation scores wins.

    Attributes:
        share: of the budget, for each short run.
        settings: by method: some settings of `fit` with the values to try. Each combination is a
            run.
        probe: scores the short runs. Only scores on the validation split are read.
    """

    share: UnitAbove0 = 0.2
    settings: dict[Name, _Free]
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
        path = folder / TUNING_FILE
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
