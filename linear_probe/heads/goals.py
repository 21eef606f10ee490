"""The meaning of a head's outputs, saved beside it, and the loss that they are trained with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces import InputError
from ssl_faces.common.files import regular, replace_file

MEANING_FILE = "outputs.json"
AGES = 101
"""Age is one of the classes 0, 1 … 100 years; older people are in the last."""


class Goal:
    """What a head predicts: values and classes, in columns of its outputs and of the labels.

    Labels are float [B, predictions]: a class's number, -1 if unknown, or a value.

    Args:
        sizes: number of outputs by name, in order; 1 is a value, more are classes.

    Attributes:
        outputs: their number, all together.
        counts: by name, how often each class is in the training part, int64 [classes], for losses
            that weigh rare classes more; set before training.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = dict(sizes)
        self.outputs = sum(self.sizes.values())
        self.counts: dict[str, Tensor] = {}

    def parts(self, outputs: Tensor) -> dict[str, Tensor]:
        """The columns of outputs [..., outputs] by name, [..., size]."""
        return dict(zip(self.sizes, outputs.split([*self.sizes.values()], dim=-1), strict=True))

    def losses(self, outputs: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        """Terms whose sum is minimised; `balanced` weighs each class by the largest class's count
        over its own (Savchenko 2021)."""
        losses = {}
        for (name, part), known in zip(self.parts(outputs).items(), labels.unbind(1), strict=True):
            if self.sizes[name] == 1:
                losses[name] = F.mse_loss(part[:, 0].float(), known.float())
            elif (known >= 0).any():
                weight = None
                if balanced:
                    counts = self.counts[name].to(outputs.device).clamp(min=1)
                    weight = counts.max() / counts
                losses[name] = F.cross_entropy(part, known.long(), weight, ignore_index=-1)
        return losses

    def average(self, outputs: Tensor) -> Tensor:
        """The mean [B, outputs] of outputs [views, B, outputs] for several views of each image.
        Values are averaged; for classes it is the logarithm of the mean probability."""
        parts = self.parts(outputs.float()).values()
        # In logarithms, which stay finite where the probabilities are too small for a float.
        means = [
            p.mean(0) if p.shape[2] == 1 else p.log_softmax(2).logsumexp(0) - math.log(len(p))
            for p in parts
        ]
        return torch.cat(means, 1)

    def count(self, labels: Tensor) -> None:
        """Set `counts` from the labels of the training part."""
        for (name, size), column in zip(self.sizes.items(), labels.unbind(1), strict=True):
            if size > 1:
                self.counts[name] = column[column >= 0].long().bincount(minlength=size)


class Categories(Goal):
    """One class of `count`; labels are int64 [B]."""

    def __init__(self, count: int) -> None:
        super().__init__({"classes": count})
        if count < 2:
            raise InputError(f"{count} class to learn; give data with two at least")

    def losses(self, outputs: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        return {"cross_entropy": super().losses(outputs, labels[:, None], balanced)["classes"]}

    def count(self, labels: Tensor) -> None:
        super().count(labels[:, None])


def expected_age(logits: Tensor) -> Tensor:
    """Years [B], the mean under the probabilities of logits [B, `AGES`] (Rothe et al., 2015)."""
    years = torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
    return logits.float().softmax(1) @ years


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
    """The meaning saved in a head's folder. Raises InputError: the file is missing or broken."""
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
