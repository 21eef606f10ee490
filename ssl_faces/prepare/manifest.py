"""The manifest: one row for each detected face and each source without a face."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ssl_faces.common.csv_files import csv_bytes
from ssl_faces.common.files import replace_file
from ssl_faces.data.pictures import png
from ssl_faces.prepare.reading import POINTS, FaceRow, SourceFaces
from ssl_faces.prepare.store import Store

NAME = "manifest.csv"
SHEET = "contact_sheet.png"
_BOX = ("left", "top", "right", "bottom")
COLUMNS = (
    *("source", "kind", "time_s", "frame", "face", "clip", "kept", "reason"),
    *_BOX,
    *(f"{point}_{axis}" for point in POINTS for axis in "xy"),
    *("score", "sharpness"),
)
_SIDE = 12  # faces along a side of the contact sheet


def write_manifest(out: Path, sources: Iterable[tuple[str, SourceFaces]]) -> None:
    """Write the manifest as CSV with `COLUMNS`."""
    rows = [_cells(key, faces.kind, row) for key, faces in sources for row in faces.rows]
    replace_file(out / NAME, csv_bytes([COLUMNS, *rows]))


def _cells(key: str, kind: str, row: FaceRow) -> list[object]:
    of_video = row.time >= 0
    cells: list[object] = [key, kind, row.time if of_video else "", row.frame if of_video else ""]
    cells += [row.key, row.clip, "yes" if row.box and not row.reason else "no", row.reason]
    if row.box is None or row.landmarks is None:
        return cells + [""] * (len(COLUMNS) - len(cells))
    return [*cells, *row.box, *np.ravel(row.landmarks).tolist(), row.score, row.sharpness]


def counted(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """Kinds of reasons, without details of a face or file, with their counts, most frequent
    first."""
    counts = Counter(re.split(r":|,| of | \(", reason, maxsplit=1)[0] for reason in reasons)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def write_sheet(out: Path, store: Store, faces: Sequence[tuple[str, FaceRow]]) -> None:
    """Write up to 144 faces, spread evenly over all, as one PNG."""
    import torch
    from torchvision.utils import make_grid

    step = max(1.0, len(faces) / _SIDE**2)
    chosen = [faces[int(i * step)] for i in range(min(len(faces), _SIDE**2))]
    crops = np.stack([store.crop(key, row.at) for key, row in chosen]).transpose(0, 3, 1, 2)
    grid = make_grid(torch.from_numpy(crops), nrow=_SIDE, pad_value=255)
    replace_file(out / SHEET, png(grid.permute(1, 2, 0).numpy()))
