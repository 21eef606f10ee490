"""FaceCycle's building blocks against loops, and their initial weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ssl_faces.networks.blocks import ChannelAttention, ResidualBlock, init_facecycle


def leak(value: float) -> float:
    return value if value > 0 else 0.1 * value


def pointwise(layer: nn.Conv2d, x: Tensor) -> list[list[float]]:
    """A 1x1 convolution of one picture [C, H, W]: rows of channels, columns of positions."""
    flat = x.flatten(1).tolist()
    weight, bias = layer.weight[:, :, 0, 0].tolist(), layer.bias.tolist()
    return [
        [
            bias[o] + sum(weight[o][i] * flat[i][n] for i in range(len(flat)))
            for n in range(len(flat[0]))
        ]
        for o in range(len(weight))
    ]


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v) for v in values]
    return [p / sum(powers) for p in powers]


def test_channel_attention_equals_a_loop() -> None:
    torch.manual_seed(0)
    attention, x = ChannelAttention(4), 2 * torch.randn(2, 4, 3, 2)
    expected = torch.zeros(2, 4, 6)
    for b in range(2):
        values = pointwise(attention.values, x[b])
        keys = [softmax(row) for row in pointwise(attention.keys, x[b])]
        queries = pointwise(attention.queries, x[b])
        by_position = [softmax([values[c][n] for c in range(4)]) for n in range(6)]
        for i in range(4):
            to = [sum(queries[i][n] * keys[j][n] for n in range(6)) for j in range(4)]
            for n in range(6):
                added = sum(to[j] * by_position[n][j] for j in range(4))
                expected[b, i, n] = leak(x[b].flatten(1)[i, n].item() + added)
    torch.testing.assert_close(attention(x), expected.view(2, 4, 3, 2), rtol=1e-4, atol=1e-5)


def test_residual_block_equals_a_loop() -> None:
    torch.manual_seed(0)
    block, x = ResidualBlock(2), torch.randn(1, 2, 4, 3)

    def three_by_three(layer: nn.Conv2d, x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        for o in range(2):
            for row in range(4):
                for column in range(3):
                    total = layer.bias[o].item()
                    for i in range(2):
                        for dy in (-1, 0, 1):
                            for dx in (-1, 0, 1):
                                if 0 <= row + dy < 4 and 0 <= column + dx < 3:
                                    total += (
                                        layer.weight[o, i, dy + 1, dx + 1]
                                        * x[0, i, row + dy, column + dx]
                                    ).item()
                    out[0, o, row, column] = total
        return out

    inner = three_by_three(block.first, x).apply_(leak)
    expected = (x + three_by_three(block.second, inner)).detach().apply_(leak)
    torch.testing.assert_close(block(x), expected)


def assert_normal(weight: Tensor, deviation: float) -> None:
    """Mean 0 and standard deviation `deviation`, to five standard errors."""
    count = weight.numel()
    assert abs(weight.mean().item()) < 5 * deviation / math.sqrt(count)
    assert weight.std().item() == pytest.approx(deviation, rel=5 / math.sqrt(2 * count))
    # Of a uniform draw no value is beyond 1.74 deviations, of a normal one every twelfth.
    assert (weight.abs() > 1.8 * deviation).float().mean() > 0.04


@pytest.mark.parametrize(
    ("layer", "deviation"),
    [
        (nn.Conv2d(16, 64, 3), math.sqrt(2 / (64 * 9))),
        (nn.Conv2d(64, 16, 7), math.sqrt(2 / (16 * 49))),
        (nn.Conv2d(256, 64, 1), math.sqrt(2 / 64)),
        (nn.Linear(200, 100), 0.01),
    ],
)
def test_initial_weights(layer: nn.Module, deviation: float) -> None:
    torch.manual_seed(0)
    nn.init.ones_(layer.bias)
    init_facecycle(layer)
    assert_normal(layer.weight.detach(), deviation)
    assert layer.bias.abs().max() == 0
    assert layer.bias.requires_grad
