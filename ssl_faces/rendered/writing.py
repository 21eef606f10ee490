"""Rendered sets as files: pictures, tables of labels, counterparts, and contact sheets."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ssl_faces.common.csv_files import CsvWriter
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import keep_mode, new_file, regular, replace_file, write_failure
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, in_test_share
from ssl_faces.rendered.face_set import RenderedFaces
from ssl_faces.rendered.factors import ACTION_UNITS
from ssl_faces.rendered.labels import GROUPS
from ssl_faces.rendered.records import RECIPE

SETTINGS = "set.json"
TABLES = ("labels.csv", "train.csv", "test.csv")
_PIECE = 256  # faces rendered at once


def write_set(out: str | Path, faces: RenderedFaces, bar: bool = False) -> int:
    """Write a rendered set to a folder, or what is missing of it.

    The folder holds `images/PERSON/NUMBER.png`, `counterparts/KIND/PERSON/NUMBER.png` for the
    set's kinds, `labels.csv` and its rows by part, `train.csv` and `test.csv` (tables as
    `linear-probe --train-csv` and `--test-csv` read them), and `set.json`, what the set was made
    of. Every file appears whole; tables come last. What is there is kept, so that an interrupted
    run goes on.

    Returns:
        How many pictures were written now.

    Raises:
        InputError: the folder holds something else, or can't be written.
    """
    folder = Path(out).expanduser()
    _claim(folder, faces)
    written = 0
    with ExitStack() as stack:
        tables = {name: stack.enter_context(_Table(folder / name, faces)) for name in TABLES}
        progress = stack.enter_context(
            tqdm(total=len(faces), desc="rendering", unit="faces", disable=not bar)
        )
        for start in range(0, len(faces), _PIECE):
            piece = range(start, min(start + _PIECE, len(faces)))
            records = faces.records[start : piece.stop]
            written += _write_pictures(folder, faces, piece, records)
            for record in records:
                part = "test.csv" if in_test_share(str(record.person)) else "train.csv"
                for name in ("labels.csv", part):
                    tables[name].add(record)
            progress.update(len(piece))
        for table in tables.values():
            table.finish()
    return written


def write_sheet(path: str | Path, faces: RenderedFaces, columns: int = 8) -> None:
    """Write the set's faces, row by row, as one picture; the name's ending says which kind.

    Raises:
        InputError: an ending of no known kind, or the file can't be written.
    """
    file = Path(path).expanduser()
    kind = Image.registered_extensions().get(file.suffix.lower())
    if kind not in ("PNG", "JPEG", "WEBP"):
        raise InputError(f"{file}: a sheet is a .png, .jpg or .webp; rename it so")
    pictures = faces.render_batch(range(len(faces)))
    rows = -(-len(pictures) // columns)
    size = faces.size
    sheet = pictures.new_zeros((3, rows * size, columns * size))
    for i, picture in enumerate(pictures):
        top, left = i // columns * size, i % columns * size
        sheet[:, top : top + size, left : left + size] = picture
    replace_file(file, _encoded(sheet, str(kind)))


def _claim(folder: Path, faces: RenderedFaces) -> None:
    """Say in the folder what it is for, or check that it is for this set."""
    settings = {
        "recipe": RECIPE,
        "count": len(faces),
        "people": faces.records.people,
        "size": faces.size,
        "seed": faces.seed,
        "nuisances": faces.nuisances,
        "counterparts": list(faces.counterpart_kinds),
    }
    file = folder / SETTINGS
    try:
        if folder.is_dir() and not file.exists() and any(folder.iterdir()):
            raise InputError(
                f"{folder} holds something else than a rendered set; give an empty or new folder"
            )
        if file.exists():
            found = json.loads(regular(file).read_text())
            changed = [k for k, v in settings.items() if found.get(k) != v]
            if changed:
                was = ", ".join(f"{k} {found.get(k)} (now {settings[k]})" for k in changed)
                raise InputError(
                    f"{folder} holds a set of other settings: {was}; set them back, or give "
                    "another folder"
                )
            return
    except OSError as error:
        raise InputError(
            f"{folder}: can't be used ({error.strerror}); choose another folder"
        ) from error
    except (ValueError, AttributeError) as error:
        raise InputError(f"{file} is broken; delete {folder} or give another folder") from error
    replace_file(file, (json.dumps(settings, indent=2) + "\n").encode())


def _write_pictures(
    folder: Path, faces: RenderedFaces, piece: range, records: Sequence[FaceRecord]
) -> int:
    """Write the pictures of a piece that aren't there."""
    written = 0
    for kind in ("", *faces.counterpart_kinds):
        missing = [
            i
            for i, record in zip(piece, records, strict=True)
            if not (folder / _picture(record, kind)).exists()
        ]
        if not missing:
            continue
        if kind:
            pictures = faces.counterparts(missing, [kind])[kind]
        else:
            pictures = faces.render_batch(missing)
        for i, picture in zip(missing, pictures, strict=True):
            file = folder / _picture(records[i - piece.start], kind)
            replace_file(file, _encoded(picture, "PNG"), durable=False)
        written += len(missing)
    return written


