"""Test rows, the bootstrap's draws of them, and figures that rest on both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from linear_probe.records.measured import Figure
from linear_probe.stats.intervals import cluster_weights, pair_weights, row_weights

DRAWS_SEED = 0
"""Of the bootstrap's draws of test rows: the same for all seeds of a run, as a mean over seeds is
as uncertain about the test rows as one seed is."""


class Sample:
    """The test rows of figures, and the bootstrap's draws of them.

    Args:
        keys: of the rows, N.
        replicates: of the bootstrap, B.
        people: whose each row is, [N], who are drawn with all their rows; or [N, 2], the people of
            each pair; None: rows are drawn.
        same: bool [N], for pairs: whether they are of one person, so that weights sum by kind.
        rows: texts that tell the rows and their draws apart; by default keys and people.
        seed: of the draws.

    Attributes:
        weights: float32 [B, N], how often each row is drawn.
        name: as `sample` of `Record`.
    """

    def __init__(
        self,
        keys: Sequence[Any],
        replicates: int,
        people: np.ndarray | None = None,
        same: np.ndarray | None = None,
        rows: Iterable[str] | None = None,
        seed: int = DRAWS_SEED,
    ) -> None:
        self.keys = keys
        if people is None:
            self.weights = row_weights(len(keys), replicates, seed)
            rows = keys if rows is None else rows
        else:
            self.weights = (
                cluster_weights(people, replicates, seed)
                if same is None
                else pair_weights(people, same, replicates, seed)
            )
            if rows is None:
                rows = (f"{key} {who}" for key, who in zip(keys, people.tolist(), strict=True))
        digest = hashlib.sha256(f"{replicates} {seed}".encode())
        for text in rows:
            digest.update(f"\n{len(text)} {text}".encode(errors="surrogateescape"))
        self.name = digest.hexdigest()[:16]

    def mean(
        self,
        metric: str,
        values: np.ndarray,
        unit: str = "%",
        higher_is_better: bool = True,
        factor: float | None = None,
        **more: Any,
    ) -> Figure:
        """The mean of a number of each row, [N].

        Args:
            factor: on it; None: 100 if the unit is `%`, for shares from 0 to 1.
            more: other fields of the figure.
        """
        factor = (100 if unit == "%" else 1) if factor is None else factor
        mean = factor * float(values.mean())
        drawn = factor * (self.weights @ values / self.weights.sum(1))
        return Figure(metric, mean, unit, higher_is_better, len(values), self.name, drawn, **more)

    def percentage(
        self,
        metric: str,
        share: float,
        replicates: np.ndarray,
        higher_is_better: bool = True,
        n: int | None = None,
        **more: Any,
    ) -> Figure:
        """A figure in percent of a share (0 to 1) and its replicates [B], of `n` or all rows."""
        value, n = 100 * float(share), len(self.keys) if n is None else n
        return Figure(
            *(metric, value, "%", higher_is_better, n, self.name, 100 * replicates), **more
        )
