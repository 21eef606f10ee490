"""A sweep's Optuna study: its database, its trials, and a note of each beside its run."""

from __future__ import annotations

import itertools
import json
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import locked, regular, replace_file, write_failure
from ssl_faces.common.passwords import hidden
from ssl_faces.plan.sweep.search import distribution, grid
from ssl_faces.plan.sweep.settings import Sweep

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

STUDY_FILE = "study.db"

BUSY = 60.0
"""Seconds to wait for a database that another process writes to."""

MAKING = 10.0
"""Seconds to try again while another machine makes the tables."""

HEARTBEAT, GRACE = 10, 60
"""Seconds between a worker's heartbeats, and without one until its trial is given to another."""


@dataclass(frozen=True)
class Place:
    """Where a sweep is kept."""

    out: Path  # folder of its runs
    storage: str | None  # database address of the study; None is a SQLite file in `out`
    name: str  # of the study in the database

    @property
    def url(self) -> str:
        if self.storage is not None:
            return self.storage
        return f"sqlite:///{(self.out / STUDY_FILE).absolute()}"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Exclude other processes that share `out`; database errors become sentences. Raises
        InputError: the database is locked, corrupt, read-only, full, or out of reach."""
        with locked(self.out / STUDY_FILE), database(self):
            yield

    def __str__(self) -> str:
        if self.storage is None:
            return str(self.out / STUDY_FILE)
        from sqlalchemy.engine import make_url

        return hidden(make_url(self.storage).render_as_string(hide_password=True))


def open_storage(place: Place) -> RDBStorage:
    """The study's database, created if there is none. Raises InputError: it can't be opened; says
    why."""
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
    from sqlalchemy.exc import SQLAlchemyError

    try:
        place.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{place.out}: {write_failure(error)}") from error
    is_file = place.url.startswith("sqlite")
    until = time.monotonic() + MAKING
    with place.alone():
        while True:
            try:
                return RDBStorage(
                    place.url,
                    engine_kwargs={"connect_args": {"timeout": BUSY}} if is_file else None,
                    heartbeat_interval=HEARTBEAT,
                    grace_period=GRACE,
                    heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
                )
            except SQLAlchemyError as error:
                # Another machine may be making the tables.
                made = re.search("already exists|unique|duplicate", str(error), re.IGNORECASE)
                if not made or time.monotonic() > until:
                    raise
            time.sleep(random.uniform(0.1, 0.5))


@contextmanager
def database(place: Place) -> Iterator[None]:
    """Errors of the database become sentences. Raises InputError: it is locked, damaged, read-only,
    full, or out of reach."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        yield
    except (ArgumentError, NoSuchModuleError) as error:
        raise InputError(
            "--storage: not a database address; give one such as "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from error
    except ImportError as error:
        raise InputError(
            f"--storage {place}: its driver is not installed ({error.name or error}); pip install "
            "it (psycopg2-binary for PostgreSQL, pymysql for MySQL)"
        ) from error
    except (SQLAlchemyError, StorageInternalError) as error:
        text = " ".join(f"{error.__cause__ or ''} {error}".split())
        raise InputError(f"{place}: {_what_is_wrong(text)}; no run is lost") from error


def _what_is_wrong(text: str) -> str:
    if "database is locked" in text:
        return (
            f"the study has been locked by another process for {BUSY:g} seconds; end that one "
            f"(`fuser {STUDY_FILE}` names it) and give the same command again"
        )
    if any(words in text for words in ("not a database", "malformed", "no such")):
        return (
            "the study can't be read, as the file is damaged or of another program; move it away "
            "and give the same command again: the trials beside it are read"
        )
    reason = shorten(text.split("[SQL")[0].split("(Background")[0])
    return f"the database can't be used ({reason}); mend it and give the same command again"


SWEEP_FILE = "sweep.json"
TRIALS = "trials"


class SweepStudy:
    """Begins the study of a sweep, or continues it.

    A new study takes the trials that lie in the folder: those of a study that was lost.

    Args:
        source: the sweep's file.
        seed: of random settings.
        most: trials of the whole sweep.

    Attributes:
        study, storage: Optuna's.

    Raises:
        InputError: the database can't be used, or the study was begun with other settings.
    """

    def __init__(self, sweep: Sweep, source: Path, place: Place, seed: int, most: int) -> None:
        import optuna

        self.sweep, self.source, self.place = sweep, source, place
        self.seed, self.most = seed, most
        self.storage = open_storage(place)
        with place.alone():
            named: dict[str, Any] = {"storage": self.storage, "study_name": place.name}
            try:
                self.study = optuna.create_study(**named, direction=sweep.metric.goal)
                self._restore()
            except optuna.exceptions.DuplicatedStudyError:
                self.study = optuna.load_study(**named)
            about = self._check_unchanged()
            self.study.set_user_attr("sweep", about)
            database = None if place.storage is None else str(place)
            note = {**about, "file": str(source), "name": place.name, "storage": database}
            _write_json(place.out / SWEEP_FILE, note)

    def trials(self) -> list[FrozenTrial]:
        """All trials of the study; not to be changed."""
        return self.study.get_trials(deepcopy=False)

    def _check_unchanged(self) -> dict[str, Any]:
        """What must not change in a study; the number of trials, names and the pruner may. Raises
        InputError: something has changed."""
        settings = self.sweep.model_dump(
            include={"command", "method", "metric", "parameters"}, exclude_unset=True, mode="json"
        )
        about = {**settings, "metric": self.sweep.metric.model_dump(), "seed": self.seed}
        known = self.study.user_attrs.get("sweep", about)
        for key in sorted({*known, *about}):
            # The first run shows that a metric is wrong, which is then corrected.
            if key == "metric" and self._may_change_metric():
                continue
            if known.get(key) != about.get(key):
                before, now = (shorten(json.dumps(of.get(key)), 160) for of in (known, about))
                raise InputError(
                    f"{self.source}: {self.place} was begun with another {key} ({before}, and now "
                    f"{now}); set it back, or give another --out"
                )
        return about

    def _may_change_metric(self) -> bool:
        same_goal = self.study.direction.name.lower() == self.sweep.metric.goal
        return same_goal and not any(t.intermediate_values or t.values for t in self.trials())

    def _restore(self) -> None:
        """Add the trials that lie in the folder, of a study that was lost."""
        for note in read_notes(self.place.out):
            params = note.get("params")
            if isinstance(params, dict) and params.keys() == self.sweep.parameters.keys():
                self.add(params, note)

    def add_next(self) -> bool:
        """Add the next trial, with the grid's next point or settings to draw; False if all are
        there."""
        known = [_typed(trial.params) for trial in self.originals()]
        if len(known) >= self.most:
            return False
        points = grid(self.sweep.parameters) if self.sweep.method == "grid" else [{}]
        point = next((p for p in points if not p or _typed(p) not in known), None)
        if point is not None:
            self.add(point)
        return point is not None

    def add(self, params: dict[str, Any], note: dict[str, Any] | None = None) -> None:
        """Add a trial that waits, or that has ended as its note says.

        Args:
            params: its settings as Optuna has them; empty: drawn when it starts.
        """
        from optuna.trial import TrialState, create_trial

        used = {index_of(trial) for trial in self.trials()}
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
        kinds = {name: distribution(self.sweep.parameters[name]) for name in params}
        trial = create_trial(params=params, distributions=kinds, user_attrs=attributes, **more)
        self.study.add_trial(trial)

    def originals(self) -> list[FrozenTrial]:
        """The trials that don't continue another."""
        return [trial for trial in self.trials() if not _history(trial)]

    def _retried(self) -> set[int]:
        """Numbers of the trials that another one continues."""
        return {number for trial in self.trials() for number in _history(trial)}

    def failures(self) -> list[FrozenTrial]:
        """The trials that failed and aren't continued."""
        over = self._retried()
        failed = [trial for trial in self.trials() if trial.state.name == "FAIL"]
        return [trial for trial in failed if trial.number not in over]

    def retry(self, number: int) -> None:
        """Queue a trial again, in the same folder, and end it if it runs."""
        from optuna.storages import RetryHeartbeatStaleTrialCallback
        from optuna.trial import TrialState

        if number not in self._retried():
            # In this order, so that a process that is killed in between loses no trial.
            RetryHeartbeatStaleTrialCallback()(self.study, self.study.get_trials()[number])
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def _typed(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters to compare: True is not 1."""
    return {name: (isinstance(value, bool), value) for name, value in params.items()}


def index_of(trial: Any) -> int:
    """The trial's place in the sweep, which its random numbers follow from; retries keep it."""
    return int(trial.user_attrs.get("index", trial.number))


def folder_of(trial: Any) -> str:
    """Name of the folder of a trial's run."""
    return str(trial.user_attrs.get("folder") or f"{index_of(trial):04d}")


def _history(trial: FrozenTrial) -> list[int]:
    """Numbers of the trials that this one continues."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    return RetryHeartbeatStaleTrialCallback.retry_history(trial)


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
    _write_json(out / TRIALS / f"{folder}.json", note)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())
