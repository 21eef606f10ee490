"""Fetching: shards of a remote pack to a cache on this machine, ahead of use, bounded in size."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import remove_leftovers, replace_file, write_failure

_TRIES = 3


def fetch_bytes(url: str, resume: str = ", and resume with --ckpt_path last") -> bytes:
    """A remote file; tried again after a moment where the connection fails. Raises InputError: it
    can't be fetched; `resume` says how to continue then."""
    import fsspec

    for attempt in range(_TRIES):
        try:
            with fsspec.open(url, "rb") as file:
                return bytes(file.read())
        except ImportError as error:
            raise InputError(
                f"{url}: {url.partition('://')[0]} needs a package that is not installed "
                f"({error}); install it with pip"
            ) from error
        except ValueError as error:
            raise InputError(f"{url}: no address that fsspec can open ({error})") from error
        except FileNotFoundError as error:
            raise InputError(
                f"{url}: not there, so that this is no whole pack; check the address, or upload "
                "the pack again"
            ) from error
        except Exception as error:  # each kind of store has its own errors
            if attempt == _TRIES - 1:
                raise InputError(
                    f"{url}: can't be fetched ({type(error).__name__}: {error}); check the address "
                    f"and the connection{resume}"
                ) from error
            time.sleep(2**attempt)
    raise AssertionError("unreachable")


class RemoteShards:
    """The shards of one remote pack, kept by their SHA-256 in a cache that processes share.

    Args:
        url: of the pack's folder, any that fsspec opens.
        cache: folder of fetched shards, of all packs.
        most: bytes that it may hold; the shards not used for longest go first. None: no bound.
    """

    def __init__(self, url: str, cache: Path, most: int | None = None) -> None:
        self.url, self.cache, self.most = url, cache, most
        self._ahead: dict[str, Future[Path]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ahead": {}, "_threads": None}

    def _after_fork(self) -> None:
        """Threads stay behind in the process that a loader's process was forked from."""
        if self._process != os.getpid():
            self._ahead, self._threads, self._process = {}, None, os.getpid()

    def path(self, file: str, sha256: str) -> Path:
        """A shard's file here, fetched and compared with its SHA-256 if it was not here. Raises
        InputError: it can't be fetched or kept, or is not what the index says."""
        self._after_fork()
        waiting = self._ahead.pop(sha256, None)
        if waiting is not None:
            waiting.result()
        return self._fetch(file, sha256)

    def ahead(self, shards: Sequence[tuple[str, str]]) -> None:
        """Begin to fetch shards (file, SHA-256) that are read next; `path` raises their errors."""
        self._after_fork()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, thread_name_prefix="fetch")
        for file, sha256 in shards:
            if sha256 not in self._ahead:
                self._ahead[sha256] = self._threads.submit(self._fetch, file, sha256)

    def _fetch(self, file: str, sha256: str) -> Path:
        path = self.cache / f"{sha256}.npy"
        if _touched(path):
            return path
        hint = "or lower data.cache_gb, or set data.cache to another folder"
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with FileLock(self.cache / f".{sha256[:16]}.lock"):
                if not _touched(path):
                    self._keep(f"{self.url}/{file}", sha256, path)
        except OSError as error:
            raise InputError(f"{path}: {write_failure(error)}, {hint}") from error
        except InputError as error:
            if isinstance(error.__cause__, OSError) and str(path) in str(error):
                raise InputError(f"{error}, {hint}") from error
            raise
        return path

    def _keep(self, url: str, sha256: str, path: Path) -> None:
        data = fetch_bytes(url)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise InputError(
                f"{url}: its SHA-256 is not the index's, a broken shard; upload it again from "
                "where the pack was made"
            )
        remove_leftovers(path)
        self._make_room(len(data))
        replace_file(path, data, durable=False)

    def _make_room(self, needed: int) -> None:
        if self.most is None:
            return
        with FileLock(self.cache / ".room.lock"):
            kept = []
            for path in self.cache.glob("*.npy"):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    kept.append((status.st_mtime, status.st_size, path))
            total = sum(size for _, size, _ in kept) + needed
            for _, size, path in sorted(kept):
                if total <= self.most:
                    break
                # A process that has mapped it reads on.
                path.unlink(missing_ok=True)
                total -= size


def _touched(path: Path) -> bool:
    """Whether the file is there; notes that it was used."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True
