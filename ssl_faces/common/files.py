"""Read regular files only, and write files atomically."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ssl_faces.common.errors import InputError

NOT_REGULAR = "a pipe, a socket or a device"

MOST_PIXELS = 100_000_000
"""Images with more pixels than this are refused from their header, before any decoding."""

DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
BAD_PATH = {
    *(errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR),
    *(errno.EPERM, errno.EROFS),
}


def regular(path: Path) -> Path:
    """Check that `path` is a regular file (or a link to one) before reading it.

    Reading a pipe may block forever, and reading a device may never end.

    Raises:
        OSError: a folder, a pipe, a socket or a device, or no such file.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
    return path


def existing_folder(root: str | Path, what: str) -> Path:
    """`root` as a path with `~` expanded. Raises InputError, with `what` it is: it is missing, no
    folder, or can't be listed."""
    folder = Path(root).expanduser()
    if not folder.exists():
        raise InputError(f"{what}: folder {folder} does not exist; check the path")
    if not folder.is_dir():
        raise InputError(f"{what}: {folder} is a file; give the folder that holds the pictures")
    try:
        with os.scandir(folder):
            return folder
    except OSError as error:
        raise InputError(
            f"{what}: folder {folder} can't be listed ({error.strerror}); check its permissions"
        ) from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_special(name: str) -> bool:
    """Whether `name` is a pipe, a socket or a device."""
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def replace_file(path: Path, data: bytes | memoryview, durable: bool = True) -> None:
    """Write `data` to `path` atomically, by a temporary file that is renamed.

    Args:
        durable: sync to the disk, to survive a power cut; False for many reproducible files.

    Raises:
        InputError: the folder can't be written, or the disk is full; `path` is unchanged.
    """
    with replacing(path) as temporary:
        write(temporary, data, durable)


def write(path: Path, data: bytes | memoryview, durable: bool = True) -> None:
    """Write `data` to `path`, such as a temporary file of `replacing`."""
    with path.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """A temporary file beside `path`, renamed to `path` at the end, removed after an error. Raises
    InputError: the folder can't be written, or the disk is full; `path` is unchanged.

    Args:
        suffix: of the temporary name, for writers that derive the format from it. Without one,
            patterns such as `*.json` don't match it.
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
    """Lock the file `path` while it is read, changed and replaced.

    The hidden lock file beside `path` is kept: a lock whose file is removed can be held twice.
    Raises InputError: the folder can't be written.

    Args:
        wait: called once before waiting for another process.
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
    """A new empty file with the permissions of the umask, unlike files of `tempfile`."""
    while True:
        path = folder / f"{prefix}{secrets.token_hex(4)}{suffix}"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            continue
        return path


def keep_mode(path: Path, successor: Path) -> None:
    """Copy the permissions of `path`, if it exists, to the file that will replace it."""
    with suppress(FileNotFoundError):
        os.chmod(successor, stat.S_IMODE(path.stat().st_mode))


def path_failure(error: OSError) -> str | None:
    """A sentence about an unusable path or a full disk; None for other errors."""
    if error.errno in DISK_FULL:
        return f"{error.filename or 'the output'}: {write_failure(error)}"
    if error.errno in BAD_PATH and error.filename is not None:
        return f"{error.filename}: {error.strerror}; check the path"
    return None


def write_failure(error: OSError) -> str:
    """A sentence about a failed write, with advice."""
    if error.errno in DISK_FULL:
        return "the disk is full (or the file size limit reached); free some space and run again"
    return f"can't be written ({error.strerror}); choose another folder or mend its permissions"


def remove_leftovers(path: Path) -> None:
    """Delete temporary files of killed writers of `path`; no other process may be writing it."""
    for file in path.parent.glob(f".{path.name}.*"):
        file.unlink(missing_ok=True)
