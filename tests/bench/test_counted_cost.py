"""Counted arithmetic equals closed forms for any batch, precision and stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.methods.method import Method
from ssl_faces.training.cost import count, of_batch
from tests.support.benches import run_bench
from tests.support.refusals import message_of
from tests.support.types import Capsys

ROOT = Path(__file__).parents[2]
MOTION = ["-c", str(ROOT / "configs/method/facecycle_motion_small.yaml")]
IDENTITY = ["-c", str(ROOT / "configs/method/facecycle_identity_small.yaml")]
SMALL = ["--model.input_size", "16", "--model.map_size", "16", "--data.size", "16"]


class Pooled(FaceEncoder):
    """One convolution and a mean."""

    encoder_name = "pooled"

    def __init__(self) -> None:
        super().__init__(16, {})
        self.feature_dims = {"pooled": 8}
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)

    def features(self, x: Tensor, spaces: Any) -> dict[str, Tensor]:
        return {"pooled": self.conv(x).relu().mean(dim=(2, 3))}


class Contrast(Method):
    """A convolution, a linear layer, attention and all pairs of a batch, perhaps with a teacher."""

    name = "contrast"

    def __init__(self, teacher: bool = False, attention: bool = False, least: int = 0) -> None:
        super().__init__()
        self.encoder = Pooled()
        self.head = nn.Linear(8, 5, bias=False)
        self.teacher = teacher
        self.attention = attention
        self.least = least

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        x = batch["pairs"].flatten(0, 1)
        if len(batch["pairs"]) < self.least:
            raise InputError("data.batch_size: too small")
        z = self.head(self.encoder(x)["pooled"])
        if self.teacher:
            with torch.no_grad():
                self.encoder(x)
        if self.attention:
            z = F.scaled_dot_product_attention(z[None, None], z[None, None], z[None, None])[0, 0]
        return (z @ z.T).square().mean()

    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


MODEL = ("--model", f"{__name__}.Contrast", "--data.size", "16", "--data.batch_size", "3")


def contrast(*more: str, pairs: int) -> int:
    model = ["--model", f"{__name__}.Contrast", "--data.size", "16"]
    return count([*model, "--data.batch_size", str(pairs), *more]).flop


@pytest.mark.parametrize("pairs", [2, 5, 8, 33])
def test_a_small_network_by_hand(pairs: int) -> None:
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


def test_bytes_that_a_small_network_keeps() -> None:
    # The pictures, the convolution's maps (two operations share them), means, embeddings, products.
    n = 6
    kept = n * 3 * 256 + n * 8 * 256 + n * 8 + n * 5 + n * n
    assert count(MODEL).saved == 4 * kept


def test_a_method_that_takes_no_small_batches() -> None:
    assert contrast("--model.least", "20", pairs=33) == contrast(pairs=33)
    assert "too small" in message_of(contrast, "--model.least", "20", pairs=19)


def test_batches_that_make_one_step() -> None:
    cost = count([*MODEL, "--trainer.accumulate_grad_batches", "4", "--trainer.devices", "2"])
    assert cost.flop == 4 * contrast(pairs=3)
    assert (cost.pairs, cost.devices) == (12, 2)
    assert (cost.parameters, cost.trained) == (216 + 40, 216 + 40)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 5000))
def test_a_large_batch_is_extrapolated_from_small_ones(a: int, b: int, c: int, pairs: int) -> None:
    counted: list[int] = []

    def quadratic(sizes: tuple[int, ...]) -> list[int]:
        counted.extend(sizes)
        return [a + b * n + c * n * n for n in sizes]

    assert of_batch(pairs, quadratic) == a + b * pairs + c * pairs**2
    assert max(counted) <= 8


def test_a_cost_that_is_no_polynomial_is_counted() -> None:
    assert of_batch(100, lambda sizes: [2**n for n in sizes]) == 2**100


def test_facecycle_in_both_precisions_and_its_second_stage(tmp_path: Path) -> None:
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


def test_the_command(tmp_path: Path, capsys: Capsys) -> None:
    (row,) = run_bench(tmp_path, "cost", *MODEL)["rows"]
    assert row["pictures a step"] == 6
    assert row["GFLOP a step"] == contrast(pairs=3) / 1e9
    assert row["GFLOP a step"] == pytest.approx(6 * row["GFLOP a picture"])
    assert f"{row['GFLOP a step']:,.4g}" in capsys.readouterr().out
