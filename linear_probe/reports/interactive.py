"""Plots of a run's records as Plotly figures, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from linear_probe.records.collect import replicates_of
from linear_probe.records.measured import LABELS
from linear_probe.records.scores import Run, folder_of, found_in
from linear_probe.reports.evidence import Evidence, gather
from linear_probe.reports.tables import curves, main_curves, task_figures
from linear_probe.stats.breakdown import by_value, confusion
from ssl_faces.common.errors import InputError
from ssl_faces.training.curves import plotly_express

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def plot_labels(run: Run, task: str = "expression") -> Figure:
    """The first metric of a task by the share of the training labels (%), with 95 % intervals.

    Args:
        run: from `probe(…, label_shares=[1, 10, 100])`, or its folder.
        task: the task.

    Raises:
        InputError: the run has no such points, or Plotly is missing.
    """
    px = plotly_express()
    found = found_in(run)
    every = main_curves(curves((each.record for each in found), replicates_of(found)))
    of_task = [curve for curve in every if curve.task == task and curve.factor == LABELS]
    if not of_task:
        raise InputError(
            f"{folder_of(run)}: no {task} by labels; score with label_shares=[1, 10, 100]"
        )
    curve = of_task[0]
    metric = f"{curve.metric} {curve.unit}".strip()
    points = [
        {"encoder": row.name, curve.heading: level, metric: cell.value}
        | _ends(cell.value, *cell.interval)
        for row in curve.rows
        for level, cell in row.cells.items()
    ]
    ends = {"error_y": "above", "error_y_minus": "below"}
    axes = {"x": curve.heading, "y": metric, "color": "encoder"}
    return px.line(points, **axes, **ends, log_x=True, markers=True, title=curve.title)


def plot_confusion(run: Run, row: str | None = None, task: str = "expression") -> Figure:
    """A confusion matrix: shares of each true class (%, down) by predicted class (across).

    Args:
        run: from `probe`, or its folder.
        row: of the table, `ENCODER` or `ENCODER=SPACE`; None: the first.
        task: a task of classes.

    Raises:
        InputError: no such row or no predictions of classes, or Plotly is missing.
    """
    px = plotly_express()
    shown = _evidence(run, row, task, "classification")[0]
    counts = confusion(shown.predictions)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = shown.predictions.classes
    figure = px.imshow(
        pd.DataFrame(shares, names, names),
        zmin=0,
        zmax=100,
        text_auto=".0f",
        labels={"x": "predicted", "y": "true", "color": "%"},
        title=f"{task}: {shown.record.data_set}, {shown.name} (n {shown.record.n:,})",
    )
    figure.update_traces(
        customdata=counts,
        hovertemplate="true %{y}, predicted %{x}: %{customdata} images, %{z:.1f} %<extra></extra>",
    )
    return figure


def plot_pose_error(run: Run, row: str | None = None, width: float = 15.0) -> Figure:
    """The mean absolute error of yaw, pitch and roll by the true angle, both in degrees, with
    95 % intervals over images.

    Args:
        run: from `probe` with the task `pose`, or its folder.
        row: of the table, `ENCODER` or `ENCODER=SPACE`; None: all.
        width: of a bin of true angles, degrees, above 0.

    Raises:
        InputError: no such row or no predictions of poses, or Plotly is missing.
    """
    px = plotly_express()
    points = []
    for scored in _evidence(run, row, "pose", "regression"):
        angle = scored.record.metric.rpartition(" ")[2]
        for centre, part in by_value(scored.predictions, width):
            where = {"encoder": scored.name, "angle": angle, "true angle °": centre, "n": part.n}
            ends = _ends(part.value, part.low, part.high)
            points.append({**where, "mean abs. error °": part.value, **ends})
    return px.line(
        points,
        x="true angle °",
        y="mean abs. error °",
        color="encoder",
        facet_col="angle",
        error_y="above",
        error_y_minus="below",
        hover_data=["n"],
        markers=True,
    )


def _ends(value: float, low: float, high: float) -> dict[str, float]:
    """Lengths of an interval above and below its value."""
    return {"above": high - value, "below": value - low}


def _evidence(run: Run, row: str | None, task: str, kind: str) -> list[Evidence]:
    """The predictions of a task, of one row or of all.

    Raises:
        InputError: there are none.
    """
    found = [each for each in found_in(run) if each.record.task == task]
    evidence = [
        each
        for figures in task_figures(each.record for each in found)
        for each in gather(figures, found)[0]
        if each.predictions.kind == kind
    ]
    names = list(dict.fromkeys(each.record.row_name for each in evidence))
    if row is not None:
        evidence = [e for e in evidence if row in (e.record.encoder, e.record.row_name)]
    if not evidence:
        there = f"there are {', '.join(names)}" if names else "score that task first"
        raise InputError(f"{folder_of(run)}: no predictions of {task}, {row or 'any row'}; {there}")
    return evidence
