"""The meaning of a head's outputs, saved beside it, so that it works without its training data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from linear_probe.heads.goals import AGES, Categories, Goal, Several, expected_age
from ssl_faces import InputError
from ssl_faces.common.files import regular, replace_file

MEANING_FILE = "outputs.json"


class Part(NamedTuple):
    """One prediction of a head: a class, years of age as the mean of `AGES` classes, or a value."""

    name: str
    classes: tuple[str, ...] = ()
    years: bool = False

    @property
    def size(self) -> int:
        """Its number of outputs."""
        return AGES if self.years else len(self.classes) or 1


@dataclass(frozen=True)
class Meaning:
    """What a head's outputs are.

    Attributes:
        parts: in the order of the outputs.
        several: whether the head's goal is `Several`, and not `Categories`.
    """

    parts: tuple[Part, ...]
    several: bool

    def goal(self) -> Goal:
        """The goal of the head."""
        if self.several:
            return Several({part.name: part.size for part in self.parts})
        return Categories(self.parts[0].size)

    def predicted(self, outputs: Tensor) -> dict[str, Tensor]:
        """Predictions of outputs [N, outputs] by the part's name: probabilities [N, K] or values
        [N, 1]."""
        predicted = {}
        sizes = [part.size for part in self.parts]
        for part, columns in zip(self.parts, outputs.split(sizes, dim=1), strict=True):
            if part.years:
                predicted[part.name] = expected_age(columns)[:, None]
            else:
                predicted[part.name] = columns.softmax(1) if part.classes else columns
        return predicted


def save_meaning(folder: Path, meaning: Meaning) -> None:
    """Write the file into a head's folder; InputError if it can't be written."""
    parts = [{**part._asdict(), "classes": list(part.classes)} for part in meaning.parts]
    text = json.dumps({"parts": parts, "several": meaning.several}, indent=2) + "\n"
    replace_file(folder / MEANING_FILE, text.encode())


def read_meaning(folder: Path) -> Meaning | None:
    """The meaning saved in a head's folder; None if there is none (an older version's head).

    Raises:
        InputError: the file is broken.
    """
    path = folder / MEANING_FILE
    if not path.exists():
        return None
    try:
        kept = json.loads(regular(path).read_text())
        parts = [
            Part(str(p["name"]), _names(p["classes"]), bool(p["years"])) for p in kept["parts"]
        ]
        if not parts:
            raise ValueError("no outputs")
        return Meaning(tuple(parts), bool(kept["several"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: can't be read ({error}); run the same `linear-probe head` again, which "
            "writes it anew"
        ) from error


def _names(classes: Sequence[object]) -> tuple[str, ...]:
    return tuple(map(str, classes))
