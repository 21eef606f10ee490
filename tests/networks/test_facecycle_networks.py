"""FaceCycle's encoder, decoder, generator and re-normaliser: shapes, sizes, initial weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.networks.generator import GENERATOR_LAYERS, Generator, MapNoise
from ssl_faces.networks.motion_decoder import MotionDecoder
from ssl_faces.networks.motion_encoder import MotionEncoder
from ssl_faces.networks.renormaliser import ReNormaliser
from ssl_faces.networks.trunk import VggTrunk


def count(*networks):
    return sum(p.numel() for network in networks for p in network.parameters())


def test_encoder_and_decoder_start_as_the_papers():
    """Convolutions He-normal by fan-out, linear layers N(0, 0.01), the flow's N(0, 0.05)."""
    torch.manual_seed(0)
    encoder, decoder = MotionEncoder(), MotionDecoder()
    checked = 0
    for module in [*encoder.modules(), *decoder.modules()]:
        if module is decoder.flow:
            deviation = 0.05
        elif isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            deviation = math.sqrt(2 / fan_out)
        elif isinstance(module, nn.Linear):
            deviation = 0.01
        else:
            continue
        checked += 1
        weight = module.weight.detach()
        standard_error = 1 / math.sqrt(2 * weight.numel())
        assert weight.std().item() == pytest.approx(deviation, rel=5 * standard_error)
        assert abs(weight.mean().item()) < 10 * deviation * standard_error
        # Of a uniform draw no value is beyond 1.74 deviations, of a normal one every twelfth.
        assert weight.numel() < 1000 or (weight.abs() > 1.8 * deviation).float().mean() > 0.04
        if module.bias is not None:
            assert module.bias.abs().max() == 0
    # Encoder: 12 convolutions, 2 residual blocks, 2 attentions, 2 linear; decoder: 6, 2, 2 and 0.
    assert checked == (12 + 2 * 2 + 2 * 3 + 2) + (6 + 2 * 2 + 2 * 3)


