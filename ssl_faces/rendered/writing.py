"""Rendered sets as files: images, tables of labels, counterparts, and sheets."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ssl_faces.common.csv_files import CsvWriter
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular, replace_file, replacing
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, in_test_share
from ssl_faces.rendered.face_set import RenderedFaces
from ssl_faces.rendered.factors import ACTION_UNITS
from ssl_faces.rendered.labels import GROUPS
from ssl_faces.rendered.records import RECIPE

SETTINGS = "set.json"
_CHUNK = 256  # faces rendered at once


def write_set(out: str | Path, faces: RenderedFaces, bar: bool = False) -> int:
    """Write a rendered set to a folder, or its missing files.

    The folder holds `images/PERSON/NUMBER.png`, `counterparts/KIND/PERSON/NUMBER.png` for the set's
    kinds, `labels.csv` and its rows by part, `train.csv` and `test.csv` (tables for `linear-probe
    --train-csv` and `--test-csv`), and `set.json`, the settings. Every file appears whole, and
    tables last. Existing files are kept, so that an interrupted run resumes. Raises InputError: the
    folder holds something else, or can't be written.

    Returns:
        The number of images written now.
    """
    folder = Path(out).expanduser()
    _claim(folder, faces)
    kinds = faces.counterpart_kinds
    columns = [name for name, _ in _row(faces.records[0], kinds)]
    written = 0
    with ExitStack() as stack:
        names = {"labels.csv", *map(_part, faces.people)}
        tables = {name: stack.enter_context(_table(folder / name, columns)) for name in names}
        progress = stack.enter_context(
            tqdm(total=len(faces), desc="rendering", unit="faces", disable=not bar)
        )
        for start in range(0, len(faces), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(faces)))
            records = faces.records[start : chunk.stop]
            written += _write_pictures(folder, faces, chunk, records)
            for record in records:
                row = [value for _, value in _row(record, kinds)]
                for name in ("labels.csv", _part(str(record.person))):
                    tables[name].writerow(row)
            progress.update(len(chunk))
    return written


def _part(person: str) -> str:
    return "test.csv" if in_test_share(person) else "train.csv"


@contextmanager
def _table(path: Path, columns: Sequence[str]) -> Iterator[CsvWriter]:
    """A CSV table that appears whole at the end."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        writer.writerow(columns)
        yield writer
        file.flush()
        os.fsync(file.fileno())


def write_sheet(path: str | Path, faces: RenderedFaces, columns: int = 8) -> None:
    """Write the set's faces, row by row, as one image; the file's ending sets the format. Raises
    InputError: an unknown ending, or the file can't be written."""
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
    """Write the set's settings to the folder, or check that it has the same."""
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
            known = json.loads(regular(file).read_text())
            changed = [k for k, v in settings.items() if known.get(k) != v]
            if changed:
                changes = ", ".join(f"{k} {known.get(k)} (now {settings[k]})" for k in changed)
                raise InputError(
                    f"{folder} holds a set of other settings: {changes}; set them back, or give "
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
    folder: Path, faces: RenderedFaces, chunk: range, records: Sequence[FaceRecord]
) -> int:
    """Write the missing images of a chunk; returns their number."""
    written = 0
    for kind in ("", *faces.counterpart_kinds):
        missing = [
            i
            for i, record in zip(chunk, records, strict=True)
            if not (folder / _picture(record, kind)).exists()
        ]
        if not missing:
            continue
        if kind:
            pictures = faces.counterparts(missing, [kind])[kind]
        else:
            pictures = faces.render_batch(missing)
        for i, picture in zip(missing, pictures, strict=True):
            file = folder / _picture(records[i - chunk.start], kind)
            replace_file(file, _encoded(picture, "PNG"), durable=False)
        written += len(missing)
    return written


def _picture(record: FaceRecord, kind: str = "") -> str:
    """Path of an image or its counterpart in the set's folder."""
    return f"counterparts/{kind}/{record.key}.png" if kind else f"images/{record.key}.png"


def _encoded(picture: Tensor, kind: str) -> bytes:
    stream = io.BytesIO()
    pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    Image.fromarray(pixels).save(stream, kind, **({"quality": 92} if kind != "PNG" else {}))
    return stream.getvalue()


def _row(record: FaceRecord, kinds: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Columns of the table and their values for one face."""
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
