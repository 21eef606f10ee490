"""Loggers that drop repeated rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger


class LogOnce(Logger):
    """A mixin that logs the same values of a step only once.

    A step is logged before its checkpoint is saved, so that a run killed afterwards has its row;
    Lightning logs it again at the end of the step.
    """

    _last: tuple[int | None, dict[str, Any]] | None = None

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = (step, dict(metrics))
        if row != self._last:
            self._last = row
            super().log_metrics(dict(metrics), step)  # type: ignore[safe-super]


class CSVRows(LogOnce, CSVLogger):
    """Lightning's CSV logger without repeated rows."""
