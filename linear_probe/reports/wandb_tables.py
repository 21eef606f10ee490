"""The same tables and curves to Weights & Biases, offline unless WANDB_MODE says otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from linear_probe.records.collect import Replicates
from linear_probe.records.record import Record
from linear_probe.reports.tables import curves, task_figures
from linear_probe.reports.text_tables import Table
from linear_probe.stats.over_seeds import Estimate
from ssl_faces import InputError
from ssl_faces.callbacks.wandb_logger import has_account, patient_settings, wandb_mode
from ssl_faces.common.errors import reason_of

Content = Callable[[Any], dict[str, Any]]
"""Makes what is logged, by name, with the module `wandb`."""


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
    records: Sequence[Record],
    project: str,
    run: str | None = None,
    folder: str | Path = ".",
    replicates: Replicates | None = None,
) -> str:
    """Log the tables and curves as a W&B run; never asks for an account and never fails.

    Args:
        replicates: of the bootstrap, for intervals over seeds.
        folder: where W&B keeps its files, in `wandb/`.

    Returns:
        A sentence that says where it was logged, or why not.
    """
    return _log_carefully(
        lambda wandb: _of_records(wandb, records, replicates), project, run, folder
    )


def log_table(table: Table, project: str, run: str | None = None, folder: str | Path = ".") -> str:
    """Log one table of text, such as that of the claims, in the same way."""

    def content(wandb: Any) -> dict[str, Any]:
        return {f"tables/{table.title}": wandb.Table(columns=table.header, data=table.body)}

    return _log_carefully(content, project, run, folder)


def _log_carefully(content: Content, project: str, run: str | None, folder: str | Path) -> str:
    try:
        import wandb
    except ImportError as error:
        return f"W&B: nothing logged ({reason_of(error)})"
    mode = wandb_mode()
    if mode == "disabled":
        return "W&B: nothing logged (WANDB_MODE=disabled)"
    problem = ""
    if mode != "offline" and not has_account():
        problem, mode = " (no W&B account is set up here, so nothing was uploaded)", "offline"
    # If the server can't be reached, once more offline.
    for attempt in dict.fromkeys((mode, "offline")):
        try:
            return _log(wandb, content, project, run, Path(folder), attempt) + problem
        except Exception as error:  # W&B's own errors are many, and none is worth a report
            problem = f" ({attempt} failed: {reason_of(error)})"
    return f"W&B: nothing logged{problem}"


def _log(
    wandb: Any,
    content: Content,
    project: str,
    name: str | None,
    folder: Path,
    mode: str,
) -> str:
    os.environ.setdefault("WANDB_SILENT", "true")
    settings = patient_settings(silent=True, console="off")
    with wandb.init(
        project=project, name=name, dir=folder, mode=mode, job_type="report", settings=settings
    ) as run:
        logged = content(wandb)
        run.log(logged)
        place = run.url if mode != "offline" else run.settings.sync_dir
    return f"W&B: {len(logged)} tables and plots logged to {place}"


def _of_records(
    wandb: Any, records: Sequence[Record], replicates: Replicates | None
) -> dict[str, Any]:
    logged: dict[str, Any] = {}
    for figures in task_figures(records, replicates):
        columns = ["encoder", "features", "probe", "seeds", "n"]
        for metric in figures.metrics:
            columns += [figures.heading(metric), f"{metric} low", f"{metric} high"]
        body = [
            [
                *(row.encoder, row.feature_space, row.probe),
                *(", ".join(map(str, row.seeds)), row.n),
                *(n for metric in figures.metrics for n in _numbers(row.cells.get(metric))),
            ]
            for row in figures.rows
        ]
        logged[f"tables/{figures.title}"] = wandb.Table(columns=columns, data=body)
    for curve in curves(records, replicates):
        columns = ["row", curve.heading, f"{curve.metric} {curve.unit}".strip(), "low", "high"]
        body = [
            [row.name, level, *_numbers(cell)]
            for row in curve.rows
            for level, cell in row.cells.items()
        ]
        title = f"{curve.title}, {curve.split}"
        logged[f"curves/{title}"] = wandb.Table(columns=columns, data=body)
        logged[f"plots/{title}"] = wandb.plot.line_series(
            [list(row.cells) for row in curve.rows],
            [[cell.value for cell in row.cells.values()] for row in curve.rows],
            keys=[row.name for row in curve.rows],
            title=title,
            xname=curve.heading,
        )
    return logged


def _numbers(cell: Estimate | None) -> list[float | None]:
    if cell is None:
        return [None] * 3
    return [cell.value, *(cell.interval if cell.has_interval else (None, None))]
