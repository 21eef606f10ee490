"""The benches of a step and of planning: counted memory, measured speed, arithmetic."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_faces.bench.plan import WORKSPACE, memory_of, plan
from ssl_faces.bench.result import GIB
from ssl_faces.training.cost import Cost, count, of_batch
from tests.support.benches import MODEL, MOTION, SMALL, run_bench
from tests.support.commands import refusal
from tests.support.refusals import message_of

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


def test_a_short_run_of_the_service(tmp_path, capsys):
    pytest.importorskip("fastapi")
    pytest.importorskip("prometheus_client")
    words = ("--concurrency", "1,8", "--each", "16", "--rounds", "1")
    measured = run_bench(tmp_path, "serve", *words)
    rows = measured["rows"]
    assert [(row["at once"], row["encoder takes"]) for row in rows] == [
        (1, "batches"),
        (1, "one by one"),
        (8, "batches"),
        (8, "one by one"),
    ]
    for row in rows:
        assert 0 < row["p50 ms"] <= row["p95 ms"]
        assert row["requests/s"] > 0
    # The ratio is of the same round, and one round was run.
    assert rows[2]["times one by one"] == pytest.approx(
        rows[2]["requests/s"] / rows[3]["requests/s"]
    )


def test_the_services_own_refusal(capsys):
    pytest.importorskip("fastapi")
    assert "no-such-encoder" in refusal(capsys, "bench", "serve", "--encoder", "no-such-encoder")


ROOT = Path(__file__).parents[2]
IDENTITY = ["-c", str(ROOT / "configs/method/facecycle_identity_small.yaml")]


def contrast(*more, pairs):
    return count([*MODEL, "--data.batch_size", str(pairs), *more]).flop


@pytest.mark.parametrize("pairs", [2, 5, 8, 33])
def test_a_small_network_by_hand(pairs):
    n = 2 * pairs
    conv = 2 * n * 16 * 16 * 8 * 3 * 9  # forward; pictures need no gradient, weights do
    linear = 2 * n * 8 * 5
    products = 2 * n * n * 5
    plain = 2 * conv + 3 * linear + 3 * products
    assert contrast(pairs=pairs) == plain
    assert contrast("--model.teacher", "true", pairs=pairs) == plain + conv
    # Scores and their sum: two products of [n, n, 5], forward and by both factors.
    attention = 3 * 2 * products
    assert contrast("--model.attention", "true", pairs=pairs) == plain + attention


def test_bytes_that_a_small_network_keeps():
    # The pictures, the convolution's maps (two operations share them), means, embeddings, products.
    n = 6
    kept = n * 3 * 256 + n * 8 * 256 + n * 8 + n * 5 + n * n
    assert count(MODEL).saved == 4 * kept


def test_a_method_that_takes_no_small_batches():
    assert contrast("--model.least", "20", pairs=33) == contrast(pairs=33)
    assert "too small" in message_of(contrast, "--model.least", "20", pairs=19)


def test_batches_that_make_one_step():
    cost = count([*MODEL, "--trainer.accumulate_grad_batches", "4", "--trainer.devices", "2"])
    assert cost.flop == 4 * contrast(pairs=3)
    assert (cost.pairs, cost.devices) == (12, 2)
    assert (cost.parameters, cost.trained) == (216 + 40, 216 + 40)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 5000))
def test_a_large_batch_is_extrapolated_from_small_ones(a, b, c, pairs):
    counted = []

    def quadratic(sizes):
        counted.extend(sizes)
        return [a + b * n + c * n * n for n in sizes]

    assert of_batch(pairs, quadratic) == a + b * pairs + c * pairs**2
    assert max(counted) <= 8


def test_a_cost_that_is_no_polynomial_is_counted():
    assert of_batch(100, lambda sizes: [2**n for n in sizes]) == 2**100


def test_facecycle_in_both_precisions_and_its_second_stage(tmp_path):
    words = [*MOTION, *SMALL, "--data.batch_size", "2"]
    exact, half = (count(words, tmp_path, p) for p in ("32-true", "bf16-mixed"))
    assert exact == replace(half, saved=exact.saved)
    assert exact.pairs == 2
    assert (tmp_path / "trunk.safetensors").exists()
    stage1 = str(tmp_path / "checkpoints/last.ckpt")
    words = ["--model.motion_checkpoint", stage1, "--data.size", "16", "--data.batch_size"]
    few, more = (count([*IDENTITY, *words, pairs]) for pairs in ("2", "8"))
    assert few.method == "facecycle_identity"
    # All of it is by pictures but what is made of their mean face.
    assert 0 <= 4 * few.flop - more.flop < 0.2 * more.flop
    # Stage 1's networks are there, and not trained.
    assert few.trained < few.parameters - exact.trained / 2


def test_the_command(tmp_path, capsys):
    (row,) = run_bench(tmp_path, "cost", *MODEL)["rows"]
    assert row["pictures a step"] == 6
    assert row["GFLOP a step"] == contrast(pairs=3) / 1e9
    assert row["GFLOP a step"] == pytest.approx(6 * row["GFLOP a picture"])
    assert f"{row['GFLOP a step']:,.4g}" in capsys.readouterr().out
