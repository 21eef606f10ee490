"""The bench of planning: its arithmetic, memory that is counted, and refusals."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ssl_faces.bench.literal import stage1
from ssl_faces.bench.plan import GIB, WORKSPACE, Memory, memory_of, plan, saved_bytes
from tests.support.benches import run_bench
from tests.support.commands import refusal
from tests.support.types import Capsys

SETTINGS = argparse.Namespace(
    faces=9_000_000, epochs=2.0, pairs=16, scaling=0.5, price=4.0, gpus_a_node=8
)
SIZE = ("--size", "small", "--input-size", "16")


def test_a_plan_by_hand() -> None:
    memory = Memory(weights=6 * GIB, gradients=1_000_000_000, adam=2 * GIB, activations=3 * GIB)
    row = plan(16, SETTINGS, speed=125.0, picture=1000.0, memory=memory)
    assert row["pictures/s"] == 1000  # 125 x 16 x 0.5
    assert row["hours"] == pytest.approx(36e6 / 1000 / 3600)  # 9 M pairs twice
    assert row["cost, dollars"] == pytest.approx(10 * 16 * 4)
    assert row["memory a GPU, GiB"] == pytest.approx(11 + 1e9 / GIB + WORKSPACE / GIB)
    assert row["disk, GiB"] == pytest.approx(9e9 / GIB + 8)
    assert row["read a node, MB/s"] == pytest.approx(0.5)  # half of the images, on two nodes
    assert row["sent a GPU and step, MB"] == pytest.approx(1875)  # 2 x 15/16
    # A step is 512 images, 0.512 s.
    assert row["network a GPU, Gbit/s"] == pytest.approx(8 * 1.875 / 0.512)
    alone = plan(1, SETTINGS, speed=125.0, picture=1000.0, memory=memory)
    assert alone["pictures/s"] == 125
    assert alone["sent a GPU and step, MB"] == 0


def test_bytes_saved_for_the_backward_pass() -> None:
    layer = nn.Linear(10, 20)
    x = torch.rand(3, 10)
    # The linear layer saves its input, tanh its output; the weights are not counted.
    assert saved_bytes(lambda: layer(x).tanh().sum(), layer) == 4 * (30 + 60)
    # One tensor that two operations save counts once.
    assert saved_bytes(lambda: (layer(x).exp() * 2).sum(), layer) == 4 * (30 + 60)


def test_memory_of_stage_1() -> None:
    method = stage1("small", 16, trunk_training="joint")
    one, four = (memory_of("small", 16, pairs, "32") for pairs in (1, 4))
    assert one.weights == 4 * sum(p.numel() for p in method.parameters())
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    assert one.adam == 2 * one.gradients == 8 * trained
    assert one[:3] == four[:3]
    # Nearly all of it grows with the images; a pair takes less in bf16.
    assert 3.5 < four.activations / one.activations <= 4
    exact, half = (memory_of("small", 16, 1000, precision) for precision in ("32", "bf16"))
    assert 0.4 < half.activations / exact.activations < 0.95


STEP = {
    "bench": "step",
    "rows": [{"step": "literal", "pictures/s": 10.0}, {"step": "ours", "pictures/s": 50.0}],
    "settings": {"size": "small"},
    "machine": {"hardware": "one card"},
}


def test_a_plan_from_a_measured_step(tmp_path: Path, capsys: Capsys) -> None:
    step = tmp_path / "step.json"
    step.write_text(json.dumps(STEP))
    argv = ("plan", *SIZE, "--step", step, "--gpus", "1,8", "--faces", 900000)
    one, eight = run_bench(tmp_path, *argv)["rows"]
    assert "50 pictures a second, measured on one card" in capsys.readouterr().out
    assert one["hours"] == pytest.approx(10)
    assert eight["hours"] == pytest.approx(10 / 8 / 0.9)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"settings": {"size": "paper"}}, "measured at size paper, not small"),
        ({"bench": "feed"}, "not of `ssl-faces bench step"),
        ({"rows": []}, "not of `ssl-faces bench step"),
    ],
)
def test_steps_that_can_not_be_used(
    changed: dict[str, object], message: str, tmp_path: Path, capsys: Capsys
) -> None:
    step = tmp_path / "step.json"
    step.write_text(json.dumps(STEP | changed))
    assert message in refusal(capsys, "bench", "plan", *SIZE, "--step", step)
