"""Jobs of runs that take a second: a few rendered clips of 16 px."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_faces.cli import main as ssl_faces
from ssl_faces.common import children
from tests.compare.conftest import (
    IDENTITY,
    common_arguments,
    few_clips,
    for_children,
    run_here,
    stage1,
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a job of FaceCycle's two stages, two steps each; keys replace its own."""
    few = few_clips(tmp_path)

    def write(**changed: Any) -> Path:
        content = {
            "seed": 3,
            "configs": [few],
            "arguments": {
                **common_arguments(tmp_path),
                "trainer.max_steps": 2,
                "trainer.log_every_n_steps": 1,
            },
            "stages": {
                "motion": stage1(),
                "identity": {
                    "configs": [IDENTITY],
                    "arguments": {"model.motion_checkpoint": "{previous}/checkpoints/last.ckpt"},
                },
            },
            "probe": {"task": "pose", "data": "rendered:60", "bootstrap": 20, "device": "cpu"},
            **changed,
        }
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for_children(monkeypatch)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands run in this process, which spares each its start; those that were, in order."""
    from linear_probe.cli import main as linear_probe

    asked: list[list[str]] = []

    def run(module: str, words: list[str], log: Path, lock: int) -> None:
        asked.append(list(words))
        main = {"ssl_faces.cli": ssl_faces, "linear_probe.cli": linear_probe}[module]
        run_here(main, words)

    monkeypatch.setattr(children, "run", run)
    return asked


def job(path: Path, out: Path) -> int:
    return ssl_faces(["job", "-c", str(path), "--out", str(out)])
