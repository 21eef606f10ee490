"""`ssl-faces runs`: which runs there are, in which state, and their best figures so far."""

from __future__ import annotations

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
from ssl_faces.common.run_record import RUN_FILE, read_run, state_of
from ssl_faces.training.logged import Curve, read_logged

RECORDS_FILE = "records.jsonl"

# Figures of the online probe, by the beginnings of their names: title in the table, unit, and
# whether more is better.
_ONLINE = (
    ("expression_knn", "expression kNN", " %", True),
    ("expression_linear", "expression linear", " %", True),
    ("yaw_mae", "yaw", "°", False),
)


@dataclass(frozen=True)
class FoundRun:
    """A run, or a plan of many: a job, a comparison, a sweep, a suite or claims."""

    folder: Path
    kind: str  # `run`, or the command of the plan
    method: str  # its name; empty for a plan
    state: str  # `running`, `finished`, `stopped` or `failed`
    reason: str  # why it failed, or what stopped it
    step: int | None  # the last known one; None before the first
    # The online probe's best figures over all steps and feature spaces, by name
    online: dict[str, float] = field(default_factory=dict)
    # Of each task the first metric's record of the feature space that is best on the validation
    # split (if none is chosen there, of the task's own code), as `linear-probe` wrote it
    records: list[dict[str, Any]] = field(default_factory=list)
    steps: tuple[int, int] | None = None  # of a plan, how many are done and how many there are

    @property
    def progress(self) -> str:
        """As the table shows it."""
        if self.steps is not None:
            return f"{self.steps[0]} of {self.steps[1]}"
        return "-" if self.step is None else f"{self.step:,}"


def find_runs(folders: Sequence[Path]) -> list[FoundRun]:
    """All runs within these folders, in the order of their names. Raises InputError: there is no
    such folder."""
    runs: dict[Path, FoundRun] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give one that holds runs")
        for place in _with_runs(folder):
            run = _read(place)
            if run is not None:
                runs.setdefault(place, run)
    return list(runs.values())


def _with_runs(folder: Path) -> Iterator[Path]:
    for place, names, files in os.walk(folder):
        # Not in folders that have thousands of files of one run.
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
    logged = read_logged(folder)
    steps = [step for curve in logged.values() for step in curve]
    if isinstance(session.get("step"), int):
        steps.append(session["step"])
    reason = str(session.get("said", "")) if state in ("failed", "stopped") else ""
    method = str(about.get("method", "")).rpartition(".")[2]
    records = _best_records(folder / "probe" / RECORDS_FILE) if kind == "job" else []
    return FoundRun(
        *(folder, kind, method, state, reason, max(steps, default=None)),
        *(_best_online(logged), records, _count_done(about.get("steps"))),
    )


def _count_done(steps: Any) -> tuple[int, int] | None:
    try:
        states = [step["state"] for step in steps.values()]
    except (AttributeError, KeyError, TypeError):
        return None
    return states.count("done"), len(states)


def _best_online(logged: Mapping[str, Curve]) -> dict[str, float]:
    best: dict[str, float] = {}
    for name, curve in logged.items():
        for prefix, _, _, up in _ONLINE:
            if name.startswith(f"online/{prefix}/"):
                values = [*curve.values(), *([best[prefix]] if prefix in best else [])]
                best[prefix] = max(values) if up else min(values)
    return best


def _best_records(path: Path) -> list[dict[str, Any]]:
    """One record of the trained encoder for each task on each set; tests choose nothing."""
    try:
        lines = regular(path).read_text().splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
        chosen: dict[tuple[str, str], dict[str, Any]] = {}
        for record in records:
            if not _is_of_the_encoder(record):
                continue
            key = str(record["task"]), str(record["data_set"])
            now = chosen.get(key)
            # The first metric and its probe represent a task.
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
    """By the validation split; if nothing is chosen there, the code of the task."""
    return _validation(record), record["feature_space"] == record["task"]


def _validation(record: Mapping[str, Any]) -> float:
    """Score on the validation split, more being better."""
    scores = record.get("hyperparameters", {}).get("validation")
    values = list(scores.values()) if isinstance(scores, dict) else []
    if not values or not isinstance(values[0], int | float):
        return -math.inf
    return float(values[0]) if record.get("higher_is_better", True) else -float(values[0])


def run(argv: Sequence[str]) -> None:
    """Run `ssl-faces runs`; raises InputError if a folder doesn't exist."""
    parser = Parser(
        prog="ssl-faces runs",
        description="List runs, jobs and other plans with their state and best figures: online "
        "ones, which are for watching a run, and those of linear-probe if there are any.",
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="default: runs")
    folders = parser.parse_args(argv).folders or [Path("runs")]
    print(as_text(find_runs(folders)))


def as_text(runs: Sequence[FoundRun]) -> str:
    """A line for each run, under a heading."""
    if not runs:
        return "no runs"
    header = ["run", "kind", "state", "step", "best online", "linear probe (test)"]
    body = []
    for run in runs:
        online = (
            f"{title} {run.online[name]:.1f}{unit}"
            for name, title, unit, _ in _ONLINE
            if name in run.online
        )
        state = f"{run.state}: {run.reason}" if run.reason else run.state
        cells = [str(run.folder), run.method or run.kind, shorten(state, 58), run.progress]
        body.append([*cells, ", ".join(online) or "-", "; ".join(map(_text, run.records)) or "-"])
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [header, ["-" * width for width in widths], *body]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _text(record: Mapping[str, Any]) -> str:
    unit = {"degrees": "°", "%": " %"}.get(str(record["unit"]), f" {record['unit']}")
    return (
        f"{record['task']} {record['metric']} {record['value']:.2f}{unit} "
        f"[{record['low']:.2f}, {record['high']:.2f}] ({record['feature_space']})"
    )
