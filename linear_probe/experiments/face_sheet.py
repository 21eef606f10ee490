"""A sheet of rendered faces to name the expressions of, with the answers apart."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.metrics import confusion_matrix

from linear_probe.reports.text_tables import aligned_rows
from ssl_faces import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.data import EXPRESSIONS
from ssl_faces.data.tables import read_table, whole_number_in
from ssl_faces.rendered import Nuisances, RenderedFaces

CLEAR = 0.8
"""Least intensity of the expressions on a sheet."""

_COLUMNS = 7
_MOST_FACES = 1_000_000
_STRIP = 18  # height of the number above a face
_COUNT = 40  # pictures drawn from for each face shown


def write_reading_sheet(
    path: Path, size: int, seed: int, nuisances: Nuisances, each: int = 6
) -> tuple[Path, int]:
    """Write a sheet of numbered faces to `path` (.png), and its answers (`number`, `expression`)
    to a .csv of the same name.

    Faces of unseen people, each another one, in random order: `each` of every expression, at an
    intensity of `CLEAR` or more where it is not neutral.

    Returns:
        The answers' file, and the number of faces.

    Raises:
        InputError: another kind of picture, or a file can't be written.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"--sheet {path}: give a file that ends in .png")
    count = _COUNT * each * len(EXPRESSIONS)
    faces = RenderedFaces(count, count, "test", size, seed, nuisances)
    number = np.arange(len(faces))
    expression = faces.records.cast(number)[2]
    neutral = expression == EXPRESSIONS.index("neutral")
    clear = neutral | (faces.records.drawn(number).intensity.numpy() >= CLEAR)
    rng = np.random.default_rng(seed)
    order = rng.permutation(number[clear])
    chosen = np.concatenate([order[expression[order] == k][:each] for k in range(len(EXPRESSIONS))])
    chosen = rng.permutation(chosen)
    pictures = faces.render_batch(chosen).permute(0, 2, 3, 1).numpy()

    rows = -(-len(chosen) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * size, rows * (size + _STRIP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, picture in enumerate(pictures):
        left, top = i % _COLUMNS * size, i // _COLUMNS * (size + _STRIP)
        pen.text((left + 3, top), str(i + 1), "black", font)
        sheet.paste(Image.fromarray(picture), (left, top + _STRIP))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    replace_file(path, stream.getvalue())
    answers = path.with_suffix(".csv")
    lines = [f"{i + 1},{EXPRESSIONS[k]}" for i, k in enumerate(expression[chosen])]
    replace_file(answers, "\n".join(["number,expression", *lines, ""]).encode())
    return answers, len(chosen)


def agreement(answers: Path, reading: Path) -> str:
    """How a reading agrees with the answers, as text; both are tables `number`, `expression`.

    Raises:
        InputError: a table can't be read, or the reading leaves out a face or names no expression.
    """
    true, read = _table(answers), _table(reading)
    missing = sorted(set(true) - set(read))
    if missing:
        raise InputError(f"{reading} has no row for face {missing[0]}; answer every face")
    targets, told = [true[i] for i in true], [read[i] for i in true]
    right = sum(a == b for a, b in zip(targets, told, strict=True))
    matrix = confusion_matrix(targets, told, labels=list(EXPRESSIONS))
    body = [[name, *map(str, row)] for name, row in zip(EXPRESSIONS, matrix, strict=True)]
    wrong = [f"{i}: {read[i]}, is {true[i]}" for i in true if read[i] != true[i]]
    return "\n".join(
        [
            f"{right} of {len(true)} named as labelled ({100 * right / len(true):.1f} %); "
            "rows are the labels, columns the reading:",
            *aligned_rows(["", *EXPRESSIONS], body),
            *wrong,
        ]
    )


def _table(path: Path) -> dict[int, str]:
    found = {}
    for where, row in read_table(path, ("number", "expression")):
        name = row["expression"].lower()
        if name not in EXPRESSIONS:
            raise InputError(f"{where}: no expression {name!r}; use {', '.join(EXPRESSIONS)}")
        found[whole_number_in(row["number"], "number", where, 1, _MOST_FACES)] = name
    return found
