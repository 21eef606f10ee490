"""Learning curves of training runs as a figure."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.common.errors import InputError
from ssl_faces.training.logged import read_logged

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


_NOTHING = (
    "nothing is logged there: a run logs every 20 steps, a shorter one with "
    "--trainer.log_every_n_steps 1"
)


def plot_training(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], metrics: str = "loss"
) -> Figure:
    """What runs of `pretrain` or `ssl-faces fit` logged, by training step: a Plotly figure.

    Args:
        runs: folders of runs, also of running ones.
        metrics: which metrics, a regular expression of the start of their names: `loss`,
            `online/expression` (accuracy in %), `online/yaw_mae` (degrees), `online/rank`.

    Raises:
        InputError: Plotly is missing, or a run has logged no such metric.
    """
    px = plotly_express()
    folders = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    rows: list[dict[str, object]] = []
    for folder in map(Path, folders):
        logged = read_logged(folder)
        curves = {name: curve for name, curve in logged.items() if re.match(metrics, name)}
        if not curves:
            there = f"it has logged {', '.join(logged)}" if logged else _NOTHING
            raise InputError(f"{folder}: no metric '{metrics}'; {there}")
        for name, curve in curves.items():
            where = {"run": str(folder), "metric": name}
            rows += [{**where, "step": step, "value": value} for step, value in curve.items()]
    return px.line(rows, x="step", y="value", color="metric", line_dash="run", markers=True)


def plotly_express() -> Any:
    """The module `plotly.express`; InputError if Plotly is missing."""
    try:
        import plotly.express as px
    except ImportError as error:
        raise InputError("figures need Plotly; pip install 'ssl-faces[dashboard]'") from error
    return px
