"""The importance of each setting of a sweep for its figure, by Optuna."""

from __future__ import annotations

import warnings
from typing import Any

from ssl_faces.apps.dashboard.gather import SweepOf
from ssl_faces.common.errors import reason_of
from ssl_faces.plan.sweep.search import distribution
from ssl_faces.plan.sweep.settings import Parameter

LEAST = 4
"""Completed trials below which no importance is computed."""


def importances(sweep: SweepOf) -> tuple[dict[str, float], str]:
    """Shares of the settings, which sum to 1, the largest first; or why there are none.

    fANOVA (Hutter et al., ICML 2014) on the completed trials, with a fixed seed.
    """
    done = [note for note in sweep.notes if note.get("state") == "complete"]
    if len(done) < LEAST:
        return {}, f"{len(done)} trials are complete; {LEAST} are needed for importances"
    names = sweep.parameters
    if len(names) < 2:
        return {}, "only one setting varies: there is nothing to compare it with"
    try:
        import optuna
    except ImportError:
        return {}, 'importances need Optuna: pip install "ssl-faces[sweep]"'
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=sweep.about["metric"].get("goal", "minimize"))
    try:
        known = {name: Parameter(**setting) for name, setting in sweep.about["parameters"].items()}
        distributions: dict[str, Any] = {name: distribution(known[name]) for name in names}
        for note in done:
            params = {name: note["params"][name] for name in names}
            study.add_trial(
                optuna.create_trial(
                    params=params, distributions=distributions, value=float(note["value"])
                )
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        return {}, f"importances can't be computed ({reason_of(error)})"
    return {name: float(share) for name, share in shares.items()}, ""
