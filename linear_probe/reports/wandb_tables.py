"""The same tables and curves to Weights & Biases, offline unless WANDB_MODE says otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linear_probe.record import Record
from linear_probe.tables import Cell, curves, tables
from ssl_faces import InputError

_SECONDS = 30  # to wait for the server


def parse_target(text: str) -> tuple[str, str | None]:
    """PROJECT or PROJECT/RUN as project and run.

    Raises:
        InputError: an empty name, or more than two.
    """
    names = text.split("/")
    if not 1 <= len(names) <= 2 or not all(name.strip() for name in names):
        raise InputError(f"--wandb '{text}': give PROJECT or PROJECT/RUN")
    return names[0], names[1] if len(names) == 2 else None


def log_to_wandb(
    records: Sequence[Record], project: str, run: str | None = None, folder: str | Path = "."
) -> str:
    """Log the tables and curves as a W&B run; never asks for an account and never fails.

    Args:
        folder: where W&B keeps its files, in `wandb/`.

    Returns:
        What became of it, in a sentence.
    """
    try:
        import wandb
    except ImportError as error:
        return f"W&B: nothing logged ({_line(error)})"
    mode = os.environ.get("WANDB_MODE", "offline")
    if mode == "disabled":
        return "W&B: nothing logged (WANDB_MODE=disabled)"
    said = ""
    if mode != "offline" and not _has_account(wandb):
        said, mode = " (no W&B account is set up here, so nothing was uploaded)", "offline"
    # Once more, offline, where the server can't be reached.
    for attempt in dict.fromkeys((mode, "offline")):
        try:
            return _log(wandb, records, project, run, Path(folder), attempt) + said
        except Exception as error:  # W&B's own errors are many, and none is worth a report
            said = f" ({attempt} failed: {_line(error)})"
    return f"W&B: nothing logged{said}"


def _has_account(wandb: Any) -> bool:
    try:
        return bool(os.environ.get("WANDB_API_KEY") or wandb.Api().api_key)
    except Exception:  # it complains in its own ways where there is none
        return False


def _log(
    wandb: Any,
    records: Sequence[Record],
    project: str,
    name: str | None,
    folder: Path,
    mode: str,
) -> str:
    os.environ.setdefault("WANDB_SILENT", "true")
    settings = wandb.Settings(init_timeout=_SECONDS, silent=True, console="off")
    with wandb.init(
        project=project, name=name, dir=folder, mode=mode, job_type="report", settings=settings
    ) as run:
        logged: dict[str, Any] = {}
        for table in tables(records):
            columns = ["encoder", "features", "probe", "seeds", "n"]
            for metric in table.metrics:
                columns += [table.headed(metric), f"{metric} low", f"{metric} high"]
            body = []
            for row in table.rows:
                cells: list[Any] = [row.encoder, row.feature_space, row.probe]
                cells += [", ".join(map(str, row.seeds)), row.n]
                for metric in table.metrics:
                    cells += _numbers(row.cells.get(metric))
                body.append(cells)
            logged[f"tables/{table.title}"] = wandb.Table(columns=columns, data=body)
        for curve in curves(records):
            columns = ["row", curve.headed, f"{curve.metric} {curve.unit}".strip(), "low", "high"]
            body = [
                [series.row.name, level, *_numbers(cell)]
                for series in curve.series
                for level, cell in series.points.items()
            ]
            title = f"{curve.title}, {curve.split}"
            logged[f"curves/{title}"] = wandb.Table(columns=columns, data=body)
            logged[f"plots/{title}"] = wandb.plot.line_series(
                [list(series.points) for series in curve.series],
                [[cell.value for cell in series.points.values()] for series in curve.series],
                keys=[series.row.name for series in curve.series],
                title=title,
                xname=curve.headed,
            )
        run.log(logged)
        place = run.url if mode != "offline" else run.settings.sync_dir
    return f"W&B: {len(logged)} tables and plots logged to {place}"


def _numbers(cell: Cell | None) -> list[float | None]:
    return [None] * 3 if cell is None else [cell.value, cell.low, cell.high]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
