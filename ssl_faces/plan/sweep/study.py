"""A sweep's Optuna study: begun or gone on with, its trials given out once each, and taken back.

On one machine a trial belongs to whoever holds the lock beside its run's folder, which the run's
own process holds, too: so a trial whose worker was killed is known at once, and isn't given out
while its orphaned run still goes on. Between machines, of which one can't see the other's locks,
Optuna's heartbeats tell.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.common.children import Held, only_one
from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import regular, replace_file
from ssl_faces.plan.sweep import storage as storages
from ssl_faces.plan.sweep.search import PrunerName, distribution, grid, pruner
from ssl_faces.plan.sweep.settings import Sweep
from ssl_faces.plan.sweep.storage import Place, database, guard, retry

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

SWEEP_FILE = "sweep.json"
TRIALS = "trials"


def open_study(
    sweep: Sweep, source: Path, place: Place, storage: RDBStorage, seed: int, most: int
) -> None:
    """Begin the sweep's study where there is none, with all of a grid's trials waiting in it.

    Trials that lie in the folder and not in a study that is begun are taken up in it.

    Args:
        most: trials of a grid.

    Raises:
        InputError: it was begun with other settings.
    """
    import optuna

    about = _about(sweep, seed)
    with database(place), guard(place.out):
        goal = sweep.metric.goal
        try:
            study = optuna.create_study(storage=storage, study_name=place.name, direction=goal)
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(study_name=place.name, storage=storage)
            _wait_until_filled(study, place)
        known = study.user_attrs.get("sweep", about)
        for key in sorted({*known, *about}):
            # A metric that no run logs is found out by the first run, and mended.
            if key == "metric" and _may_change_metric(study, about):
                continue
            if known.get(key) != about.get(key):
                raise InputError(
                    f"{source}: {place} was begun with another {key} "
                    f"({_short(known.get(key))}, and now {_short(about.get(key))}); set it back, "
                    "or give another --out"
                )
        study.set_user_attr("sweep", about)
        if not study.user_attrs.get("filled"):
            _take_up(study, sweep, place)
        if sweep.method == "grid":
            _fill(study, sweep, most)
        study.set_user_attr("filled", True)
        note = {
            **about,
            "file": str(source),
            "name": place.name,
            "storage": None if place.storage is None else str(place),
        }
        replace_file(place.out / SWEEP_FILE, (json.dumps(note, indent=2) + "\n").encode())


def view(sweep: Sweep, place: Place, storage: RDBStorage, ending: PrunerName) -> Study:
    """The study as one worker has it, with a sampler of its own."""
    import optuna

    with database(place):
        return optuna.load_study(
            study_name=place.name, storage=storage, pruner=pruner(sweep, ending)
        )


def _about(sweep: Sweep, seed: int) -> dict[str, Any]:
    """What a study may not change in; how many trials, names and the pruner may."""
    found = sweep.model_dump(
        include={"command", "method", "metric", "parameters"}, exclude_unset=True, mode="json"
    )
    return {**found, "metric": sweep.metric.model_dump(), "seed": seed}


def _may_change_metric(study: Study, about: dict[str, Any]) -> bool:
    same_goal = study.direction.name.lower() == about["metric"]["goal"]
    trials = study.get_trials(deepcopy=False)
    return same_goal and not any(trial.intermediate_values or trial.values for trial in trials)


def _short(value: Any) -> str:
    return shorten(json.dumps(value), 160)


def _wait_until_filled(study: Study, place: Place) -> None:
    """Another machine may be putting a grid's trials into it; not on one machine, by the guard."""
    begun = time.monotonic()
    while place.storage is not None and not study.user_attrs.get("filled"):
        if len(study.get_trials(deepcopy=False)) == 0 or time.monotonic() - begun > 60:
            return
        time.sleep(0.5)


def _take_up(study: Study, sweep: Sweep, place: Place) -> None:
    """Put in the trials that lie in the folder, of a study that was lost."""
    from optuna.trial import TrialState, create_trial

    distributions = {name: distribution(one) for name, one in sweep.parameters.items()}
    for note in read_notes(place.out):
        params = note.get("params")
        if not isinstance(params, dict) or params.keys() != distributions.keys():
            continue
        state, value = note.get("state"), note.get("value")
        done = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(str(state))
        more: dict[str, Any] = {"state": TrialState.WAITING}
        if done is not None and isinstance(value, int | float):
            values = {i: float(v) for i, v in enumerate(note.get("values", []), start=1)}
            more = {"state": done, "value": float(value), "intermediate_values": values}
        study.add_trial(
            create_trial(
                params=params,
                distributions=distributions,
                user_attrs={"folder": note["folder"]},
                **more,
            )
        )


