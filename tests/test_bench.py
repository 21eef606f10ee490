"""The benches of launching, scale and planning: their arithmetic, and that they run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ssl_faces.bench import scale
from ssl_faces.bench.plan import GIB, WORKSPACE, Memory, memory_of, plan, saved_bytes
from ssl_faces.cli import main


def settings(**changed: object) -> argparse.Namespace:
    given = {
        **{"faces": 9_000_000, "epochs": 2.0, "pairs": 16, "scaling": 0.5, "price": 4.0},
        "gpus_a_node": 8,
    }
    return argparse.Namespace(**{**given, **changed})


def test_a_plan_by_hand() -> None:
    memory = Memory(weights=6 * GIB, gradients=1_000_000_000, adam=2 * GIB, activations=3 * GIB)
    row = plan(16, settings(), speed=125.0, picture=1000.0, memory=memory)
    assert row["pictures/s"] == 1000  # 125 x 16 x 0.5
    assert row["hours"] == pytest.approx(36e6 / 1000 / 3600)  # 9 M pairs twice
    assert row["cost, dollars"] == pytest.approx(10 * 16 * 4)
    assert row["memory a GPU, GiB"] == pytest.approx(11 + 1e9 / GIB + WORKSPACE / GIB)
    assert row["disk, GiB"] == pytest.approx(9e9 / GIB + 8)
    assert row["read a node, MB/s"] == pytest.approx(0.5)  # half of the pictures, on two nodes
    assert row["sent a GPU and step, MB"] == pytest.approx(1875)  # 2 x 15/16
    # A step is 512 pictures, 0.512 s.
    assert row["network a GPU, Gbit/s"] == pytest.approx(8 * 1.875 / 0.512)
    alone = plan(1, settings(), speed=125.0, picture=1000.0, memory=memory)
    assert alone["pictures/s"] == 125
    assert alone["sent a GPU and step, MB"] == 0


def test_bytes_kept_for_the_backward_pass() -> None:
    layer = nn.Linear(10, 20)
    x = torch.rand(3, 10)
    # The linear layer keeps its input, tanh its output; the weights are not counted.
    assert saved_bytes(lambda: layer(x).tanh().sum(), layer) == 4 * (30 + 60)
    # One tensor that two operations keep is one.
    assert saved_bytes(lambda: (layer(x).exp() * 2).sum(), layer) == 4 * (30 + 60)


def test_memory_of_stage_1() -> None:
    from ssl_faces.methods.facecycle_motion import FaceCycleMotion

    method = FaceCycleMotion("small", 16, "random", "joint")
    one, four = (memory_of("small", 16, pairs, "32") for pairs in (1, 4))
    assert one.weights == 4 * sum(p.numel() for p in method.parameters())
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    assert one.adam == 2 * one.gradients == 8 * trained
    assert one[:3] == four[:3]
    # Nearly all that is kept grows with the pictures; a pair takes less in bf16.
    assert 3.5 < four.activations / one.activations <= 4
    exact, half = (memory_of("small", 16, 1000, precision) for precision in ("32", "bf16"))
    assert 0.4 < half.activations / exact.activations < 0.95


PLAN = ["bench", "plan", "--size", "small", "--input-size", "16"]


def test_a_plan_from_a_measured_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step, out = tmp_path / "step.json", tmp_path / "plan.json"
    measured = {
        "bench": "step",
        "rows": [{"step": "literal", "pictures/s": 10.0}, {"step": "ours", "pictures/s": 50.0}],
        "settings": {"size": "small"},
        "machine": {"hardware": "one card"},
    }
    step.write_text(json.dumps(measured))
    words = [*PLAN, "--step", str(step), "--gpus", "1,8", "--faces", "900000", "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "50 pictures a second, measured on one card" in said
    one, eight = json.loads(out.read_text())["rows"]
    assert one["hours"] == pytest.approx(10)
    assert eight["hours"] == pytest.approx(10 / 8 / 0.9)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pictures-per-second", "0"], "--pictures-per-second: 0"),
        (["--pictures-per-second", "9", "--gpus", "8;64"], "--gpus: 8;64"),
        (["--pictures-per-second", "9", "--gpus", "0"], "--gpus: 0"),
        (["--pictures-per-second", "9", "--scaling", "0"], "--scaling: 0"),
        (["--pictures-per-second", "9", "--bytes-a-picture", "-1"], "--bytes-a-picture: -1"),
        (["--step", "none.json"], "none.json: not of `ssl-faces bench step"),
    ],
)
def test_plans_that_can_not_be(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*PLAN, *words]) == 2
    assert said in capsys.readouterr().err


def test_a_step_of_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = tmp_path / "step.json"
    rows = [{"pictures/s": 1.0}]
    about = {"bench": "step", "rows": rows, "machine": {"hardware": ""}}
    for content, said in (
        ({**about, "settings": {"size": "paper"}}, "measured at size paper, not small"),
        ({**about, "settings": {}, "bench": "feed"}, "not of `ssl-faces bench step"),
        ({**about, "settings": {}, "rows": []}, "not of `ssl-faces bench step"),
    ):
        step.write_text(json.dumps(content))
        assert main([*PLAN, "--step", str(step)]) == 2
        assert said in capsys.readouterr().err


def test_the_gain_of_two_is_of_the_same_rounds() -> None:
    def took(*walls: float) -> list[scale.Took]:
        return [scale.Took(wall, 0.5 * wall) for wall in walls]

    seconds = {
        "matrix products": {"one": took(1, 2, 4), "two": took(1, 2, 8)},
        "step": {"one": took(2, 2, 2), "two": [scale.Took(w, 2.0) for w in (4.0, 2.5, 2.0)]},
    }
    products, step = scale._rows(seconds, "32", pictures=8)
    assert products["gain of two, times"] == products["by CPU time, times"] == 2.0
    assert step["gain of two, times"] == pytest.approx(2 * 2 / 2.5)
    assert step["by CPU time, times"] == 1.0
    assert step["one process pictures/s"] == 4
    assert step["two processes pictures/s"] == pytest.approx(16 / 2.5)


def test_the_bench_of_scale_runs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--size", "small", "--input-size", "16", "--pairs", "1", "--rounds", "1"]
    assert main(["bench", "scale", *words, "--precision", "32"]) == 0
    said = capsys.readouterr().out
    for name in scale.SETTINGS:
        assert f"step, DDP: {name}" in said
    assert main(["bench", "scale", "--pairs", "0"]) == 2
    assert "--pairs: 0" in capsys.readouterr().err
