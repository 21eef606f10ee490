"""Loggers that drop a row which repeats the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger


class LogOnce(Logger):
    """A mixin before a logger: the same figures of the same step are logged once.

    A step is logged before its checkpoint is saved, so that a run that is killed then has its row,
    and again by Lightning when the step ends.
    """

    _last: tuple[int | None, dict[str, Any]] | None = None

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = (step, dict(metrics))
        if row != self._last:
            self._last = row
            super().log_metrics(dict(metrics), step)  # type: ignore[safe-super]


class CSVRows(LogOnce, CSVLogger):
    """Lightning's CSV files, without repeated rows."""
