"""Scoring: from a frozen encoder to linear-probe figures with their 95 % intervals.

`probe` scores encoders, `table` makes a frame of the records, `compare` tests one row against
another, and the `plot_` functions draw them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linear_probe.api import Scores, compare, probe, table
    from linear_probe.experiments.probe import run_probes
    from linear_probe.records.record import Record, read_records, write_records
    from linear_probe.reports.interactive import plot_confusion, plot_labels, plot_pose_error
    from linear_probe.stats.paired import Difference

_HOMES = {
    **dict.fromkeys(("probe", "compare", "table", "Scores"), "api"),
    **dict.fromkeys(("Record", "read_records", "write_records"), "records.record"),
    **dict.fromkeys(("plot_confusion", "plot_labels", "plot_pose_error"), "reports.interactive"),
    "Difference": "stats.paired",
    "run_probes": "experiments.probe",
}

__all__ = [
    "Difference",
    "Record",
    "Scores",
    "compare",
    "plot_confusion",
    "plot_labels",
    "plot_pose_error",
    "probe",
    "read_records",
    "run_probes",
    "table",
    "write_records",
]


def __getattr__(name: str) -> Any:
    # torch is imported only when probes run, so that `--help` and `report` are quick.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"linear_probe.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'linear_probe' has no attribute '{name}'")
