"""Face sets' packs in the cache: what `data.root` trains from, made when first asked for."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.packs import INDEX, Pack, default_cache_root


def pack(faces: FaceSet, size: int, cache: Path | None = None, workers: int = 4) -> Pack:
    """The pack of one face set in the cache, made first if there is none of it as it is now.

    Everything is packed, test pictures too: what is left out follows from the sets beside it.

    Raises:
        InputError: no picture could be decoded, the cache can't be written, or the pack is broken.
    """
    cache = cache or default_cache_root()
    folder = cache / f"{faces.name}-{_fingerprint(faces, size)}"
    if (folder / INDEX).exists():
        try:
            existing = Pack(folder, cache)
            existing.verify()
            return existing
        except InputError:
            pass  # packing mends broken shards, and says what it can't mend
    try:
        pack_sets([faces], folder, size, workers=workers, wait=True, cache=cache)
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise InputError(f"{error}, or set SSL_FACES_CACHE to another folder") from error
        raise
    return Pack(folder, cache)


def _fingerprint(faces: FaceSet, size: int) -> str:
    digest = hashlib.sha256(f"{faces.name} {faces.part} {size}".encode())
    for index, record in enumerate(faces.records):
        digest.update(record.key.encode(errors="surrogateescape"))
        if isinstance(record.source, Path):
            # Another folder's picture may have the same key, size and time.
            digest.update(os.fsencode(record.source.absolute()))
        digest.update(faces.version(index))
    return digest.hexdigest()[:16]
