"""`linear-probe head -c CONFIG --out DIR`: its settings, read by jsonargparse."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser

from linear_probe.heads.run import HeadJob, run_head
from linear_probe.record import Record
from ssl_faces import InputError


class OneSentenceParser(ArgumentParser):
    """Says what is wrong in one sentence instead of printing the whole usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
        text = re.sub(r"\s+", " ", " ".join(lines))
        raise InputError(f"configuration: {text[:600]}") from ex


def parser() -> ArgumentParser:
    """What reads the arguments of `linear-probe head`."""
    found = OneSentenceParser(prog="linear-probe head", description=__doc__)
    found.add_argument("-c", "--config", action="config", help="such as configs/head/NAME.yaml")
    found.add_argument("--out", type=Path, required=True, help="for records.jsonl and the runs")
    found.add_class_arguments(HeadJob, as_group=False)
    return found


def run(arguments: Sequence[str]) -> list[Record]:
    """Train and score what the arguments say.

    Raises:
        InputError: as of `run_head`, or a setting that there isn't.
    """
    reader = parser()
    given = reader.parse_args(list(arguments))
    names = HeadJob.__dataclass_fields__
    whole = yaml.safe_load(reader.dump(given))
    # What is not set is not there.
    plain = {name: whole.get(name) for name in names}
    ready: Any = reader.instantiate_classes(given)
    return run_head(HeadJob(**{name: ready[name] for name in names}), plain, given.out)