def _fill(study: Study, sweep: Sweep, most: int) -> None:
    """Let the first points of a grid wait, each once, so that whoever takes one has it alone."""
    from optuna.trial import TrialState, create_trial

    distributions = {name: distribution(one) for name, one in sweep.parameters.items()}
    known = [trial.params for trial in study.get_trials(deepcopy=False)]
    for point in grid(sweep.parameters)[:most]:
        if point not in known:
            study.add_trial(
                create_trial(state=TrialState.WAITING, params=point, distributions=distributions)
            )


def read_notes(out: Path) -> list[dict[str, Any]]:
    """What is noted of each trial in a sweep's folder, in their order; `folder` is the run's."""
    found = []
    for path in sorted((out / TRIALS).glob("*.json")):
        try:
            note = json.loads(regular(path).read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(note, dict):
            found.append({**note, "folder": path.stem})
    return found


def write_note(out: Path, folder: str, note: dict[str, Any]) -> None:
    """Note of a trial what the database has of it, too."""
    replace_file(out / TRIALS / f"{folder}.json", (json.dumps(note, indent=2) + "\n").encode())


# Trials: whose they are ----------------------------------------------------------------------


def give_back(study: Study, number: int) -> None:
    """Let a running trial be taken up again, and end it, unless it is over."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    if trials[number].state != TrialState.RUNNING:
        return
    # In this order, so that a process which is killed in between loses no trial.
    if number not in _taken_up(trials):
        retry(study, trials[number])
    try:
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, UpdateFinishedTrialError):
        return


def _taken_up(trials: list[FrozenTrial]) -> set[int]:
    """Numbers of the trials that others are again."""
    return {number for trial in trials for number in trial.user_attrs.get("retry_of", [])}


def has_failed(trial: FrozenTrial) -> bool:
    """Whether it failed, and not for a reason that has nothing to do with its settings."""
    from optuna.trial import TrialState

    attributes = trial.user_attrs
    again = trial.number in attributes.get("again", [])
    return trial.state == TrialState.FAIL and not again and not attributes.get("surplus")


def take_back_abandoned(study: Study, place: Place) -> list[str]:
    """Give back the running trials whose worker is gone; their folders. Call it within `guard`.

    And take up again those that ended for a reason that has nothing to do with their settings.
    """
    from datetime import datetime, timedelta

    from optuna.storages import fail_stale_trials
    from optuna.trial import TrialState

    found = []
    if place.storage is not None:
        fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, folder = trial.user_attrs.get("host"), trial.user_attrs.get("folder")
        if place.storage is None:
            gone = folder is None or not _held(place.out, folder)
        elif host is None:
            # Its worker was lost before it could say where it is.
            begun = trial.datetime_start or datetime.now()
            gone = datetime.now() - begun > timedelta(seconds=storages.GRACE)
        else:
            there = Path(trial.user_attrs.get("out", place.out))
            gone = host == platform.node() and not _held(there, str(folder))
        if gone:
            give_back(study, trial.number)
            found.append(folder or f"{trial.number:04d}")
    trials = study.get_trials(deepcopy=False)
    taken_up = _taken_up(trials)
    for trial in trials:
        again = trial.number in trial.user_attrs.get("again", [])
        if trial.state == TrialState.FAIL and again and trial.number not in taken_up:
            retry(study, trial)
    return found


def lock_of(out: Path, folder: str) -> Any:
    """The lock of a trial's run, as `children.only_one` has it."""
    return only_one(out / TRIALS, f"the run of trial {folder}", f"{folder}.lock")


def _held(out: Path, folder: str) -> bool:
    try:
        with lock_of(out, folder):
            return False
    except Held:
        return True


def originals(trials: list[FrozenTrial]) -> list[int]:
    """Numbers of the trials that are not another one taken up again, nor one too many."""
    return [
        trial.number
        for trial in trials
        if not trial.user_attrs.get("retry_of") and not trial.user_attrs.get("surplus")
    ]


def failures(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that failed for good."""
    taken_up = _taken_up(trials)
    return [trial for trial in trials if has_failed(trial) and trial.number not in taken_up]


def folder_for(trials: list[FrozenTrial], index: int) -> str:
    """Of a new trial; those of a study that was lost keep theirs."""
    used = {trial.user_attrs.get("folder") for trial in trials}
    while f"{index:04d}" in used:
        index += 1
    return f"{index:04d}"
