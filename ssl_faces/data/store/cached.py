"""Packs of the cache: one for each face set, as it is now."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.store.index import FORMAT, INDEX
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.packs import Pack, default_cache_root


def pack(faces: FaceSet, size: int, cache: Path | None = None, workers: int = 4) -> Pack:
    """The pack of one face set in the cache, made first if there is none of it as it is now.

    Everything is packed, test images too: what is left out follows from the sets beside it.

    Raises:
        InputError: no image could be decoded, the cache can't be written, or the pack is broken.
    """
    cache = cache or default_cache_root()
    digest = hashlib.sha256(f"{FORMAT} {faces.name} {faces.part} {size}".encode())
    for index, record in enumerate(faces.records):
        digest.update(record.key.encode(errors="surrogateescape"))
        if isinstance(record.source, Path):
            # Another folder's image may have the same key, size and time.
            digest.update(os.fsencode(record.source.absolute()))
        digest.update(faces.version(index))
    folder = cache / f"{faces.name}-{digest.hexdigest()[:16]}"
    with suppress(InputError):  # packing mends broken shards, and reports the rest
        if (folder / INDEX).exists():
            existing = Pack(folder, cache)
            existing.verify()
            return existing
    try:
        pack_sets([faces], folder, size, workers=workers, wait=True, cache=cache)
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise InputError(f"{error}, or set SSL_FACES_CACHE to another folder") from error
        raise
    return Pack(folder, cache)
