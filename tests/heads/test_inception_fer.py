"""The network of the fact sheet, and what it is compared with."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from linear_probe.heads.crops import ten_crops
from linear_probe.heads.goals import Categories
from linear_probe.heads.inception_fer import Inception, InceptionFER, PlainFER


def flop(head):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        head.eval()(torch.rand(1, 3, 48, 48))
    return int(counter.get_total_flops())


def test_layers_are_the_papers():
    head = InceptionFER(Categories(7))
    shapes = []
    for layer in head.features.children():
        layer.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape[1:])))
    head.eval()(torch.rand(2, 3, 48, 48))
    assert shapes[1:] == [
        *((64, 24, 24), (64, 12, 12), (192, 12, 12), (192, 6, 6)),
        *((256, 6, 6), (480, 6, 6), (480, 3, 3), (512, 3, 3), (512, 3, 3)),
    ]
    assert head.embed(torch.rand(2, 3, 48, 48)).shape == (2, 512)
    assert [layer.out_features for layer in head.classifier[::3]] == [4096, 1024, 7]
    (first,) = [x for x in head.features.children() if isinstance(x, Inception)][:1]
    kernels = [m.kernel_size for m in first.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels == [(1, 1), (1, 1), (3, 3), (1, 1), (5, 5), (1, 1)]


def test_the_plain_network_costs_as_much():
    assert flop(PlainFER(Categories(7))) == pytest.approx(
        flop(InceptionFER(Categories(7))), rel=0.05
    )


def test_what_is_said_is_the_mean_over_ten_crops():
    torch.manual_seed(0)
    head = InceptionFER(Categories(5), width=0.125, hidden=(16, 8)).eval()
    images = torch.rand(3, 3, 54, 54)
    probabilities = [torch.softmax(head(crop), 1) for crop in ten_crops(images, 48)]
    torch.testing.assert_close(head.predict(images).exp(), torch.stack(probabilities).mean(0))