def maps_of(trunk_width, batch=2, size=32):
    draw = torch.Generator().manual_seed(0)
    return {
        "relu2_1": torch.rand(batch, 2 * trunk_width, size // 2, size // 2, generator=draw),
        "relu3_1": torch.rand(batch, 4 * trunk_width, size // 4, size // 4, generator=draw),
    }


@pytest.fixture(scope="module")
def flow():
    return 0.2 * torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(1))


def small_generator(noise_std):
    torch.manual_seed(0)
    generator = Generator(width=8, blocks=2, trunk_width=4, noise_std=noise_std)
    # Large enough weights that what comes in shows in the picture.
    for parameter in generator.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
    return generator.requires_grad_(False)


def test_generator_with_a_flow_draws_noise(flow):
    noisy, still, maps = small_generator(1.0), small_generator(0.0), maps_of(4)
    torch.testing.assert_close(still(maps, flow), still(maps, flow), rtol=0, atol=0)
    assert (noisy(maps, flow) - noisy(maps, flow)).abs().max() > 1e-4
    pictures = []
    for _ in range(2):
        torch.manual_seed(7)
        pictures.append(noisy(maps, flow))
    torch.testing.assert_close(*pictures, rtol=0, atol=0)


def test_noise_has_the_given_deviation_around_the_maps_mean():
    torch.manual_seed(0)
    noise = MapNoise(2, 0.5)
    noise.layers = nn.Sequential(nn.Identity())
    x = torch.randn(3, 2, 64, 64) + torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    out = noise(x)
    assert out.shape == x.shape
    # 4096 draws of deviation 0.5: five standard errors are 0.04 for the mean, 0.03 for it.
    torch.testing.assert_close(out.mean((2, 3)), x.mean((2, 3)), rtol=0, atol=0.04)
    torch.testing.assert_close(out.std((2, 3)), torch.full((3, 2), 0.5), rtol=0, atol=0.03)


@pytest.mark.parametrize(
    ("width", "trunk_width", "code_dim", "size"), [(64, 64, 256, 64), (4, 8, 16, 96), (8, 4, 8, 32)]
)
def test_shapes(width, trunk_width, code_dim, size, flow):
    x, code = torch.randn(2, 3, size, size), torch.randn(2, code_dim)
    encoder = MotionEncoder(width, code_dim, size)
    conv_map, encoded = encoder(x)
    assert conv_map.shape == (2, 2 * width, size // 16, size // 16)
    assert encoded.shape == (2, code_dim)
    assert (encoder.map_dim, encoder.code_dim) == (conv_map[0].numel(), code_dim)
    decoded = MotionDecoder(width, code_dim)(code)
    assert (decoded.shape, decoded.dtype) == ((2, 2, 16, 16), torch.float32)
    maps = VggTrunk("random", trunk_width)(x, GENERATOR_LAYERS)
    generator = Generator(width, 1, trunk_width)
    assert generator(maps).shape == generator(maps, flow).shape == x.shape
    network = ReNormaliser(width, 2, trunk_width, code_dim)
    for direction in ("deidentify", "reidentify"):
        assert network(maps["relu3_1"], code, direction).shape == x.shape


def test_codes_and_flows_lie_between_minus_one_and_one():
    """Without biases a code of 0 gives a flow of 0; flows are float32 under autocast."""
    torch.manual_seed(0)
    _, code = MotionEncoder(4, 8, 32)(1e4 * torch.randn(4, 3, 32, 32))
    assert 0.9 < code.abs().max() <= 1
    decoder = MotionDecoder(2, 8)
    assert decoder(1e3 * torch.randn(2, 8)).abs().max() <= 1
    assert decoder(torch.zeros(2, 8)).abs().max() == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert decoder(torch.randn(1, 8)).dtype == torch.float32


@pytest.mark.parametrize("identity", [False, True])
def test_face_encoder_features(identity):
    torch.manual_seed(0)
    encoder = FaceCycleEncoder(4, 8, 32, identity=identity).eval()
    x = torch.randn(2, 3, 32, 32)
    result = encoder.features(x, encoder.feature_dims)
    names = {"expression", "expression_map"} | ({"identity", "identity_map"} if identity else set())
    assert set(result) == set(encoder.feature_dims) == names
    assert {name: tuple(v.shape) for name, v in result.items()} == {
        name: (2, length) for name, length in encoder.feature_dims.items()
    }
    conv_map, code = encoder.motion(x)
    torch.testing.assert_close(result["expression"], code)
    torch.testing.assert_close(result["expression_map"].view(2, 8, 2, 2), conv_map)
    if identity:
        conv_map, code = encoder.identity(x)
        torch.testing.assert_close(result["identity"], code)
        torch.testing.assert_close(result["identity_map"].view(2, 8, 2, 2), conv_map)
        assert (result["identity"] - result["expression"]).abs().max() > 0, "weights of its own"


def test_face_encoder_of_the_paper():
    encoder = FaceCycleEncoder(identity=True)
    assert encoder.feature_dims == {
        "expression": 256,
        "expression_map": 2048,
        "identity": 256,
        "identity_map": 2048,
    }
    assert count(encoder) == 2 * count(MotionEncoder())
    assert encoder.config == {
        "width": 64,
        "code_dim": 256,
        "code_size": 64,
        "map_size": 64,
        "identity": True,
        "linear_std": 0.01,
        "design": "paper",
    }


def test_maps_of_larger_pictures_than_codes():
    """The paper's linear protocol: trained at 64, the map of 100x100 pictures, 7x7 places."""
    encoder = FaceCycleEncoder(2, 8, 64, map_size=100, identity=True).eval()
    images = torch.rand(2, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        result = encoder(images)
        x = encoder.normalise(images)
        small = F.interpolate(x, size=(64, 64), mode="bilinear", antialias=True)
        for name, network in (("expression", encoder.motion), ("identity", encoder.identity)):
            torch.testing.assert_close(result[f"{name}_map"], network.convs(x).flatten(1))
            torch.testing.assert_close(result[name], network(small)[1])
    assert encoder.input_size == 100
    assert {name: value.shape[1] for name, value in result.items()} == encoder.feature_dims
    assert encoder.feature_dims["expression_map"] == 4 * 7 * 7
    with pytest.raises(ValueError, match="map_size 48 is below code_size 64"):
        FaceCycleEncoder(2, 8, 64, map_size=48)


@pytest.mark.parametrize("map_size", [32, 48])
def test_only_the_wanted_spaces_are_computed(map_size):
    encoder = FaceCycleEncoder(2, 8, 32, map_size=map_size, identity=True).eval()
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        everything = encoder(images)
        for space, value in everything.items():
            result = encoder(images, [space])
            assert list(result) == [space]
            torch.testing.assert_close(result[space], value)
    encoder.identity = None  # would fail if it were asked
    encoder(images, ["expression", "expression_map"])