def _picture(record: FaceRecord, kind: str = "") -> str:
    """Where a picture or its counterpart is, from the set's folder."""
    return f"counterparts/{kind}/{record.key}.png" if kind else f"images/{record.key}.png"


def _encoded(picture: Tensor, kind: str) -> bytes:
    stream = io.BytesIO()
    pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    Image.fromarray(pixels).save(stream, kind, **({"quality": 92} if kind != "PNG" else {}))
    return stream.getvalue()


class _Table:
    """A table of labels on its way: rows go to a temporary file, which `finish` renames."""

    def __init__(self, path: Path, faces: RenderedFaces) -> None:
        self.path, self.faces = path, faces

    def __enter__(self) -> _Table:
        try:
            self._temporary = new_file(self.path.parent, f".{self.path.name}.")
            self._file: IO[str] = self._temporary.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.path}: {write_failure(error)}") from error
        self._writer = CsvWriter(self._file)
        self._header: list[str] | None = None
        return self

    def add(self, record: FaceRecord) -> None:
        row = dict(_row(record, self.faces.counterpart_kinds))
        if self._header is None:
            self._header = list(row)
            self._writer.writerow(self._header)
        self._writer.writerow(row.values())

    def finish(self) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            keep_mode(self.path, self._temporary)
            if self._header is not None:  # a part may have nobody
                os.replace(self._temporary, self.path)
        except OSError as error:
            raise InputError(f"{self.path}: {write_failure(error)}") from error

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def _row(record: FaceRecord, kinds: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The columns of a table and their values for one face."""
    known = record.labels
    yield "image", _picture(record)
    yield "person", record.person
    yield "expression", EXPRESSIONS[known["expression"]]
    for name in ("intensity", "valence", "arousal"):
        yield name, f"{known[name]:.4f}"
    for name, angle in zip(("yaw", "pitch", "roll"), known["pose"].tolist(), strict=True):
        yield name, f"{angle:.4f}"
    yield "age", f"{known['age']:.1f}"
    for name, names in GROUPS.items():
        yield name, names[known[name]]
    yield "scale", f"{known['scale']:.4f}"
    lights = ("light_azimuth", "light_elevation", "light_ambient")
    for name, value in zip(lights, known["light"].tolist(), strict=True):
        yield name, f"{value:.4f}"
    for unit, value in zip(ACTION_UNITS, known["units"].tolist(), strict=True):
        yield f"AU{ACTION_UNITS[unit]}", f"{value:.4f}"
    for i, (x, y) in enumerate(known["landmarks"].tolist()):
        yield f"landmark{i}_x", f"{x:.4f}"
        yield f"landmark{i}_y", f"{y:.4f}"
    yield "visible", "".join("1" if seen else "0" for seen in known["visible"].tolist())
    for kind in kinds:
        yield kind, _picture(record, kind)
