"""Packing: a face set decoded once to one uint8 array on disk, memory-mapped from then on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ssl_faces.data.faces import FaceSet, Skipped
from ssl_faces.data.pictures import BadPicture
from ssl_faces.errors import InputError
from ssl_faces.files import replace_file, write_failure

_log = logging.getLogger(__name__)
_PIECE = 256  # pictures decoded at once
_FORMAT = 1  # part of the cache key: raise it when the pixels of a pack would change


def default_cache_root() -> Path:
    """Where packed faces are kept: `$SSL_FACES_CACHE`, else `~/.cache/ssl-faces/packed`."""
    given = os.environ.get("SSL_FACES_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "ssl-faces" / "packed"


@dataclass(frozen=True)
class PackedFaces:
    """One face set at one size.

    Attributes:
        images: uint8 [N, 3, size, size], memory-mapped.
        records: index in the face set of each of the N pictures (some may be skipped).
        hashes: SHA-256 (hex) of each picture's stored bytes.
        skipped: pictures that could not be decoded.
        path: the array's file.
    """

    images: np.ndarray
    records: np.ndarray
    hashes: list[str]
    skipped: list[Skipped]
    path: Path


def square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The centre square of uint8 [H, W, 3], resized to [3, size, size] with antialiasing."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    picture = Image.fromarray(pixels[top : top + side, left : left + side])
    if side != size:
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture).transpose(2, 0, 1)


def pack(faces: FaceSet, size: int, cache: Path | None = None, workers: int = 4) -> PackedFaces:
    """Decode every picture of `faces` to `size`, or open the pack made of them before.

    Non-square pictures lose their longer side's ends. Pictures that can't be decoded are skipped
    and listed. An interrupted or failed packing leaves nothing behind.

    Raises:
        InputError: no picture could be decoded, or the cache can't be written.
    """
    cache = cache or default_cache_root()
    path = cache / f"{faces.name}-{_fingerprint(faces, size)}.npy"
    if not path.with_suffix(".json").exists():
        _write(faces, size, path, workers)
    try:
        about = json.loads(path.with_suffix(".json").read_text())
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if len(images) != len(about["records"]):
            raise ValueError("array and list differ in length")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: a broken pack ({error}); delete it and its .json, and run again"
        ) from error
    return PackedFaces(
        images,
        np.asarray(about["records"], dtype=np.int64),
        about["hashes"],
        [Skipped(*item) for item in about["skipped"]],
        path,
    )


def _fingerprint(faces: FaceSet, size: int) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {faces.name} {faces.part} {size}".encode())
    for index, record in enumerate(faces.records):
        digest.update(record.key.encode(errors="surrogateescape"))
        if isinstance(record.source, Path):
            # Another folder's picture may have the same key, size and time.
            digest.update(os.fsencode(record.source.absolute()))
        digest.update(faces.version(index))
    return digest.hexdigest()[:16]


def _write(faces: FaceSet, size: int, path: Path, workers: int) -> None:
    records: list[int] = []
    hashes: list[str] = []
    skipped: list[Skipped] = []
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with (
            os.fdopen(handle, "wb") as file,
            tqdm(total=len(faces), desc=f"packing {faces.name}", unit="faces") as bar,
        ):
            _write_header(file, len(faces), size)
            # By pieces: all pictures at once might not fit in memory.
            for start in range(0, len(faces), _PIECE):
                piece = range(start, min(start + _PIECE, len(faces)))
                for index, picture in zip(
                    piece, faces.read_many(piece, at_least=size, workers=workers), strict=True
                ):
                    if isinstance(picture, BadPicture):
                        skipped.append(Skipped(faces.records[index].key, str(picture)))
                    else:
                        records.append(index)
                        hashes.append(faces.content_hash(index).hex())
                        file.write(square(picture, size).tobytes())
                bar.update(len(piece))
            file.seek(0)
            _write_header(file, len(records), size)
            file.flush()
            os.fsync(file.fileno())
        if not records:
            raise InputError(
                f"{faces.name}: none of its {len(faces)} pictures can be decoded "
                f"({skipped[0].key}: {skipped[0].reason}); check that they are whole"
            )
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise InputError(
            f"{path}: {write_failure(error)}, or set SSL_FACES_CACHE to another folder"
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
    # The list goes last: a pack with a list is whole.
    about = {"records": records, "hashes": hashes, "skipped": skipped}
    replace_file(path.with_suffix(".json"), json.dumps(about).encode())


def _write_header(file: object, count: int, size: int) -> None:
    np.lib.format.write_array_header_1_0(
        file,  # type: ignore[arg-type]
        {"descr": "|u1", "fortran_order": False, "shape": (count, 3, size, size)},
    )
