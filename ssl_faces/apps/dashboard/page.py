"""The dashboard as one HTML page that needs no network: Plotly and images are inside it."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ssl_faces.apps.dashboard.gather import GROUPS, Gathered, Run, group_of, short, varied
from ssl_faces.apps.dashboard.importance import importances
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular
from ssl_faces.common.page_style import asset, base_css, json_in_script, rendered

MOST_POINTS = 600
"""Of a curve; longer curves are thinned, and keep the last point."""

MOST_IMAGES = 400
"""Of all runs together: each takes about 40 kB."""

WIDEST = 720  # pixels of a panel

_PACKAGE = "ssl_faces.apps.dashboard"


def page(gathered: Gathered, most_panels: int = 12, title: str = "Training runs") -> str:
    """The page.

    Args:
        most_panels: images of a run, evenly spread over its steps.

    Raises:
        InputError: Plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise InputError(
            'a dashboard needs Plotly, which is not installed; pip install "ssl-faces[dashboard]"'
        ) from error
    problems = list(gathered.problems)
    data = _data(gathered, most_panels, problems)
    weighed = []
    for sweep in gathered.sweeps:
        shares, why = importances(sweep)
        weighed.append({"sweep": sweep.name, "metric": sweep.metric, "shares": shares, "why": why})
    data["importances"] = weighed
    trials = sum(len(sweep.notes) for sweep in gathered.sweeps)
    of_sweeps = f"; {trials} trials of {', '.join(sweep.name for sweep in gathered.sweeps)}"
    return rendered(
        _PACKAGE,
        "page.html",
        title=title,
        lead=f"{len(gathered.runs)} runs{of_sweeps if trials else ''}. Online figures are of "
        "held-out training faces, never of test faces.",
        css=base_css() + asset(_PACKAGE, "dashboard.css"),
        plotly=get_plotlyjs(),
        js=asset(_PACKAGE, "dashboard.js"),
        data=json_in_script(data),
        runs=data["runs"],
        methods=data["methods"],
        objective=data["objective"],
        groups=[group for group in GROUPS[:3] if data["metrics"][group]],
        weighed=weighed,
        tables=_probe_tables(gathered.probes),
        problems=problems,
        panels=any(run["panels"] for run in data["runs"]),
    )


def _data(gathered: Gathered, most_panels: int, problems: list[str]) -> dict[str, Any]:
    runs = sorted(gathered.runs, key=lambda run: run.name)
    settings = _settings(gathered, runs)
    images = max(2, min(most_panels, MOST_IMAGES // max(1, len(runs)))) if most_panels else 0
    names = gathered.figures
    return {
        "objective": gathered.objective,
        "methods": sorted({run.method for run in runs}),
        "metrics": {group: [n for n in names if group_of(n) == group] for group in GROUPS},
        "settings": [{"key": key, "name": short(key)} for key in settings],
        "runs": [
            {
                "name": run.name,
                "method": run.method,
                "state": run.trial.get("state", ""),
                "steps": max((step for curve in run.curves.values() for step in curve), default=0),
                "settings": {key: _plain(run.settings.get(key)) for key in settings},
                "curves": {name: _thinned(curve) for name, curve in run.curves.items()},
                "last": {name: list(curve.values())[-1] for name, curve in run.curves.items()},
                "panels": _images(run, images, problems),
            }
            for run in runs
        ],
    }


def _settings(gathered: Gathered, runs: Sequence[Run]) -> list[str]:
    """The axes: parameters of the sweeps, else settings that differ between the runs."""
    swept = {name: None for sweep in gathered.sweeps for name in sweep.parameters}
    if swept and all(run.trial for run in runs):
        return list(swept)
    return varied(runs) if len(runs) > 1 else []


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _thinned(curve: dict[int, float]) -> list[list[float]]:
    """Steps and values."""
    points = list(curve.items())
    every = math.ceil(len(points) / MOST_POINTS)
    kept = points[::every] if every > 1 else points
    if kept and kept[-1] != points[-1]:
        kept.append(points[-1])
    return [[step for step, _ in kept], [float(f"{value:.6g}") for _, value in kept]]


def _images(run: Run, most: int, problems: list[str]) -> list[dict[str, Any]]:
    """At most `most` images, the first and the last among them."""
    steps = sorted(run.panels)
    if most and len(steps) > most:
        steps = [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]
    shown = []
    for step in dict.fromkeys(steps if most else []):
        uri = _thumbnail(run.panels[step])
        if uri is None:
            problems.append(f"{run.panels[step]} can't be read, and is left out")
        else:
            shown.append({"step": step, "uri": uri})
    return shown


def _thumbnail(path: Path) -> str | None:
    try:
        with Image.open(regular(path)) as image:
            image.load()
            small = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small.thumbnail((WIDEST, 4 * WIDEST))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _probe_tables(probes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One table a task and data set; rows of a run carry its name."""
    tables: dict[tuple[str, str], dict[str, Any]] = {}
    for record in probes:
        if record.get("condition"):
            continue
        task, data_set = record["task"], record["data_set"]
        metric = f"{record['metric']} {record['unit']}".strip()
        empty = {"task": task, "data": data_set, "metrics": {}, "rows": {}}
        table = tables.setdefault((task, data_set), empty)
        table["metrics"][metric] = None
        row = table["rows"].setdefault((record["encoder"], record["feature_space"]), dict(record))
        interval = f"[{record['low']:.2f}, {record['high']:.2f}]"
        row.setdefault("cells", {})[metric] = {
            "value": f"{record['value']:.2f}",
            "interval": interval,
        }
    return list(tables.values())
