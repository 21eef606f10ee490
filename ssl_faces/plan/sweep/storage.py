"""Where a sweep's study is kept: its database, what may be wrong with that, and its lock."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import write_failure
from ssl_faces.common.passwords import hidden

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

STUDY_FILE = "study.db"

BUSY = 60.0
"""Seconds to wait for a database that another process writes to."""

MAKING = 10.0
"""Seconds to try again while another machine makes the tables."""

HEARTBEAT, GRACE = 30, 180
"""Seconds, of workers on several machines: between signs of life, and without one until a trial is
taken to be abandoned."""


@dataclass(frozen=True)
class Place:
    """Where a sweep is kept.

    Attributes:
        out: folder of its runs.
        storage: database address of the study; None is a SQLite file in `out`.
        name: of the study in the database.
    """

    out: Path
    storage: str | None
    name: str

    @property
    def url(self) -> str:
        if self.storage is not None:
            return self.storage
        return f"sqlite:///{(self.out / STUDY_FILE).absolute()}"

    def __str__(self) -> str:
        if self.storage is None:
            return str(self.out / STUDY_FILE)
        from sqlalchemy.engine import make_url

        return hidden(make_url(self.storage).render_as_string(hide_password=True))


def open_storage(place: Place) -> RDBStorage:
    """The study's database, which is made where there is none.

    Raises:
        InputError: it can't be had; says why.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        place.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{place.out}: {write_failure(error)}") from error
    more: dict[str, Any] = {}
    if place.url.startswith("sqlite"):
        more["engine_kwargs"] = {"connect_args": {"timeout": BUSY}}
    if place.storage is not None:
        more |= {"heartbeat_interval": HEARTBEAT, "grace_period": GRACE}
        more["heartbeat_stale_trial_callback"] = retry
    try:
        # Two processes that make the tables at once collide.
        with database(place), guard(place.out):
            return _tried(lambda: RDBStorage(place.url, **more))
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


def _tried(make: Callable[[], RDBStorage]) -> RDBStorage:
    """Try again while another machine makes the tables, whose `guard` is not seen here."""
    from sqlalchemy.exc import SQLAlchemyError

    until = time.monotonic() + MAKING
    while True:
        try:
            return make()
        except SQLAlchemyError as error:
            text = str(error).lower()
            made = any(word in text for word in ("already exists", "unique", "duplicate"))
            if not made or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.1, 0.5))


@contextmanager
def database(place: Place) -> Iterator[None]:
    """What goes wrong with the database is told in a sentence.

    Raises:
        InputError: it is locked, corrupt, read-only, full, or out of reach.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        yield
    except (ArgumentError, NoSuchModuleError):
        raise
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        text = " ".join(f"{error.__cause__ or ''} {error}".split())
        # Of a file that another version of Optuna wrote.
        if isinstance(error, RuntimeError) and "optuna storage upgrade" not in text:
            raise
        raise InputError(f"{place}: {_what_is_wrong(text, place)}") from error


def _what_is_wrong(text: str, place: Place) -> str:
    kept = "no run is lost"
    if "database is locked" in text:
        return (
            f"the study has been locked by another process for {BUSY:g} seconds; end that one "
            f"(`fuser {STUDY_FILE}` names it) and give the same command again: {kept}"
        )
    if any(word in text for word in ("not a database", "malformed", "no such")):
        return (
            "the study can't be read, as the file is damaged or of another program; move it away "
            f"and give the same command again: {kept}, the trials beside it are taken up"
        )
    if "readonly" in text or "unable to open" in text:
        return (
            "the study can't be written; mend the permissions of its folder and give the same "
            f"command again: {kept}"
        )
    if "disk is full" in text or "disk I/O" in text:
        return f"the disk is full; free some space and give the same command again: {kept}"
    reason = shorten(text.split("[SQL")[0].split("(Background")[0])
    return f"the database can't be used ({reason}); mend it and give the same command again: {kept}"


@contextmanager
def guard(out: Path) -> Iterator[None]:
    """One process at a time gives out trials; the others wait for it."""
    try:
        handle = os.open(out / "study.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(f"{out}: {write_failure(error)}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def retry(study: Study, trial: FrozenTrial) -> None:
    """Let a trial that has ended without a result be taken up again, in the same folder."""
    from optuna.trial import TrialState, create_trial

    attributes = dict(trial.user_attrs)
    attributes["retry_of"] = [*attributes.get("retry_of", []), trial.number]
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=attributes,
        )
    )
