"""One file per source with what was read, so that no source is read twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ssl_faces.common.files import replace_file
from ssl_faces.data.faces import FaceRecord, FaceSet
from ssl_faces.data.pictures import BadImage
from ssl_faces.prepare.reading import FaceRow, SourceFaces


class Store:
    """A folder with one file for each source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:24]
        return self.folder / f"{digest}.safetensors"

    def write(self, key: str, version: str, faces: SourceFaces) -> None:
        """Write the faces of a source; InputError if the folder can't be written."""
        rows = [asdict(row) for row in faces.rows]
        about = {"key": key, "version": version, "kind": faces.kind, "rows": rows}
        about["sha256"] = _digest(about, faces.crops, faces.hashes)
        data = save({"crops": faces.crops, "hashes": faces.hashes}, {"about": json.dumps(about)})
        replace_file(self.path(key), data, durable=False)

    def read(self, key: str) -> tuple[str, SourceFaces] | None:
        """The version of a source and its faces without crops; None if it was not read, or its file
        is broken."""
        try:
            with safe_open(self.path(key), "numpy") as file:
                about = json.loads(file.metadata()["about"])
                rows = [FaceRow(**row) for row in about["rows"]]
                hashes, crops = file.get_tensor("hashes"), file.get_tensor("crops")
            if about["key"] != key or len(hashes) != len(crops):
                return None
            if about.pop("sha256") != _digest(about, crops, hashes):
                return None
            # A copy, as a view would keep all crops in memory.
            return about["version"], SourceFaces(about["kind"], rows, crops[:0].copy(), hashes)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def crop(self, key: str, at: int) -> np.ndarray:
        """One crop of a source, uint8 [S, S, 3]; BadImage if the file is missing or broken."""
        try:
            with safe_open(self.path(key), "numpy") as file:
                crop: np.ndarray = file.get_slice("crops")[at]
                return crop
        except (OSError, SafetensorError, IndexError) as error:
            raise BadImage(f"{self.path(key)} is missing or broken ({error})") from error

    def sources(self) -> list[str]:
        """The keys of all sources, sorted."""
        keys = []
        for path in self.folder.glob("*.safetensors"):
            try:
                with safe_open(path, "numpy") as file:
                    keys.append(str(json.loads(file.metadata()["about"])["key"]))
            except (OSError, SafetensorError, KeyError, TypeError, ValueError):
                continue
        return sorted(keys)

    def drop(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)


def _digest(about: dict[str, Any], crops: np.ndarray, hashes: np.ndarray) -> str:
    digest = hashlib.sha256(json.dumps(about).encode())
    digest.update(np.ascontiguousarray(crops).data)
    digest.update(np.ascontiguousarray(hashes).data)
    return digest.hexdigest()


class PreparedFaces(FaceSet):
    """The kept crops as a face set, from (key of the source, row). Clips count as people."""

    def __init__(self, name: str, store: Store, faces: Sequence[tuple[str, FaceRow]]) -> None:
        self._store = store
        self._places = [(key, row.at) for key, row in faces]
        records = [
            FaceRecord(row.key, store.path(key), person=row.clip or None) for key, row in faces
        ]
        super().__init__(name, "all", records)

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        return self._store.crop(*self._places[index])

    def content_hash(self, index: int) -> bytes:
        return hashlib.sha256(self._store.crop(*self._places[index]).tobytes()).digest()

    def version(self, index: int) -> bytes:
        try:
            return self.content_hash(index)
        except BadImage:
            return b"missing"
