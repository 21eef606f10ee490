"""The benches of a step and of planning: counted memory, measured speed, arithmetic."""

import argparse
import json

import pytest

from ssl_faces.bench.plan import WORKSPACE, memory_of, plan
from ssl_faces.bench.result import GIB
from ssl_faces.training.cost import Cost, count
from tests.support.benches import MODEL, MOTION, SMALL, run_bench
from tests.support.commands import refusal

SETTINGS = argparse.Namespace(faces=9_000_000, epochs=2.0, scaling=0.5, price=4.0, gpus_a_node=8)
COST = Cost("any", 1, 16, 1, parameters=GIB, trained=250_000_000, saved=3 * GIB, side=64)


def test_a_plan_by_hand():
    row = plan(16, SETTINGS, speed=125.0, picture=1000.0, cost=COST)
    assert row["pictures/s"] == 1000  # 125 x 16 x 0.5
    assert row["hours"] == pytest.approx(36e6 / 1000 / 3600)  # 9 M pairs twice
    assert row["cost, dollars"] == pytest.approx(10 * 16 * 4)
    assert row["memory a GPU, GiB"] == pytest.approx((3e9 + WORKSPACE) / GIB + 4 + 3)
    assert row["disk, GiB"] == pytest.approx((9e9 + 2e9) / GIB + 4)
    assert row["read a node, MB/s"] == pytest.approx(0.5)  # half of the images, on two nodes
    assert row["sent a GPU and step, MB"] == pytest.approx(1875)  # 2 x 15/16
    # A step is 512 images, 0.512 s.
    assert row["network a GPU, Gbit/s"] == pytest.approx(8 * 1.875 / 0.512)
    alone = plan(1, SETTINGS, speed=125.0, picture=1000.0, cost=COST)
    assert alone["pictures/s"] == 125
    assert alone["sent a GPU and step, MB"] == 0


def test_memory_of_stage_1():
    words = [*MOTION, *SMALL, "--data.batch_size"]
    few = count([*words, "2"])
    exact, half = (count([*words, "1000"], precision=p) for p in ("32-true", "bf16-mixed"))
    assert few.trained <= few.parameters
    memory = memory_of(exact)
    assert memory["Adam"] == 2 * memory["gradients"] == 8 * exact.trained
    # Nearly all of it grows with the images; a pair takes less in bf16.
    assert 400 < exact.saved / few.saved <= 500
    assert 0.4 < half.saved / exact.saved < 0.95


def test_a_plan_from_a_measured_step(tmp_path, capsys):
    measured = run_bench(tmp_path, "step", *MODEL, "--trainer.accelerator", "cpu", "--rounds", 2)
    (row,) = measured["rows"]
    assert row["pictures/s"] == pytest.approx(6000 / row["ms"])
    assert row["GFLOP/s"] == pytest.approx(row["GFLOP a picture"] * row["pictures/s"])
    assert len(measured["details"]["seconds"]) == 2
    (cost,) = run_bench(tmp_path, "cost", *MODEL, "--overwrite")["rows"]
    assert row["GFLOP a picture"] == pytest.approx(cost["GFLOP a picture"])
    step = tmp_path / "step.json"
    measured["rows"][0]["pictures/s"] = 50.0
    step.write_text(json.dumps(measured))
    capsys.readouterr()
    argv = ("plan", *MODEL, "--step", step, "--gpus", "1,8", "--faces", 900000, "--overwrite")
    one, eight = run_bench(tmp_path, *argv)["rows"]
    assert f"50 pictures a second, measured on {measured['machine']['hardware']}" in (
        capsys.readouterr().out
    )
    assert one["hours"] == pytest.approx(10)
    assert eight["hours"] == pytest.approx(10 / 8 / 0.9)
    step.write_text(json.dumps(measured | {"bench": "cost"}))
    message = refusal(capsys, "bench", "plan", *MODEL, "--step", step)
    assert "not of `ssl-faces bench step" in message
