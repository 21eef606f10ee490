"""Claims of an arm that wins, and what stands for its training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from linear_probe.plans.claims.run import run_claims
from linear_probe.plans.claims.settings import Claims
from linear_probe.records.record import RECORDS_FILE, Record, write_records
from linear_probe.records.replicates import REPLICATES_FILE, write_replicates
from linear_probe.reports.text_tables import Table
from ssl_faces.plan import engine
from tests.support.in_process import InProcess

STAGE = {"configs": ["motion.yaml"], "arguments": {"trainer.max_steps": 5}}
"""A stage of `ssl-faces fit`."""

BASE = {
    "seeds": [0, 1, 2],
    "arguments": {"task": "expression"},
    "smallest": [
        {"effect": 1.0, "metrics": ["accuracy", "MAE", "face L1"], "reason": "a point"},
        {"effect": 0.01, "metrics": ["CCC valence", "CCC arousal", "RMSE"], "reason": "as here"},
    ],
    "remark": "set beforehand",
    "claims": {
        "better": {
            "says": "the idea is better",
            "paper": "theirs",
            "published": "90 %",
            "idea": {"configs": ["a.yaml"]},
            "without": {"configs": ["a.yaml", "b.yaml"], "arguments": {"head.init_args.k": 3}},
        }
    },
}


def claims(**more: object) -> Claims:
    given = yaml.safe_load(yaml.safe_dump(BASE))
    given["claims"]["better"] |= more
    return Claims.model_validate(given)


def run_all(claims: Claims, out: Path, run: Callable[[str, Sequence[str]], object]) -> Table:
    """Run claims; `run` stands for the verbs of `linear-probe`, and nothing is trained before.

    Its attribute `fits` gets the arguments of `ssl-faces fit`, if it has one.
    """

    def fit(words: list[str]) -> None:
        run.fits.append(words[1:])  # type: ignore[attr-defined]
        given = dict(zip(words[1::2], words[2::2], strict=True))
        card = Path(given["--out"]) / "encoder/card.json"
        card.parent.mkdir(parents=True)
        card.write_text(json.dumps({"config": {}, "steps": int(given["--trainer.max_steps"])}))

    def verb(words: list[str]) -> None:
        run(words[0], words[1:])

    executor = InProcess(fit=fit, head=verb, video=verb, audit=verb, truth=verb)
    executor.instead["run"] = verb
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "executor", executor)
        patch.setattr(engine, "_TICK", 0.0)
        return run_claims(claims, out, engine.Engine(out, lock=-1))


def write_figures(
    folder: Path, records: list[Record], replicates: dict[str, np.ndarray] | None = None
) -> None:
    """Write records with replicates; by default ones that vary little around their values."""
    noise = np.random.default_rng(0).normal(0, 0.2, 200)
    write_records(folder / RECORDS_FILE, records)
    if replicates is None:
        replicates = {record.name: record.value + noise for record in records}
    write_replicates(folder / REPLICATES_FILE, replicates)


class Runs:
    """Stands for training: accuracies by arm, with replicates around them."""

    def __init__(
        self,
        idea: list[float],
        without: list[float],
        level: float | None = None,
        metric: str = "accuracy",
        machines: tuple[str, str] = ("a CPU", "a CPU"),
    ) -> None:
        self.of, self.level, self.metric = {"idea": idea, "without": without}, level, metric
        self.machines = machines
        self.words: list[list[str]] = []

    def __call__(self, verb: str, words: Sequence[str]) -> list[Record]:
        self.words.append(list(words))
        folder = Path(next(w for w in words if w.startswith("--out=")).removeprefix("--out="))
        condition = (
            {}
            if self.level is None
            else {"factor": "resolution", "level": self.level, "unit": "px"}
        )
        records = [
            Record(
                *("expression", "FER-2013", "split", words[-1][-8:], "end to end", "cvt"),
                *(self.metric, value, value - 1, value + 1, "%"),
                *(self.metric == "accuracy", 100, seed),
                condition=condition,
                hardware=self.machines["b.yaml" in words],
            )
            for seed, value in enumerate(self.of["without" if "b.yaml" in words else "idea"])
        ]
        write_figures(folder, records)
        return records
