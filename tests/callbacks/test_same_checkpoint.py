"""All processes of a run go on from one checkpoint, or none does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ssl_faces.callbacks.same_checkpoint import SameCheckpoint
from ssl_faces.common.errors import InputError


class Processes:
    """What the strategy of one of several processes says, given what each of them found."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.own: list[bool] = []

    def broadcast(self, own: str) -> str:
        return self.paths[0]

    def reduce_boolean_decision(self, own: bool, all: bool) -> bool:
        assert all
        self.own.append(own)
        return not any(path != self.paths[0] for path in self.paths)


@pytest.mark.parametrize("paths", [["", ""], ["run/last.ckpt"] * 3])
def test_one_start(paths: list[str]) -> None:
    for path in paths:
        trainer = SimpleNamespace(strategy=Processes(paths))
        SameCheckpoint(path or None).setup(trainer, None, "fit")  # type: ignore[arg-type]
        assert trainer.strategy.own == [True]


@pytest.mark.parametrize("paths", [["run/last.ckpt", ""], ["", "run/last.ckpt"]])
def test_another_start_stops_every_process(paths: list[str]) -> None:
    for path in paths:
        trainer = SimpleNamespace(strategy=Processes(paths))
        with pytest.raises(InputError, match="not all processes find the run's checkpoint"):
            SameCheckpoint(path or None).setup(trainer, None, "fit")  # type: ignore[arg-type]
        assert trainer.strategy.own == [path == paths[0]]
