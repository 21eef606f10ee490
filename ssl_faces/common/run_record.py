"""`run.json` of a run's folder (commands, code, packages, result), and the folder's lock."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from ssl_faces.common.errors import InputError, bad_input, causes, shorten
from ssl_faces.common.files import regular, replace_file, write_failure
from ssl_faces.common.passwords import hidden

RUN_FILE = "run.json"
CHECKPOINT = "checkpoints/last.ckpt"
DIFF_FILE = "uncommitted.diff"
LOCK_FILE = "run.lock"

PATIENCE = 10.0
"""Seconds to wait for the lock, which loader processes of a killed run may still hold."""

_CODE = ("ssl_faces", "linear_probe", "configs", "pyproject.toml")
_MOST_DIFF = 1_000_000
_UNLOCKABLE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@cache
def package_versions() -> dict[str, str]:
    """Versions of all installed packages by name."""
    about = (distribution.metadata for distribution in distributions())
    versions = {one["Name"]: one["Version"] for one in about if one["Name"]}
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


def git_state() -> tuple[dict[str, Any] | None, bytes]:
    """The commit of this code and whether it is modified, and the modifications as a patch.

    None if the code is not in a git checkout, such as an installed package.
    """
    here = Path(__file__)
    root = _git(here.parent, "rev-parse", "--show-toplevel")
    if root is None or _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None, b""
    top = Path(os.fsdecode(root.strip()))
    commit = _git(top, "rev-parse", "HEAD") or b""
    changed = _git(top, "status", "--porcelain", "--", *_CODE) or b""
    state = {
        "commit": commit.decode().strip(),
        "dirty": bool(changed.strip()),
        "changed": changed.decode(errors="replace").splitlines()[:100],
    }
    patch = (_git(top, "diff", "HEAD", "--", *_CODE) or b"") if changed.strip() else b""
    return state, patch


def _git(folder: Path, *words: str) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


class RunRecord:
    """Writes `run.json` of one folder, from `begin` to the end of the `with` block.

    Each start is a session: command, time, code, and its result: `finished`, `stopped` or `failed`.
    A killed session stays `running`, without the folder's lock. Environment variables are not
    recorded, as they may be secrets.

    Args:
        kind: `run` or `job`.
        locked: the folder's lock is held already.

    Attributes:
        step: last training step, if known; set by the caller.
    """

    def __init__(self, command: Sequence[str], kind: str = "run", locked: bool = False) -> None:
        self._locked = locked
        self.command = [hidden(word) for word in command]
        self.kind = kind
        self.step: int | None = None
        self._stop: str | None = None
        self._state = "stopped"
        self.lock: int | None = None
        self._folder: Path | None = None
        self._content: dict[str, Any] = {}

    def begin(self, folder: Path, **about: Any) -> None:
        """Lock the folder, and record the start of a session. Raises InputError: another process
        has the lock, or the folder can't be written."""
        if self.lock is None and not self._locked:
            self.lock = claim(folder)
        self._folder = folder
        earlier = read_run(folder) or {}
        git, patch = git_state()
        session: dict[str, Any] = {
            "command": self.command,
            "folder": os.getcwd(),
            "host": socket.gethostname(),
            "began": _now(),
            "state": "running",
            "git": git,
        }
        packages = package_versions()
        before = earlier.get("packages", packages)
        if packages != before:
            session["packages"] = {k: v for k, v in packages.items() if before.get(k) != v}
        if patch:
            session["uncommitted"] = _write_patch(folder, patch, earlier)
        self._content = {
            **about,
            "kind": self.kind,
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "packages": before,
            "sessions": [*earlier.get("sessions", []), session],
        }
        self._write()

    def stopped(self, reason: str, state: str = "stopped") -> None:
        """Note how the run ended, if no error shows it."""
        self._stop, self._state = reason, state

    def note(self, **about: Any) -> None:
        """Add entries to `run.json`, or replace them."""
        if self._folder is not None:
            self._content |= about
            self._write()

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if self._folder is not None:
                state, reason = _result(error)
                if error is None and self._stop is not None:
                    state, reason = self._state, self._stop
                session = self._content["sessions"][-1]
                session |= {"ended": _now(), "state": state}
                if reason:
                    session["said"] = reason
                self.step = getattr(error, "step", self.step)
                if self.step is not None:
                    session["step"] = self.step
                try:
                    self._write()
                except InputError:
                    if error is None:
                        raise  # otherwise the first error is reported
        finally:
            self._folder = None
            if self.lock is not None:
                # Not only closed: loader processes may have copies of it.
                fcntl.flock(self.lock, fcntl.LOCK_UN)
                os.close(self.lock)
                self.lock = None

    def _write(self) -> None:
        assert self._folder is not None
        text = json.dumps(self._content, indent=2) + "\n"
        replace_file(self._folder / RUN_FILE, text.encode())


class Held(InputError):
    """Another process holds the lock."""


def claim(folder: Path, name: str = LOCK_FILE, patience: float | None = None) -> int:
    """The lock of a run's folder, as a file descriptor to close. Processes that inherit it hold the
    lock too, until the last of them has ended. Raises InputError: another process holds it
    (`Held`), or the folder can't be written.

    Args:
        name: of the lock's file.
        patience: seconds to wait for the lock; default: `PATIENCE`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(f"{folder}: {write_failure(error)}") from error
    until = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno in _UNLOCKABLE:
                return handle  # this file system has no locks
            if time.monotonic() > until:
                who = os.pread(handle, 100, 0).decode(errors="replace").strip()
                os.close(handle)
                raise Held(
                    f"{folder}: another run is at work in it ({who}); wait for it, or give another "
                    "--out"
                ) from error
            time.sleep(0.1)
    note_holder(handle, os.getpid())
    return handle


def note_holder(lock: int, process: int) -> None:
    """Write the process that works in the folder to the lock's file."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {process} on {socket.gethostname()}".encode(), 0)


def is_held(folder: Path) -> bool:
    """Whether a run is active in a folder."""
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _UNLOCKABLE
    finally:
        os.close(handle)
    return False


def read_run(folder: Path) -> dict[str, Any] | None:
    """The contents of `run.json`; None if it is missing or invalid."""
    try:
        content = json.loads(regular(folder / RUN_FILE).read_bytes())
        sessions = content["sessions"]
        valid = bool(sessions) and all(isinstance(s["state"], str) for s in sessions)
        return content if valid else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def state_of(folder: Path) -> str | None:
    """`running`, `finished`, `stopped` or `failed`; None without a run."""
    content = read_run(folder)
    if content is None:
        return None
    if is_held(folder):
        return "running"
    state: str = content["sessions"][-1]["state"]
    # A killed run could not write its state.
    return "stopped" if state == "running" else state


def _write_patch(folder: Path, patch: bytes, earlier: dict[str, Any]) -> str:
    """Save the modifications of a session; returns the file's name."""
    if len(patch) > _MOST_DIFF:
        return f"not kept: {len(patch):,} bytes"
    number = len(earlier.get("sessions", []))
    name = DIFF_FILE if number == 0 else f"{number}_{DIFF_FILE}"
    replace_file(folder / name, patch)
    return name


def _result(error: BaseException | None) -> tuple[str, str]:
    """State of a session that ended with an error, and the reason."""
    if error is None:
        return "finished", ""
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes(error)):
        return "stopped", "SIGINT"
    if not isinstance(error, Exception):
        return "stopped", str(error)
    reason = bad_input(error) or f"{type(error).__name__}: {error}"
    return "failed", shorten(hidden(reason), 500)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
