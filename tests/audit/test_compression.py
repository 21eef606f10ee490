"""Pruning and shared weights against loops and closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

from linear_probe.experiments.audit import compression
from linear_probe.experiments.audit.compression import Compression, pruned, shared, weights_that_run
from ssl_faces import InputError


class Net(nn.Module):
    """Two convolutions, of which one is never called, attention, and a linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.teacher = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        return self.linear(self.attention(tokens, tokens, tokens)[0].mean(1))


IMAGES = torch.rand(2, 3, 8, 8)


def network():
    return Net().eval()


def weights(of):
    return torch.cat([of.conv.weight.flatten(), of.linear.weight.flatten()]).detach().numpy()


def test_layers_are_those_that_run_and_others_are_listed():
    layers, others = weights_that_run(network(), IMAGES)
    assert list(layers) == ["conv", "linear"]
    assert others == ["attention.in_proj_weight"]
    with pytest.raises(InputError, match="calls no convolution"):
        weights_that_run(nn.Sequential(nn.Flatten()), IMAGES)


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.97])
def test_exactly_the_smallest_of_all_layers_are_zero(sparsity):
    whole = network()
    before = weights(whole)
    after = weights(pruned(whole, IMAGES, Compression(sparsity)))
    count = round(len(before) * sparsity)
    smallest = np.argsort(np.abs(before))[:count]
    assert set(np.flatnonzero(after == 0)) == set(smallest)
    kept = np.setdiff1d(np.arange(len(before)), smallest)
    assert (after[kept] == before[kept]).all()
    assert (weights(whole) == before).all()  # a copy


def test_a_schedule_ends_at_the_sparsity_and_zeros_stay_zero():
    shares, epochs = [], []

    def train(of, epoch):
        epochs.append(epoch)
        shares.append(float((weights(of) == 0).mean()))
        optimizer = torch.optim.SGD(of.parameters(), 0.1)
        of(IMAGES).square().sum().backward()
        optimizer.step()

    found = pruned(network(), IMAGES, Compression(0.8, epochs=3), train)
    assert epochs == [0, 1, 2]
    expected = [0.8 * (1 - (1 - step / 3) ** 3) for step in (1, 2, 3)]
    assert shares == pytest.approx(expected, abs=0.005)
    after = weights(found)
    assert (after == 0).mean() == pytest.approx(0.8, abs=0.005)
    assert not np.isin(after[after != 0], weights(network())).all()  # the others were trained
    assert "weight" in dict(found.conv.named_parameters())


@pytest.mark.parametrize("count", [2, 5, 16])
def test_exactly_so_many_values_in_each_layer(count):
    found = shared(network(), IMAGES, count)
    for layer, before in ((found.conv, network().conv), (found.linear, network().linear)):
        values = layer.weight.detach().numpy().ravel()
        assert len(np.unique(values)) == min(count, values.size)
        # Each weight has the nearest of them, and each of them is the mean of its weights.
        given = before.weight.detach().numpy().ravel()
        centres = np.unique(values)
        for weight, value in zip(given, values, strict=True):
            assert abs(weight - value) == pytest.approx(np.abs(centres - weight).min(), abs=1e-6)
        for centre in centres:
            assert given[values == centre].mean() == pytest.approx(centre, abs=1e-3)


def test_a_pruned_network_stays_pruned():
    before = pruned(network(), IMAGES, Compression(0.5))
    after = shared(before, IMAGES, 4)
    assert ((weights(after) == 0) == (weights(before) == 0)).all()
    assert len(after.conv.weight.unique()) == 4


def test_large_layers_are_looked_at_in_part(monkeypatch):
    monkeypatch.setattr(compression, "MOST_CLUSTERED", 50)
    found = shared(network(), IMAGES, 3)
    assert len(found.conv.weight.unique()) == 3


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"sparsity": 1.0}, "sparsity: 1; give a number from 0 and below 1"),
        ({"sparsity": -0.1}, "sparsity: -0.1"),
        ({"epochs": 2}, "epochs: 2; give a sparsity"),
        ({"clusters": 1}, "clusters: 1; give a whole number from 2 to 65,536"),
        ({}, "changes nothing"),
    ],
)
def test_bad_compressions(of, message):
    with pytest.raises(InputError, match=message):
        Compression(**of)


def test_names():
    assert Compression(0.9, 2, 16, "static").name == "90 % pruned over 2 epochs, 16 values, 8 bits"
    assert Compression(quantise="dynamic").name == "8 bits, dynamic"
