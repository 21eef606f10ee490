"""A workspace of a W&B project, with panels for what the runs log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ssl_faces.apps.dashboard.gather import GROUPS, Gathered, group_of, short, varied
from ssl_faces.common.errors import InputError, reason_of

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

STEP = "trainer/global_step"
"""The training step in Lightning's logger."""

PANELS = "panels"
"""The images in `PanelWriter`."""


def workspace(gathered: Gathered, entity: str, project: str) -> Workspace:
    """The workspace; nothing is sent.

    Raises:
        InputError: wandb-workspaces is not installed, or the runs log nothing.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise InputError(
            "a workspace needs wandb-workspaces, which is not installed; pip install "
            '"ssl-faces[dashboard]"'
        ) from error
    names = gathered.figures
    if not names:
        raise InputError("the runs have logged nothing yet; give one that has")
    objective = gathered.objective

    def line(name: str, **more: Any) -> Any:
        return wr.LinePlot(title=name, x=STEP, y=[name], title_x="training step", **more)

    losses, probes, collapse, _ = (
        [name for name in names if group_of(name) == group] for group in GROUPS
    )
    columns = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key), display_name=key)
        for key in config_keys(gathered)
    ]
    figure = wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(objective))
    sections = {
        "Online probe (held-out training faces, never test)": [line(name) for name in probes],
        "Settings": [
            wr.ParallelCoordinatesPlot(title=objective, columns=[*columns, figure]),
            wr.ParameterImportancePlot(with_respect_to=objective),
        ],
        "Images": [wr.MediaBrowser(title=PANELS, media_keys=[PANELS], gallery_axis="step")],
        "Methods compared": [
            *(wr.BarPlot(title=name, metrics=[name]) for name in probes),
            wr.RunComparer(diff_only=True),
        ],
        "Losses": [line(name, smoothing_type="exponential") for name in losses],
        "Collapse": [line(name) for name in collapse],
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name="Faces",
        sections=[
            ws.Section(name=name, panels=panels, is_open=number < 4)
            for number, (name, panels) in enumerate(sections.items())
            if panels
        ],
    )


def save(gathered: Gathered, place: str) -> str:
    """Make the workspace in W&B; its address.

    Args:
        place: `ENTITY/PROJECT`.

    Raises:
        InputError: no such place, or W&B can't be reached.
    """
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", place):
        raise InputError(f"--wandb {place}: give ENTITY/PROJECT, as in the project's address")
    built = workspace(gathered, *place.split("/"))
    try:
        return str(built.save().url)
    except Exception as error:  # of the network, the account, the project …
        raise InputError(
            f"--wandb {place}: W&B did not take the workspace ({reason_of(error)}); check `wandb "
            "login` and the names"
        ) from error


def config_keys(gathered: Gathered) -> list[str]:
    """Names of the settings that vary, as W&B's config of the runs has them.

    That holds the arguments of the method's constructor; `wandb agent` adds a sweep's parameters
    by their own names.
    """
    if gathered.sweeps:
        names = gathered.sweeps[0].parameters
    else:
        names = varied(gathered.runs) if len(gathered.runs) > 1 else []
    logged = {key for run in gathered.runs for key in run.settings if key.startswith("model.")}
    short_names = {short(key) for key in logged}
    return [
        short(name) for name in names if name.startswith("model.") and short(name) in short_names
    ]
