"""The same tables and curves to Weights & Biases, offline unless WANDB_MODE says otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linear_probe.records.collect import Replicates
from linear_probe.records.record import Record
from linear_probe.reports.tables import (
    Curve,
    curve_table,
    curves,
    figures_table,
    task_figures,
)
from linear_probe.reports.text_tables import Table
from ssl_faces import InputError
from ssl_faces.callbacks.wandb_logger import has_account, patient_settings, wandb_mode
from ssl_faces.common.errors import reason_of


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
    """Log the report's tables and curves as a W&B run; never asks for an account and never fails.

    Args:
        replicates: of the bootstrap, for intervals over seeds.
        folder: where W&B keeps its files, in `wandb/`.

    Returns:
        A sentence that says where it was logged, or why not.
    """
    drawn = curves(records, replicates)
    tables = [
        figures_table(figures, mark_best=False) for figures in task_figures(records, replicates)
    ]
    return log_tables([*tables, *map(curve_table, drawn)], project, run, folder, drawn)


def log_tables(
    tables: Sequence[Table],
    project: str,
    run: str | None = None,
    folder: str | Path = ".",
    plots: Sequence[Curve] = (),
) -> str:
    """Log tables, such as that of the claims, and plots of curves in the same way."""
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
    content = {f"tables/{table.title}": _table(wandb, table) for table in tables}
    content |= {f"plots/{curve.title}, {curve.split}": _plot(wandb, curve) for curve in plots}
    # If the server can't be reached, once more offline.
    for attempt in dict.fromkeys((mode, "offline")):
        try:
            return _log(wandb, content, project, run, Path(folder), attempt) + problem
        except Exception as error:  # W&B's own errors are many, and none is worth a report
            problem = f" ({attempt} failed: {reason_of(error)})"
    return f"W&B: nothing logged{problem}"


def _log(
    wandb: Any, content: dict[str, Any], project: str, name: str | None, folder: Path, mode: str
) -> str:
    os.environ.setdefault("WANDB_SILENT", "true")
    settings = patient_settings(silent=True, console="off")
    with wandb.init(
        project=project, name=name, dir=folder, mode=mode, job_type="report", settings=settings
    ) as run:
        run.log(content)
        place = run.url if mode != "offline" else run.settings.sync_dir
    return f"W&B: {len(content)} tables and plots logged to {place}"


def _table(wandb: Any, table: Table) -> Any:
    """Columns of figures as numbers, each with a column of its intervals behind it."""
    columns: dict[str, list[Any]] = {}
    for head, numeric, cells in zip(
        table.header, table.numeric, zip(*table.cells, strict=True), strict=True
    ):
        columns[head] = [cell.value if numeric else str(cell) for cell in cells]
        if numeric and any(cell.parts[1] for cell in cells):
            columns[f"{head}, interval"] = [cell.parts[1] for cell in cells]
    rows = zip(*columns.values(), strict=True)
    return wandb.Table(columns=list(columns), data=[list(row) for row in rows])


def _plot(wandb: Any, curve: Curve) -> Any:
    return wandb.plot.line_series(
        [list(row.cells) for row in curve.rows],
        [[cell.value for cell in row.cells.values()] for row in curve.rows],
        keys=[row.name for row in curve.rows],
        title=f"{curve.title}, {curve.split}",
        xname=curve.heading,
    )
