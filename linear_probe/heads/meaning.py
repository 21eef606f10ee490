"""The meaning of a head's outputs, saved beside it, so that it works without its training data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from linear_probe.heads.goals import AGES, Categories, Goal, expected_age
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
        several: whether labels have a column for each part; else they are the classes of one.
    """

    parts: tuple[Part, ...]
    several: bool

    def goal(self) -> Goal:
        """The goal of the head."""
        if self.several:
            return Goal({part.name: part.size for part in self.parts})
        return Categories(self.parts[0].size)

    def split(self, outputs: Tensor) -> list[tuple[Part, Tensor]]:
        """Each part and its columns [N, size] of outputs [N, outputs], or its years [N, 1]."""
        columns = outputs.split([part.size for part in self.parts], dim=1)
        return [
            (part, expected_age(of)[:, None] if part.years else of)
            for part, of in zip(self.parts, columns, strict=True)
        ]

    def predicted(self, outputs: Tensor) -> dict[str, Tensor]:
        """Predictions of outputs [N, outputs] by the part's name: probabilities [N, K] or values
        [N, 1]."""
        return {p.name: of.softmax(1) if p.classes else of for p, of in self.split(outputs)}


def save_meaning(folder: Path, meaning: Meaning) -> None:
    """Write the file into a head's folder; InputError if it can't be written."""
    parts = [part._asdict() for part in meaning.parts]
    text = json.dumps({"parts": parts, "several": meaning.several}, indent=2) + "\n"
    replace_file(folder / MEANING_FILE, text.encode())


def read_meaning(folder: Path) -> Meaning:
    """The meaning saved in a head's folder.

    Raises:
        InputError: the file is missing or broken.
    """
    path = folder / MEANING_FILE
    try:
        kept = json.loads(regular(path).read_text())
        parts = tuple(
            Part(str(p["name"]), tuple(map(str, p["classes"])), bool(p["years"]))
            for p in kept["parts"]
        )
        if not parts:
            raise ValueError("no outputs")
        return Meaning(parts, bool(kept["several"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: can't be read ({error}); run the same `linear-probe head` again to write it"
        ) from error
