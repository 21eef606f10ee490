"""The progress bar counts all steps of a run, across epochs and resumes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssl_faces.callbacks.progress import StepsBar
from tests.support.fits import fit, settings
from tests.support.types import Capsys, Patch


def drawn(text: str) -> list[tuple[int, int, int]]:
    """Epoch, step and all steps of each drawing."""
    result = re.findall(r"epoch (\d+): +\d+%\|[^|]*\| (\d+)/(\d+) \[", text)
    return [(int(epoch), int(step), int(steps)) for epoch, step, steps in result]


@pytest.fixture
def _drawn_always(monkeypatch: Patch) -> None:
    monkeypatch.setattr("ssl_faces.callbacks.progress.ELSEWHERE", 0.0)


@pytest.mark.usefixtures("_drawn_always")
def test_it_counts_all_steps_and_continues_on_resume(
    faces: Path, tmp_path: Path, capsys: Capsys
) -> None:
    words = settings("motion", faces, tmp_path / "run")
    fit(*words, "--trainer.max_steps", "14")
    shown = drawn(capsys.readouterr().out)
    # Twelve batches are an epoch.
    assert [*dict.fromkeys(shown)] == [(1 + (n > 12), n, 14) for n in range(15)]
    fit(*words, "--trainer.max_steps", "16", "--ckpt_path", "last")
    text = capsys.readouterr().out
    assert {*drawn(text)} == {(2, n, 16) for n in (14, 15, 16)}
    assert re.search(r"16/16 .*loss=\d", text)
    assert "v_num" not in text


@pytest.mark.usefixtures("_drawn_always")
@pytest.mark.parametrize(
    "words",
    [
        ["--trainer.enable_progress_bar", "false"],
        ["--trainer.callbacks", "pytorch_lightning.callbacks.TQDMProgressBar"],
    ],
)
def test_no_bar_or_another_one_by_settings(
    words: list[str], faces: Path, tmp_path: Path, capsys: Capsys
) -> None:
    fit(*settings("motion", faces, tmp_path / "run"), "--trainer.max_steps", "3", *words)
    out = capsys.readouterr().out
    assert not drawn(out)
    assert ("Epoch 0:" in out) == ("callbacks" in words[0])


def test_in_a_log_it_is_drawn_at_the_start_and_the_end_of_a_short_run(
    monkeypatch: Patch, faces: Path, tmp_path: Path, capsys: Capsys
) -> None:
    """Metrics are read when it is drawn, and not in each step."""
    reads: list[int] = []
    metrics = StepsBar.get_metrics
    monkeypatch.setattr(
        StepsBar,
        "get_metrics",
        lambda bar, trainer, module: (
            reads.append(trainer.global_step) or metrics(bar, trainer, module)
        ),
    )
    fit(*settings("motion", faces, tmp_path / "run"), "--trainer.max_steps", "14")
    assert reads == [1, 14]
    shown = [*dict.fromkeys(drawn(capsys.readouterr().out))]
    assert [(step, steps) for _, step, steps in shown] == [(0, 14), (1, 14), (14, 14)]
