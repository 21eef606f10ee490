"""`ssl-faces runs`: which runs there are, in which state, and their best figures so far."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_faces.common.arguments import Parser
from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import regular
from ssl_faces.training.run_record import RUN_FILE, read_run, state_of

RECORDS_FILE = "records.jsonl"

# Of the online probe, by the first word of what it logs: as the table calls it, its unit, and
# whether more is better.
_ONLINE = (
    ("expression_knn", "expression kNN", " %", True),
    ("expression_linear", "expression linear", " %", True),
    ("yaw_mae", "yaw", "°", False),
)


@dataclass(frozen=True)
class FoundRun:
    """A run, or a job with its stages.

    Attributes:
        kind: `run` or `job`.
        method: its name; of a job none.
        state: `running`, `finished`, `stopped` or `failed`.
        said: why it failed, or what stopped it.
        step: the last one known of; None before the first.
        online: the online probe's best figures of all steps and feature spaces, by what they are.
        records: of each task the first metric's record of the feature space that is best on the
            validation split (where none is chosen there, of the task's own code), as `linear-probe`
            wrote it.
    """

    folder: Path
    kind: str
    method: str
    state: str
    said: str
    step: int | None
    online: dict[str, float] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)


def find_runs(folders: Sequence[Path]) -> list[FoundRun]:
    """All runs within these folders, in the order of their names.

    Raises:
        InputError: there is no such folder.
    """
    found: dict[Path, FoundRun] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give one that holds runs")
        for place in _with_runs(folder):
            one = _read(place)
            if one is not None:
                found.setdefault(place, one)
    return list(found.values())


def _with_runs(folder: Path) -> Iterator[Path]:
    for place, names, files in os.walk(folder):
        # Not in what a run itself keeps by the thousand.
        names[:] = sorted(n for n in names if n not in ("wandb", "features", "predictions", "csv"))
        if RUN_FILE in files:
            yield Path(place)


def _read(folder: Path) -> FoundRun | None:
    about = read_run(folder)
    state = state_of(folder)
    if about is None or state is None:
        return None
    kind = str(about.get("kind", "run"))
    session = about["sessions"][-1]
    step, online = _progress(folder)
    known = session.get("step")
    if isinstance(known, int):
        step = max(known, step or 0)
    said = str(session.get("said", "")) if state in ("failed", "stopped") else ""
    method = str(about.get("method", "")).rpartition(".")[2]
    records = _best_records(folder / "probe" / RECORDS_FILE) if kind == "job" else []
    return FoundRun(folder, kind, method, state, said, step, online, records)


def _progress(folder: Path) -> tuple[int | None, dict[str, float]]:
    """The last step logged, and the best online figures of the whole run."""
    last: int | None = None
    best: dict[str, float] = {}
    for path in sorted((folder / "csv").glob("version_*/metrics.csv")):
        try:
            with regular(path).open(newline="") as stream:
                for row in csv.DictReader(stream):
                    if row.get("step", "").isdecimal():
                        last = max(last or 0, int(row["step"]))
                    _keep_best(best, row)
        except (OSError, csv.Error, UnicodeDecodeError):
            continue  # of a run that is being written, or broken: the others still count
    return last, best


def _keep_best(best: dict[str, float], row: Mapping[str, str | None]) -> None:
    for name, text in row.items():
        if not text or not name or not name.startswith("online/"):
            continue
        try:
            value = float(text)
        except (TypeError, ValueError):
            continue
        for prefix, _, _, up in _ONLINE:
            if name.split("/")[1] == prefix and math.isfinite(value):
                before = best.get(prefix, value)
                best[prefix] = max(before, value) if up else min(before, value)


def _best_records(path: Path) -> list[dict[str, Any]]:
    """Of each task on each set, one record of the trained encoder; tests choose nothing."""
    try:
        lines = regular(path).read_text().splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
        chosen: dict[tuple[str, str], dict[str, Any]] = {}
        for record in records:
            if not _is_of_the_encoder(record):
                continue
            key = str(record["task"]), str(record["data_set"])
            now = chosen.get(key)
            # The first metric and its probe are what a task is told by.
            if now is None or (
                (record["metric"], record["probe"]) == (now["metric"], now["probe"])
                and _preference(record) > _preference(now)
            ):
                chosen[key] = record
        return list(chosen.values())
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _is_of_the_encoder(record: Mapping[str, Any]) -> bool:
    name = str(record["encoder"])
    return bool(record.get("fingerprint")) and os.sep in name and ", untrained" not in name


def _preference(record: Mapping[str, Any]) -> tuple[float, bool]:
    """By the validation split, and where nothing is chosen there for the code of the task."""
    return _validation(record), record["feature_space"] == record["task"]


def _validation(record: Mapping[str, Any]) -> float:
    """What the probe reached on the validation split, more being better."""
    found = record.get("hyperparameters", {}).get("validation")
    values = list(found.values()) if isinstance(found, dict) else []
    if not values or not isinstance(values[0], int | float):
        return -math.inf
    return float(values[0]) if record.get("higher_is_better", True) else -float(values[0])


def run(argv: Sequence[str]) -> None:
    """Run `ssl-faces runs` with these arguments.

    Raises:
        InputError: a folder that there isn't.
    """
    parser = Parser(
        prog="ssl-faces runs",
        description="List runs and jobs with their state and best figures: online ones, which are "
        "for watching a run, and those of linear-probe where there are.",
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="default: runs")
    folders = parser.parse_args(argv).folders or [Path("runs")]
    print(as_text(find_runs(folders)))


def as_text(found: Sequence[FoundRun]) -> str:
    """A line for each run, under a heading."""
    if not found:
        return "no runs"
    header = ["run", "kind", "state", "step", "best online", "linear probe (test)"]
    body = []
    for one in found:
        state = f"{one.state}: {one.said}" if one.said else one.state
        body.append(
            [
                str(one.folder),
                one.method or one.kind,
                shorten(state, 58),
                "-" if one.step is None else f"{one.step:,}",
                ", ".join(
                    f"{title} {one.online[name]:.1f}{unit}"
                    for name, title, unit, _ in _ONLINE
                    if name in one.online
                )
                or "-",
                "; ".join(_told(record) for record in one.records) or "-",
            ]
        )
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [header, ["-" * width for width in widths], *body]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _told(record: Mapping[str, Any]) -> str:
    unit = {"degrees": "°", "%": " %"}.get(str(record["unit"]), f" {record['unit']}")
    return (
        f"{record['task']} {record['metric']} {record['value']:.2f}{unit} "
        f"[{record['low']:.2f}, {record['high']:.2f}] ({record['feature_space']})"
    )
