"""Counted arithmetic equals closed forms for any batch, precision and stage."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_faces.training.cost import count, of_batch
from tests.support.benches import MODEL, MOTION, SMALL, run_bench
from tests.support.refusals import message_of

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
