"""Files: only regular ones are read, and a reader of a written one only ever sees it whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ssl_faces.common.errors import InputError

NOT_REGULAR = "a pipe, a socket or a device"

DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
BAD_PATH = {
    *(errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR),
    *(errno.EPERM, errno.EROFS),
}


def regular(path: Path) -> Path:
    """`path`, if it is a regular file or a link to one: call it before opening any file to read.

    Reading a pipe may wait for ever, and reading a device may never end.

    Raises:
        OSError: it is a folder, a pipe, a socket or a device, or there is no such file.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
    return path


def is_special(name: str) -> bool:
    """Whether `name` is a pipe, a socket or a device."""
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def replace_file(path: Path, data: bytes | memoryview, durable: bool = True) -> None:
    """Write `data` to a temporary name beside `path`, then rename it to `path`.

    Failed or interrupted, it leaves nothing behind.

    Args:
        durable: wait until the disk has it, so that it outlives a power cut; False where there
            are many files that could be made anew.

    Raises:
        InputError: the folder can't be written, or the disk is full; `path` is as it was.
    """
    with replacing(path) as temporary:
        write(temporary, data, durable)


def write(path: Path, data: bytes | memoryview, durable: bool = True) -> None:
    """Write `data` to `path`, such as a temporary name of `replacing`; as for `replace_file`."""
    with path.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """A temporary name beside `path` to write to, renamed to `path` at the end.

    For what is written piece by piece. Left by an error or an interruption, nothing stays behind.

    Args:
        suffix: of the temporary name, for writers that tell the format by it. Without one no
            pattern for finished files, such as `*.json`, fits it.

    Raises:
        InputError: the folder can't be written, or the disk is full; `path` is as it was.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = new_file(path.parent, f".{path.name}.", suffix)
        yield temporary
        keep_mode(path, temporary)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise InputError(f"{path}: {write_failure(error)}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


@contextmanager
def locked(path: Path, wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock of the file `path` while it is read, changed and replaced.

    Without it, two processes that change one file at once lose what the first has written. The
    lock's file is hidden beside `path` and stays there: a lock whose file is removed can be held
    twice.

    Args:
        wait: called once where another process holds the lock, before waiting for it.

    Raises:
        InputError: the folder can't be written.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            wait()
            lock.acquire()
    except OSError as error:
        raise InputError(f"{path}: {write_failure(error)}") from error
    try:
        yield
    finally:
        lock.release()


def new_file(folder: Path, prefix: str, suffix: str = "") -> Path:
    """An empty file of a name that is free, with the permissions that the umask leaves.

    Files of `tempfile` are for their owner alone.
    """
    while True:
        path = folder / f"{prefix}{secrets.token_hex(4)}{suffix}"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            continue
        return path


def keep_mode(path: Path, successor: Path) -> None:
    """Give the file that is to replace `path` its permissions, where there is such a file."""
    with suppress(FileNotFoundError):
        os.chmod(successor, stat.S_IMODE(path.stat().st_mode))


def path_failure(error: OSError) -> str | None:
    """A sentence about a path that can't be used or a full disk; None for other errors."""
    if error.errno in DISK_FULL:
        return f"{error.filename or 'the output'}: {write_failure(error)}"
    if error.errno in BAD_PATH and error.filename is not None:
        return f"{error.filename}: {error.strerror}; check the path"
    return None


def write_failure(error: OSError) -> str:
    """What went wrong with a write, and the mend."""
    if error.errno in DISK_FULL:
        return "the disk is full (or the file size limit reached); free some space and run again"
    return f"can't be written ({error.strerror}); choose another folder or mend its permissions"


def remove_leftovers(path: Path) -> None:
    """Delete what processes that were killed while they wrote `path` left beside it.

    Only where no other process writes `path` now.
    """
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)
