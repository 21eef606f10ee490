"""Where a sweep's study is kept: its database, and sentences for what may be wrong with it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import locked, write_failure
from ssl_faces.common.passwords import hidden

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

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
