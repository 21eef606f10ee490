"""Claims of an arm that wins, and what stands in for its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from linear_probe.plans.claims.settings import Claims
from linear_probe.records.record import RECORDS_FILE, Record, write_records
from linear_probe.records.replicates import REPLICATES_FILE, write_replicates

BASE = {
    "seeds": [0, 1, 2],
    "arguments": {"task": "expression"},
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


class Runs:
    """Stands in for training: accuracies by arm, with replicates around them."""

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
        write_records(folder / RECORDS_FILE, records)
        noise = np.random.default_rng(0).normal(0, 0.2, 200)
        write_replicates(folder / REPLICATES_FILE, {r.name: r.value + noise for r in records})
        return records
