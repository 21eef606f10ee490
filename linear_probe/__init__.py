"""Scoring: from a frozen encoder to linear-probe figures with their 95 % intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linear_probe.experiments.probe import run_probes
    from linear_probe.records.record import Record, read_records, write_records
    from linear_probe.reports.command import table

_HOMES = {
    "Record": "records.record",
    "read_records": "records.record",
    "write_records": "records.record",
    "run_probes": "experiments.probe",
    "table": "reports.command",
}

__all__ = ["Record", "read_records", "run_probes", "table", "write_records"]


def __getattr__(name: str) -> Any:
    # torch is imported only when probes run, so that `--help` and `report` are quick.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"linear_probe.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'linear_probe' has no attribute '{name}'")
