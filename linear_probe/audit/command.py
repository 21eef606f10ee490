"""`linear-probe audit -c CONFIG --out DIR`: its settings, read by jsonargparse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from linear_probe.audit.run import AuditJob, run_audit
from linear_probe.heads.command import OneSentenceParser
from linear_probe.record import Record


def parser() -> ArgumentParser:
    """What reads the arguments of `linear-probe audit`."""
    found = OneSentenceParser(prog="linear-probe audit", description=__doc__)
    found.add_argument("-c", "--config", action="config", help="such as configs/audit/NAME.yaml")
    found.add_argument(
        "--out", type=Path, required=True, help="for audit.md, records.jsonl and the models"
    )
    found.add_class_arguments(AuditJob, as_group=False)
    return found


def run(arguments: Sequence[str]) -> tuple[list[Record], Path]:
    """Audit what the arguments say; all records of the folder, and the folder.

    Raises:
        InputError: as of `run_audit`, or a setting that there isn't.
    """
    reader = parser()
    given = reader.parse_args(list(arguments))
    ready: Any = reader.instantiate_classes(given)
    names = AuditJob.__dataclass_fields__
    return run_audit(AuditJob(**{name: ready[name] for name in names}), given.out), given.out
