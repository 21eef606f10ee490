"""Strided 1x1 convolutions with few channels: equal results for both memory formats."""

import pytest
import torch
from torch import nn

from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.networks.pointwise import StridedPointwise, without_small_strided


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_convolution(bias):
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, 1, 2, bias=bias)
    network = without_small_strided(nn.Sequential(plain))
    made = network[0]
    assert isinstance(made, StridedPointwise)
    assert made.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(3, 4, 7, 8)
    torch.testing.assert_close(made(x), plain(x))


def test_others_stay():
    layers = [
        *(nn.Conv2d(16, 4, 1, 2), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, 2)),
        *(nn.Conv2d(4, 4, 1, 2, padding=1), nn.Conv2d(4, 4, 1, 2, groups=2)),
    ]
    network = without_small_strided(nn.Sequential(*layers))
    assert [*network.children()] == layers


@pytest.mark.parametrize("width", [0.0625, 0.125, 0.25])
def test_narrow_resnets_learn_the_same_from_maps_in_either_order(width):
    torch.manual_seed(0)
    encoder = BackboneEncoder("resnet18", 16, width).eval()
    images = torch.rand(32, 3, 16, 16)

    def gradients(order):
        encoder.zero_grad()
        of = encoder(images.contiguous(memory_format=order), ("pooled",))["pooled"]
        of.square().sum().backward()
        return {
            name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None
        }

    expected = gradients(torch.contiguous_format)
    for _ in range(5):
        result = gradients(torch.channels_last)
        for name, value in expected.items():
            torch.testing.assert_close(
                result[name], value, rtol=1e-3, atol=1e-3 * value.abs().max().item()
            )
