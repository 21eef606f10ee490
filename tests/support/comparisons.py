"""The records of a comparison of methods, whose means and winners are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from linear_probe.records.record import RECORDS_FILE, Record, write_records
from linear_probe.records.replicates import REPLICATES_FILE, write_replicates
from linear_probe.stats.intervals import row_weights
from tests.support.records import ONE

ROWS = 1000
WEIGHTS = row_weights(ROWS, 1000, 0)
Scored = tuple[Record, np.ndarray]


def outcome(share: float, shift: int = 0) -> np.ndarray:
    """Which test rows are right: so large a share of them, the easiest first."""
    return np.roll(np.arange(ROWS) < share * ROWS, shift)


def scored(encoder: str, space: str, right: np.ndarray, **more: Any) -> Scored:
    """A record of the share of test rows that are right, in percent, with its replicates."""
    validation = more.pop("validation", None)
    hyperparameters = more.pop("hyperparameters", {})
    if validation is not None:
        hyperparameters = {"validation": validation}
    replicates = 100 * WEIGHTS @ right.astype(np.float32) / ROWS
    low, high = np.percentile(replicates, (2.5, 97.5))
    record = replace(
        ONE,
        encoder=encoder,
        low=float(low),
        high=float(high),
        feature_space=space,
        value=100 * float(right.mean()),
        n=ROWS,
        sample="s",
        note="",
        hyperparameters=hyperparameters,
        **more,
    )
    return record, replicates


def a_run(encoder: str, seed: int = 0, **more: Any) -> dict[str, Any]:
    about = {"steps": [100, 20], "pairs": 1920, "pflop": 0.25, "seconds": 90.0}
    labels = {"uses_identity_labels": False, "hardware": "one CPU"}
    return {"seed": seed, "encoder": encoder, **about, **labels, **more}


def save(
    folder: Path, rows: Sequence[Scored], methods: Sequence[dict[str, Any]], **more: Any
) -> Path:
    write_records(folder / "probe" / RECORDS_FILE, [record for record, _ in rows])
    write_replicates(folder / "probe" / REPLICATES_FILE, {r.name: v for r, v in rows})
    about = {"budget_pflop": 0.25, "folder": "out", "scores": "probe", "methods": list(methods)}
    (folder / "comparison.json").write_text(json.dumps({**about, **more}))
    return folder


def a_method(name: str, *runs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "runs": list(runs), "error": None, "spaces": {}, **more}
