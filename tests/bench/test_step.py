"""The bench compares like with like: the literal schedule computes the method's own losses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssl_faces.bench import literal
from ssl_faces.bench.literal import stage1
from ssl_faces.bench.step import LITERAL, OURS, difference
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from tests.support.benches import run_bench
from tests.support.types import Capsys, Patch


def frames() -> Tensor:
    """Smooth images, like faces; frames of a pair are similar."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 6, 6, generator=draw)
    coarse = torch.cat((coarse, coarse + 0.2 * torch.rand(2, 3, 6, 6, generator=draw)))
    smooth = torch.nn.functional.interpolate(coarse, (48, 48), mode="bicubic")
    return (smooth.clamp(0, 1) - 0.45) / 0.225


def method(training: str = "frozen", scale: str = "normalised") -> FaceCycleMotion:
    settings = {"trunk_training": training, "ssim_scale": scale, "linear_std": 0.04}
    return stage1("small", 48, fold_weight=1.0, **settings)


@pytest.mark.parametrize(("training", "scale"), [("frozen", "normalised"), ("joint", "unit")])
def test_ours_is_the_literal_schedule(training: str, scale: str) -> None:
    ours = method(training, scale).to(memory_format=torch.channels_last)
    losses, gradients = difference(ours, frames())
    assert losses < 1e-5
    assert gradients < 1e-4


def test_a_schedule_that_differs_is_detected(monkeypatch: Patch) -> None:
    plain = literal.losses

    def changed(method: FaceCycleMotion, x: Tensor) -> dict[str, Tensor]:
        terms = plain(method, x)
        return {**terms, "ssim": 1.001 * terms["ssim"]}

    monkeypatch.setattr(literal, "losses", changed)
    losses, gradients = difference(method(), frames())
    assert losses > 5e-4
    assert gradients > 1e-5


def test_the_command(tmp_path: Path, capsys: Capsys) -> None:
    size = ("--size", "small", "--input-size", 48, "--pairs", 1, "--rounds", 1)
    measured = run_bench(tmp_path, "step", *size, "--device", "cpu")
    printed = capsys.readouterr().out
    for row in measured["rows"]:
        assert f"| {row['step']} |" in printed
        assert row["pictures/s"] == pytest.approx(2000 / row["ms"])
    assert measured["rows"][0]["times literal"] == 1
    assert len(measured["details"]["seconds"][LITERAL]) == 1
    assert torch.__version__.startswith(measured["machine"]["versions"]["torch"])
    # The literal schedule has three more trunk passes for the target, two for the sources.
    cost = {row["step"]: row["GFLOP a picture"] for row in measured["rows"]}
    assert 1.02 * cost[OURS] < cost[LITERAL] < 1.3 * cost[OURS]
