"""Writing files so that a reader only ever sees a whole one."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssl_faces.errors import InputError

DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
BAD_PATH = {
    *(errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR),
    *(errno.EPERM, errno.EROFS),
}


def replace_file(path: Path, data: bytes, durable: bool = True) -> None:
    """Write `data` to a temporary name beside `path`, then rename it to `path`.

    Failed or interrupted, it leaves nothing behind.

    Args:
        durable: wait until the disk has it, so that it outlives a power cut; False where there
            are many files that could be made anew.

    Raises:
        InputError: the folder can't be written, or the disk is full; `path` is as it was.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
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
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=suffix, dir=path.parent
        )
        os.close(handle)
        yield Path(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise InputError(f"{path}: {write_failure(error)}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


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
