"""The bench compares like with like: the literal schedule computes the method's own losses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssl_faces.bench import literal
from ssl_faces.bench.step import LITERAL, difference, measure
from ssl_faces.cli import main
from ssl_faces.methods.facecycle_motion import FaceCycleMotion


def frames() -> Tensor:
    """Smooth pictures, as faces are; frames of a pair alike."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 6, 6, generator=draw)
    coarse = torch.cat((coarse, coarse + 0.2 * torch.rand(2, 3, 6, 6, generator=draw)))
    smooth = torch.nn.functional.interpolate(coarse, (48, 48), mode="bicubic")
    return (smooth.clamp(0, 1) - 0.45) / 0.225


def method(training: str = "frozen", scale: str = "normalised") -> FaceCycleMotion:
    torch.manual_seed(0)
    return FaceCycleMotion(
        "small",
        48,
        "random",
        training,  # type: ignore[arg-type]
        fold_weight=1.0,
        ssim_scale=scale,  # type: ignore[arg-type]
        linear_std=0.04,
    )


@pytest.mark.parametrize("training", ["frozen", "joint"])
@pytest.mark.parametrize("scale", ["normalised", "unit"])
def test_ours_is_the_literal_schedule(training: str, scale: str) -> None:
    ours = method(training, scale).to(memory_format=torch.channels_last)
    losses, gradients = difference(ours, frames())
    assert losses < 1e-5
    assert gradients < 1e-4


def test_a_schedule_that_computes_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = literal.losses

    def other(method: FaceCycleMotion, x: Tensor) -> dict[str, Tensor]:
        terms = plain(method, x)
        return {**terms, "ssim": 1.001 * terms["ssim"]}

    monkeypatch.setattr(literal, "losses", other)
    losses, gradients = difference(method(), frames())
    assert losses > 5e-4
    assert gradients > 1e-5


def test_the_literal_schedule_does_more_arithmetic() -> None:
    result = measure(
        argparse.Namespace(
            size="small", pairs=1, input_size=48, rounds=1, threads=None, device="cpu"
        )
    )
    cost = {row["step"]: row["GFLOP a picture"] for row in result.rows}
    own = cost["ours, float32"]
    assert isinstance(own, float)
    # Three trunk passes more for the target, two more for the generator's sources.
    assert 1.02 * own < cost[LITERAL] < 1.3 * own  # type: ignore[operator]


def test_the_command_prints_a_table_and_writes_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "step.json"
    size = ("--size", "small", "--input-size", "32", "--pairs", "1", "--rounds", "2")
    assert main(["bench", "step", *size, "--device", "cpu", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    figures = json.loads(out.read_text())
    for row in figures["rows"]:
        assert f"| {row['step']} |" in printed
        assert row["pictures/s"] == pytest.approx(2000 / row["ms"])
    assert figures["rows"][0]["times literal"] == 1
    assert len(figures["details"]["seconds"][LITERAL]) == 2
    assert torch.__version__.startswith(figures["machine"]["versions"]["torch"])


def test_bad_numbers_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", "--pairs", "0"]) == 2
    assert "--pairs: 0; give a whole number from 1" in capsys.readouterr().err
