"""Data modules that are set up, and the sets that they find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssl_faces.pairs.module import FaceData


def ready(root: Path | None = None, **kwargs: Any) -> FaceData:
    data = FaceData(root, **{"batch_size": 4, "size": 16, **kwargs})
    data.prepare_data()
    data.setup()
    return data


def keys_of(data: FaceData, name: str) -> set[str]:
    keys = [key for found, key, _ in data.trained_on() if found == name]
    assert len(keys) == len(set(keys))
    return set(keys)
