"""A sweep's Optuna study: begun or continued, its trials, and a note of each beside its run."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import regular, replace_file
from ssl_faces.plan.sweep.search import distribution, grid
from ssl_faces.plan.sweep.settings import Sweep
from ssl_faces.plan.sweep.storage import Place

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

SWEEP_FILE = "sweep.json"
TRIALS = "trials"


def open_study(
    sweep: Sweep, source: Path, place: Place, storage: RDBStorage, seed: int, most: int
) -> Study:
    """Begin the sweep's study, with all trials of a grid waiting in it, or continue it.

    A new study takes the trials that lie in the folder: those of a study that was lost.

    Args:
        most: trials of a grid.

    Raises:
        InputError: it was begun with other settings.
    """
    import optuna

    about = _about(sweep, seed)
    with place.alone():
        goal = sweep.metric.goal
        try:
            study = optuna.create_study(storage=storage, study_name=place.name, direction=goal)
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(study_name=place.name, storage=storage)
            _wait_until_filled(study, place)
        known = study.user_attrs.get("sweep", about)
        for key in sorted({*known, *about}):
            # The first run shows that a metric is wrong, which is then corrected.
            if key == "metric" and _may_change_metric(study, about):
                continue
            if known.get(key) != about.get(key):
                before, now = (shorten(json.dumps(of.get(key)), 160) for of in (known, about))
                raise InputError(
                    f"{source}: {place} was begun with another {key} ({before}, and now {now}); "
                    "set it back, or give another --out"
                )
        study.set_user_attr("sweep", about)
        if not study.user_attrs.get("filled"):
            _restore(study, sweep, place)
        if sweep.method == "grid":
            known_points = [trial.params for trial in study.get_trials(deepcopy=False)]
            for point in grid(sweep.parameters)[:most]:
                if point not in known_points:
                    add_trial(study, sweep, point)
        study.set_user_attr("filled", True)
        storage_name = None if place.storage is None else str(place)
        note = {**about, "file": str(source), "name": place.name, "storage": storage_name}
        replace_file(place.out / SWEEP_FILE, (json.dumps(note, indent=2) + "\n").encode())
    return study


def _about(sweep: Sweep, seed: int) -> dict[str, Any]:
    """What must not change in a study; the number of trials, names and the pruner may."""
    settings = sweep.model_dump(
        include={"command", "method", "metric", "parameters"}, exclude_unset=True, mode="json"
    )
    return {**settings, "metric": sweep.metric.model_dump(), "seed": seed}


def _may_change_metric(study: Study, about: dict[str, Any]) -> bool:
    same_goal = study.direction.name.lower() == about["metric"]["goal"]
    trials = study.get_trials(deepcopy=False)
    return same_goal and not any(trial.intermediate_values or trial.values for trial in trials)


def _wait_until_filled(study: Study, place: Place) -> None:
    """Another machine may be adding the trials of a grid."""
    begun = time.monotonic()
    while place.storage is not None and not study.user_attrs.get("filled"):
        if len(study.get_trials(deepcopy=False)) == 0 or time.monotonic() - begun > 60:
            return
        time.sleep(0.5)


def _restore(study: Study, sweep: Sweep, place: Place) -> None:
    """Add the trials that lie in the folder, of a study that was lost."""
    for note in read_notes(place.out):
        params = note.get("params")
        if isinstance(params, dict) and params.keys() == sweep.parameters.keys():
            add_trial(study, sweep, params, note)


def add_trial(
    study: Study, sweep: Sweep, params: dict[str, Any], note: dict[str, Any] | None = None
) -> None:
    """Add a trial that waits, or that has ended as its note says.

    Args:
        params: its settings as Optuna has them; empty: drawn when it starts.
    """
    from optuna.trial import TrialState, create_trial

    used = {index_of(trial) for trial in study.get_trials(deepcopy=False)}
    index = next(number for number in itertools.count() if number not in used)
    attributes = {"index": index, "folder": f"{index:04d}"}
    more: dict[str, Any] = {"state": TrialState.WAITING}
    if note is not None:
        attributes["folder"] = note["folder"]
        if note["folder"].isdecimal():
            attributes["index"] = int(note["folder"])
        done = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
        state, value = done.get(str(note.get("state"))), note.get("value")
        if state is not None and isinstance(value, int | float):
            values = {i: float(v) for i, v in enumerate(note.get("values", []), start=1)}
            more = {"state": state, "value": float(value), "intermediate_values": values}
    distributions = {name: distribution(sweep.parameters[name]) for name in params}
    study.add_trial(
        create_trial(params=params, distributions=distributions, user_attrs=attributes, **more)
    )


def index_of(trial: Any) -> int:
    """The trial's place in the sweep, which its random numbers follow from; retries keep it."""
    return int(trial.user_attrs.get("index", trial.number))


def folder_of(trial: Any) -> str:
    """Name of the folder of a trial's run."""
    return str(trial.user_attrs.get("folder") or f"{index_of(trial):04d}")


def retried(trials: list[FrozenTrial]) -> set[int]:
    """Numbers of the trials that another one continues."""
    return {number for trial in trials for number in _history(trial)}


def originals(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that don't continue another."""
    return [trial for trial in trials if not _history(trial)]


def _history(trial: FrozenTrial) -> list[int]:
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    # The attribute is of studies that were begun by earlier versions.
    history = RetryHeartbeatStaleTrialCallback.retry_history(trial)
    return [*history, *trial.user_attrs.get("retry_of", [])]


def failures(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that failed and aren't continued."""
    from optuna.trial import TrialState

    over = retried(trials)
    failed = (trial for trial in trials if trial.state == TrialState.FAIL)
    return [t for t in failed if t.number not in over and not t.user_attrs.get("surplus")]


def retry(study: Study, number: int) -> None:
    """Queue a trial again, in the same folder, and end it if it runs."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    trials = study.get_trials()
    if number in retried(trials):
        return
    # In this order, so that a process that is killed in between loses no trial.
    RetryHeartbeatStaleTrialCallback()(study, trials[number])
    if trials[number].state == TrialState.RUNNING:
        try:
            study.tell(number, state=TrialState.FAIL)
        except (ValueError, UpdateFinishedTrialError):
            return


def read_notes(out: Path) -> list[dict[str, Any]]:
    """The notes of all trials in a sweep's folder, in their order; `folder` is the run's."""
    notes = []
    for path in sorted((out / TRIALS).glob("*.json")):
        try:
            note = json.loads(regular(path).read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(note, dict):
            notes.append({**note, "folder": path.stem})
    return notes


def write_note(out: Path, folder: str, note: dict[str, Any]) -> None:
    """Write what the database has of a trial to a file, too."""
    replace_file(out / TRIALS / f"{folder}.json", (json.dumps(note, indent=2) + "\n").encode())
