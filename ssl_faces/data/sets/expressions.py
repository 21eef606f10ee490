"""Expressions in folders' names and in sequences of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord
from ssl_faces.data.sets.folder import images_under, is_image_name, subfolders

APEX_FRAMES = 3
"""Frames at a sequence's end that show its expression; the first one is neutral."""

_SPELLINGS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
} | {name: name for name in EXPRESSIONS}


def expression_of(name: str) -> int | None:
    """Index into EXPRESSIONS of a name (`Angry`, `anger`, …); None if unknown."""
    spelling = _SPELLINGS.get(name.lower())
    return None if spelling is None else EXPRESSIONS.index(spelling)


def label_of_classes(names: Sequence[str]) -> tuple[str, tuple[str, ...], list[int]]:
    """The label of classes with these names, all its class names, and the number of each name:
    `expression` if every name is one, else `category`."""
    numbers = [number for name in names if (number := expression_of(name)) is not None]
    if len(numbers) < len(names):
        return "category", tuple(names), list(range(len(names)))
    return "expression", EXPRESSIONS, numbers


def expression_folder(folder: Path, title: str, what: str = "class") -> int:
    """`expression_of` a folder's name. Raises InputError, with the data set's `title`: the name is
    not an expression."""
    expression = expression_of(folder.name)
    if expression is None:
        raise InputError(
            f"{title}: unknown {what} folder {folder}; rename it to one of "
            f"{', '.join(EXPRESSIONS)}, or move it away"
        )
    return expression


def count_expressions(folder: Path | None) -> int:
    """How many folders in a folder are named as expressions."""
    if folder is None or not folder.is_dir():
        return 0
    return sum(expression_of(child.name) is not None for child in subfolders(folder))


def records_of_classes(side: Path, root: Path, title: str) -> Iterator[FaceRecord]:
    """The images of the class folders in `side`, with the label `expression` and keys relative to
    `root`. Raises InputError: a folder is not named as an expression."""
    for folder in subfolders(side):
        labels = {"expression": expression_folder(folder, title)}
        for name in images_under(folder):
            path = folder / name
            yield FaceRecord(path.relative_to(root).as_posix(), path, labels=dict(labels))


def frames_in(folder: Path) -> list[Path]:
    """The images directly in a folder, in order of name."""
    return sorted(path for path in folder.iterdir() if is_image_name(path.name))


def sequence_records(
    frames: list[Path], key: str, person: str, expression: int
) -> Iterator[FaceRecord]:
    """The first frame of a sequence as neutral and the last `APEX_FRAMES` as `expression`, none as
    both; `key` is of the sequence's folder."""
    apex = frames[max(1, len(frames) - APEX_FRAMES) :]
    shown = [(frame, EXPRESSIONS.index("neutral")) for frame in frames[:1]]
    for frame, label in [*shown, *((frame, expression) for frame in apex)]:
        yield FaceRecord(f"{key}/{frame.name}", frame, person, {"expression": label})
