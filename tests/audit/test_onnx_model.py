"""ONNX files: the same as the network, near it with 8 bits, and what they say of themselves."""

import gzip

import numpy as np
import pytest
import torch
from torch import nn

from linear_probe.experiments.audit.compression import Compression, pruned, shared
from linear_probe.experiments.audit.onnx_model import OnnxModel, exported
from ssl_faces import InputError
from ssl_faces.encoders.onnx_files import quantised


class Net(nn.Module):
    """A convolution with batch normalisation; two layers that onnxruntime can't quantise, one of
    them only when dynamic; and a linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)
        self.up = nn.ConvTranspose2d(16, 4, 2, 2)
        self.recurrent = nn.GRU(4, 6, batch_first=True)
        self.linear = nn.Linear(6, 5)
        self.teacher = nn.Linear(7, 7)

    def forward(self, x):
        seen = self.up(self.norm(self.conv(x)).relu()).mean(2).transpose(1, 2)
        return self.linear(self.recurrent(seen)[0][:, -1])


IMAGES = torch.rand(24, 3, 8, 8) * torch.linspace(0.1, 1, 24).view(-1, 1, 1, 1)


@pytest.fixture(scope="module")
def network():
    found = Net()
    for _ in range(20):
        found(torch.rand(8, 3, 8, 8))  # statistics of its batch normalisation
    return found.eval()


@pytest.fixture(scope="module")
def data(network):
    return exported(network, IMAGES[:2])


def test_a_file_says_what_the_network_says_of_any_number(network, data):
    model = OnnxModel(data)
    for count in (1, 2, 7):
        with torch.no_grad():
            expected = network(IMAGES[:count])
        torch.testing.assert_close(model.logits(IMAGES[:count]), expected, rtol=1e-4, atol=1e-5)
    assert model.compressed_bytes == len(gzip.compress(data, 9, mtime=0))
    # Random weights hardly deflate: half as many bytes of them are saved.
    saved = model.compressed_bytes - model.float16_bytes
    assert saved == pytest.approx(2 * model.counts()[0], rel=0.2)
    assert model.milliseconds(IMAGES[:1]) > 0
    layers = (network.conv, network.norm, network.up, network.recurrent, network.linear)
    used = [value for layer in layers for value in layer.state_dict().values()]
    assert model.counts()[0] == sum(p.numel() for p in used if p.numel() > 1)


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_8_bits_are_near_32_and_what_stays_in_float_is_listed(how, network, data):
    model = OnnxModel(quantised(data, how, IMAGES))
    with torch.no_grad():
        expected = network(IMAGES)
    error = (model.logits(IMAGES) - expected).abs().max()
    assert 0 < error < 0.05 * expected.std()
    assert model.logits(IMAGES[:3]).shape == (3, 5)
    kinds = {name: values.dtype.itemsize for name, (values, _) in model.weights().items()}
    left = [name.rpartition(" ")[2] for name in model.in_float()]
    assert left == (["(GRU)"] if how == "static" else ["(ConvTranspose)", "(GRU)"])
    assert sum(size == 1 for size in kinds.values()) == 4 - len(left)


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_sums_of_products_do_not_overflow_on_any_processor(how):
    """x86 without VNNI adds two products of 8 bits in 16, and cuts off what is more."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.uniform_(0.5, 1)  # all sums are large
        images = torch.rand(16, 3, 8, 8) / 2 + 0.5
        expected = network(images).flatten(1)
    model = OnnxModel(quantised(exported(network, images[:2]), how, images))
    found = model.logits(images).flatten(1)
    assert ((found - expected).abs() / expected).max() < 0.02
    if how == "static":  # by the file, whatever processor this is: weights of 7 bits
        weights = [values for values, _ in model.weights().values() if values.dtype == np.int8]
        assert len(weights) == 2
        assert max(int(np.abs(values.astype(int)).max()) for values in weights) <= 64


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_zeros_stay_zero_in_8_bits(how, network):
    small = pruned(network, IMAGES[:2], Compression(0.6))
    data = exported(small, IMAGES[:2])
    zeros = sum(int((m.weight == 0).sum()) for m in (small.conv, small.linear))
    whole, few = OnnxModel(data).counts(), OnnxModel(quantised(data, how, IMAGES)).counts()
    # Beside these what a new normalisation layer adds.
    assert whole[0] - whole[1] == zeros + int((network.norm.bias == 0).sum())
    assert few[0] - few[1] >= zeros  # and small ones become zero


def test_shared_values_stay_shared_in_the_file(network):
    data = exported(shared(network, IMAGES[:2], 4), IMAGES[:2])
    weights = OnnxModel(data).weights()
    assert len(np.unique(weights["conv.weight"][0])) == 4
    assert len(np.unique(weights["linear.weight"][0])) == 4
    plain = OnnxModel(exported(network, IMAGES[:2]))
    assert OnnxModel(data).compressed_bytes < plain.compressed_bytes


def test_what_cannot_be_written_is_told(network):
    class OfTheirNumber(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) * float(len(x))

    with pytest.raises(InputError, match="says something else when written as ONNX"):
        exported(OfTheirNumber(), IMAGES[:2])

    class Lacking(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x).mean((2, 3))

    with pytest.raises(InputError, match="can't be written as ONNX"):
        exported(Lacking(), IMAGES[:2])
    with pytest.raises(InputError, match="onnxruntime can't run"):
        OnnxModel(b"none")
