"""What `ssl-faces compare` trained: `comparison.json`, which it leaves in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ssl_faces import InputError
from ssl_faces.common.files import regular
from ssl_faces.common.yaml_settings import Strict, sentence

COMPARISON_FILE = "comparison.json"


class TrainedRun(Strict):
    """One seed of a method, with all its stages.

    Attributes:
        encoder: the name in the records.
        steps: of each stage.
        pairs: seen in training.
        pflop: 10^15 multiplications and additions of training.
        two_image_share: share of the pairs that are two images of one person, as far as known.
        uses_identity_labels: pairs may be two images of a person.
    """

    seed: int
    encoder: str
    steps: list[int]
    pairs: int
    pflop: float
    seconds: float
    uses_identity_labels: bool
    hardware: str
    two_image_share: float | None = None


class Trained(Strict):
    """A method: its finished runs, the error of others, and spaces that are not chosen."""

    name: str
    runs: list[TrainedRun]
    error: str | None = None
    spaces: dict[str, str] = Field(default_factory=dict)


class Compared(Strict):
    """The content of `comparison.json`.

    Attributes:
        folder: of the runs, as their encoders' names begin.
        scores: folder of the records, within that of the file.
        tuning: what was tuned: `share` of the budget and number of `runs` of each method, `task`
            that chose, and the `chosen` arguments by method; empty if nothing was.
    """

    budget_pflop: float
    folder: str
    scores: str
    methods: list[Trained]
    tuning: dict[str, Any] = Field(default_factory=dict)


def read_compared(folder: Path) -> Compared:
    """What was trained in a folder of `ssl-faces compare`.

    Raises:
        InputError: no such folder, or its file can't be used.
    """
    path = folder / COMPARISON_FILE
    try:
        return Compared.model_validate_json(regular(path).read_bytes())
    except (OSError, ValidationError) as error:
        reason = sentence(error) if isinstance(error, ValidationError) else error
        raise InputError(
            f"{path}: can't be used ({reason}); give the --out of `ssl-faces compare`"
        ) from error
