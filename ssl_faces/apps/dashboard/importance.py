"""How much each setting of a sweep matters for its figure, by Optuna."""

from __future__ import annotations

import warnings
from typing import Any

from ssl_faces.apps.dashboard.gather import SweepOf
from ssl_faces.common.errors import reason_of
from ssl_faces.plan.sweep.search import distribution
from ssl_faces.plan.sweep.settings import Parameter

LEAST = 4
"""Trials that ran to their end, below which nothing is said."""


def importances(sweep: SweepOf) -> tuple[dict[str, float], str]:
    """Shares of the settings, 1 together, the largest first; and where there are none, why.

    fANOVA (Hutter et al., ICML 2014) on the trials that ran to their end, with a seed of its own.
    """
    done = [note for note in sweep.notes if note.get("state") == "complete"]
    if len(done) < LEAST:
        return {}, f"{len(done)} trials ran to their end; {LEAST} are needed for importances"
    names = sweep.parameters
    if len(names) < 2:
        return {}, "one setting varies: there is nothing to weigh it against"
    try:
        import optuna
    except ImportError:
        return {}, 'importances need Optuna: pip install "ssl-faces[sweep]"'
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=sweep.about["metric"].get("goal", "minimize"))
    try:
        known = {name: Parameter(**one) for name, one in sweep.about["parameters"].items()}
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
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        return {}, f"importances can't be had ({reason_of(error)})"
    return {name: float(share) for name, share in found.items()}, ""
