"""Fetching: shards of a remote pack to a cache on this machine, ahead of use, bounded in size."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import new_file, write_failure
from ssl_faces.data.store.shards import ShardEntry

_PIECE = 4 * 2**20
_TRIES = 3
_ABANDONED = 3600  # seconds after which a part of a shard is a killed process's

Found = TypeVar("Found")


def fetch_bytes(url: str) -> bytes:
    """A small remote file.

    Raises:
        InputError: it can't be fetched.
    """

    def read() -> bytes:
        with _opened(url) as file:
            return bytes(file.read())

    return _tried(url, read)


class RemoteShards:
    """The shards of one remote pack, kept by their SHA-256 in a cache that processes share.

    Args:
        url: of the pack's folder, any that fsspec opens.
        cache: folder of fetched shards, of all packs.
        most: bytes that it may hold; the shards not used for longest go first. None: no bound.
    """

    def __init__(self, url: str, cache: Path, most: int | None = None) -> None:
        self.url = url.rstrip("/")
        self.cache = cache
        self.most = most
        self._ahead: dict[str, Future[Path]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ahead": {}, "_threads": None}

    def _after_fork(self) -> None:
        """Threads stay behind in the process that a loader's process was forked from."""
        if self._process != os.getpid():
            self._ahead, self._threads, self._process = {}, None, os.getpid()

    def path(self, entry: ShardEntry) -> Path:
        """The shard's file here, fetched and compared with its SHA-256 if it was not here.

        Raises:
            InputError: it can't be fetched or kept, or is not what the index says.
        """
        self._after_fork()
        waiting = self._ahead.pop(entry.sha256, None)
        if waiting is not None:
            waiting.result()
        return self._fetch(entry)

    def ahead(self, entries: Sequence[ShardEntry]) -> None:
        """Begin to fetch shards that will be asked for; errors come when they are."""
        self._after_fork()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, thread_name_prefix="fetch")
        for entry in entries:
            if entry.sha256 not in self._ahead:
                self._ahead[entry.sha256] = self._threads.submit(self._fetch, entry)

    def _fetch(self, entry: ShardEntry) -> Path:
        path = self.cache / f"{entry.sha256}.safetensors"
        if _touched(path):
            return path
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with FileLock(self.cache / f".{entry.sha256[:16]}.lock"):
                if not _touched(path):
                    self._make_room(entry.bytes)
                    url = f"{self.url}/{entry.file}"
                    _tried(url, lambda: self._copy(url, entry, path))
        except OSError as error:
            raise InputError(
                f"{path}: {write_failure(error)}, or lower data.cache_gb, or set data.cache to "
                "another folder"
            ) from error
        return path

    def _copy(self, url: str, entry: ShardEntry, path: Path) -> None:
        digest = hashlib.sha256()
        part = new_file(self.cache, ".part.")
        try:
            with part.open("wb") as out, _opened(url) as source:
                while piece := source.read(_PIECE):
                    digest.update(piece)
                    _write(out, piece)
            if digest.hexdigest() != entry.sha256:
                raise InputError(
                    f"{url}: its SHA-256 is not the index's, a broken shard; upload it again from "
                    "where the pack was made"
                )
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        if self.most is None:
            return
        with FileLock(self.cache / ".room.lock"):
            kept: list[tuple[float, int, Path]] = []
            for path in self.cache.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    if path.suffix == ".safetensors":
                        kept.append((status.st_mtime, status.st_size, path))
                    elif path.name.startswith(".part.") and (
                        time.time() - status.st_mtime > _ABANDONED
                    ):
                        path.unlink()
            total = sum(size for _, size, _ in kept) + needed
            for _, size, path in sorted(kept):
                if total <= self.most:
                    break
                # A process that has it open reads on.
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                total -= size


class _WriteError(Exception):
    """The cache, not the source, failed."""

    def __init__(self, reason: OSError) -> None:
        self.reason = reason


def _write(out: Any, piece: bytes) -> None:
    try:
        out.write(piece)
        out.flush()
    except OSError as error:
        raise _WriteError(error) from error


def _touched(path: Path) -> bool:
    """Whether the file is there; notes that it was used."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _opened(url: str) -> Any:
    import fsspec

    try:
        return fsspec.open(url, "rb")
    except ImportError as error:
        raise InputError(
            f"{url}: {url.partition('://')[0]} needs a package that is not installed "
            f"({error}); install it with pip"
        ) from error
    except ValueError as error:
        raise InputError(f"{url}: no address that fsspec can open ({error})") from error


def _tried(url: str, fetch: Callable[[], Found]) -> Found:
    """`fetch`, again after a moment where the connection failed."""
    for attempt in range(_TRIES):
        try:
            return fetch()
        except _WriteError as error:
            raise error.reason from None
        except InputError:
            raise
        except FileNotFoundError as error:
            raise InputError(
                f"{url}: not there, so that this is no whole pack; check the address, or upload "
                "the pack again"
            ) from error
        except Exception as error:
            # Each kind of store has its own errors.
            if attempt == _TRIES - 1:
                raise InputError(
                    f"{url}: can't be fetched ({type(error).__name__}: {error}); check the address "
                    "and the connection, and go on with --ckpt_path last"
                ) from error
            time.sleep(2**attempt)
    raise AssertionError("unreachable")
