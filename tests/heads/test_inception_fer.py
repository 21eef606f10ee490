"""The network of the fact sheet, and what it is compared with."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from linear_probe.heads.goals import Categories
from linear_probe.heads.head import Head
from linear_probe.heads.inception_fer import Inception, InceptionFER, PlainFER
from ssl_faces import InputError
from ssl_faces.networks.backbone import BackboneEncoder


def flop(head: Head) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        head.eval()(torch.rand(1, 3, 48, 48))
    return int(counter.get_total_flops())


def test_layers_are_the_papers() -> None:
    head = InceptionFER(Categories(7))
    shapes: list[tuple[int, ...]] = []
    for layer in head.features.children():
        layer.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape[1:])))
    head.eval()(torch.rand(2, 3, 48, 48))
    assert shapes[1:] == [
        *((64, 24, 24), (64, 12, 12), (192, 12, 12), (192, 6, 6)),
        *((256, 6, 6), (480, 6, 6), (480, 3, 3), (512, 3, 3), (512, 3, 3), (512,)),
    ]
    assert [layer.out_features for layer in head.classifier[::3]] == [4096, 1024, 7]
    (first,) = [x for x in head.features.children() if isinstance(x, Inception)][:1]
    kernels = [m.kernel_size for m in first.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels == [(1, 1), (1, 1), (3, 3), (1, 1), (5, 5), (1, 1)]


def test_the_plain_network_costs_as_much() -> None:
    assert flop(PlainFER(Categories(7))) == pytest.approx(
        flop(InceptionFER(Categories(7))), rel=0.05
    )


def test_what_is_said_is_the_mean_over_ten_crops() -> None:
    torch.manual_seed(0)
    head = InceptionFER(Categories(5), width=0.125, hidden=(16, 8)).eval()
    images = torch.rand(3, 3, 54, 54)
    total = torch.zeros(3, 5)
    for mirrored in (images, images.flip(-1)):
        for y, x in ((0, 0), (0, 6), (6, 0), (6, 6), (3, 3)):
            total += torch.softmax(head(mirrored[..., y : y + 48, x : x + 48]), 1)
    torch.testing.assert_close(head.predict(images).exp(), total / 10)


def test_on_an_encoder_only_the_classifier_learns() -> None:
    torch.manual_seed(0)
    encoder = BackboneEncoder("resnet18", 32, 0.0625)
    head = InceptionFER(Categories(4), encoder, space="map_2x2", hidden=(16, 8)).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in head.parameters() if p.requires_grad], 0.1)
    sum(head.losses(torch.rand(4, 3, 48, 48), torch.arange(4)).values()).backward()
    optimizer.step()
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    trained = {n.split(".")[0] for n, p in head.named_parameters() if p.grad is not None}
    assert trained == {"classifier"}


def test_refused() -> None:
    encoder = BackboneEncoder("resnet18", 32, 0.0625)
    with pytest.raises(InputError, match=r"head\.space: 'map'; the encoder has pooled, map_2x2"):
        InceptionFER(Categories(7), encoder, space="map")
    with pytest.raises(InputError, match="plain_fer is a network of its own"):
        PlainFER(Categories(7), encoder)
    with pytest.raises(InputError, match=r"head\.width: 0"):
        InceptionFER(Categories(7), width=0)
    with pytest.raises(InputError, match=r"head\.margin: -1"):
        InceptionFER(Categories(7), margin=-1)
