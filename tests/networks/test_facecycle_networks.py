"""FaceCycle's encoder, decoder, generator and re-normaliser: shapes, sizes, starts, ranges."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.networks.generator import GENERATOR_LAYERS, Generator, MapNoise
from ssl_faces.networks.motion_decoder import MotionDecoder
from ssl_faces.networks.motion_encoder import MotionEncoder
from ssl_faces.networks.renormaliser import FeatureNorm, ReNormaliser
from ssl_faces.networks.trunk import Layer, VggTrunk, convs_upto


def count(*networks: nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())


def conv_count(inputs: int, outputs: int, kernel: int, bias: bool = True) -> int:
    return outputs * (inputs * kernel**2 + bias)


def attention_count(channels: int) -> int:
    return 3 * conv_count(channels, channels, 1)


def residual_count(channels: int) -> int:
    return 2 * conv_count(channels, channels, 3)


# Encoder ----------------------------------------------------------------------------------------

ENCODER_COUNT = (
    conv_count(3, 64, 7)
    + conv_count(64, 64, 3)
    + (conv_count(64, 64, 3) + attention_count(64) + conv_count(64, 64, 3))
    + (conv_count(64, 128, 3) + attention_count(128) + conv_count(128, 128, 3))
    + 2 * residual_count(128)
    + 2 * conv_count(128, 128, 3)
    + (conv_count(128, 256, 3) + conv_count(256, 256, 3))
    + (conv_count(256, 256, 3) + conv_count(256, 128, 3))
    + (2048 * 512 + 512)
    + (512 * 256 + 256)
)


def test_encoder_has_the_papers_layers() -> None:
    assert count(MotionEncoder()) == ENCODER_COUNT
    assert round(ENCODER_COUNT / 1e6, 2) == 4.24


@pytest.mark.parametrize(("width", "code_dim", "size"), [(64, 256, 64), (4, 8, 64), (4, 16, 96)])
def test_encoder_shapes(width: int, code_dim: int, size: int) -> None:
    network = MotionEncoder(width, code_dim, size)
    conv_map, code = network(torch.randn(2, 3, size, size))
    assert conv_map.shape == (2, 2 * width, size // 16, size // 16)
    assert code.shape == (2, code_dim)
    assert network.map_dim == conv_map[0].numel()
    assert network.code_dim == code_dim


def test_encoder_code_lies_between_minus_one_and_one() -> None:
    torch.manual_seed(0)
    network = MotionEncoder(4, 8, 32)
    _, code = network(1e4 * torch.randn(4, 3, 32, 32))
    assert code.abs().max() <= 1
    assert code.abs().max() > 0.9


def test_encoder_and_decoder_start_as_the_papers() -> None:
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
        if module.bias is not None:
            assert module.bias.abs().max() == 0
    # Encoder: 12 convolutions, 2 residual blocks, 2 attentions, 2 linear; decoder: 6, 2, 2 and 0.
    assert checked == (12 + 2 * 2 + 2 * 3 + 2) + (6 + 2 * 2 + 2 * 3)


# Decoder ----------------------------------------------------------------------------------------

DECODER_COUNT = (
    conv_count(256, 4096, 1)
    + (attention_count(256) + conv_count(256, 256, 3))
    + (conv_count(256, 128, 3) + attention_count(128) + conv_count(128, 128, 3))
    + 2 * residual_count(128)
    + conv_count(128, 64, 3)
    + conv_count(64, 2, 1, bias=False)
)


def test_decoder_has_the_papers_layers() -> None:
    assert count(MotionDecoder()) == DECODER_COUNT
    assert round(DECODER_COUNT / 1e6, 2) == 3.0


@pytest.mark.parametrize(("width", "code_dim"), [(64, 256), (16, 256), (2, 8)])
def test_decoder_shapes(width: int, code_dim: int) -> None:
    flow = MotionDecoder(width, code_dim)(torch.randn(3, code_dim))
    assert flow.shape == (3, 2, 16, 16)
    assert flow.dtype == torch.float32


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.0, 0.1, 1.0, 1e3]))
def test_flow_lies_between_minus_one_and_one(seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    flow = MotionDecoder(2, 8)(scale * torch.randn(2, 8))
    assert flow.abs().max() <= 1
    if scale == 0:
        assert flow.abs().max() == 0, "no bias anywhere: code 0, flow 0"


def test_flow_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert MotionDecoder(2, 8)(torch.randn(1, 8)).dtype == torch.float32


# Generator --------------------------------------------------------------------------------------

GENERATOR_COUNT = (
    conv_count(256, 256, 3)
    + 8 * residual_count(256)
    # Transposed convolutions have as many weights as convolutions.
    + (conv_count(256, 128, 4) + conv_count(128, 128, 3))
    + (conv_count(128 + 128, 128, 4) + conv_count(128, 128, 3))
    + conv_count(128, 3, 3)
    + 2 * conv_count(128, 128, 3)
    + 2 * conv_count(256, 256, 3)
)
TRUNK_COUNT = (
    conv_count(3, 64, 3)
    + conv_count(64, 64, 3)
    + conv_count(64, 128, 3)
    + conv_count(128, 128, 3)
    + conv_count(128, 256, 3)
)


def test_generator_has_the_papers_layers() -> None:
    trunk = VggTrunk("random")
    assert count(Generator()) == GENERATOR_COUNT
    assert sum(count(trunk.convs[name]) for name in convs_upto("relu3_1")) == TRUNK_COUNT
    assert round((GENERATOR_COUNT + TRUNK_COUNT) / 1e6, 1) == 13.4


def maps_of(trunk_width: int, batch: int = 2, size: int = 32) -> dict[Layer, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "relu2_1": torch.rand(batch, 2 * trunk_width, size // 2, size // 2, generator=draw),
        "relu3_1": torch.rand(batch, 4 * trunk_width, size // 4, size // 4, generator=draw),
    }


@pytest.fixture(scope="module")
def flow() -> Tensor:
    return 0.2 * torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(1))


def small_generator(noise_std: float) -> Generator:
    torch.manual_seed(0)
    generator = Generator(width=8, blocks=2, trunk_width=4, noise_std=noise_std)
    # Large enough weights that what comes in shows in the picture.
    for parameter in generator.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
    return generator.requires_grad_(False)


@pytest.mark.parametrize(("width", "trunk_width", "size"), [(256, 64, 64), (32, 8, 64), (8, 4, 32)])
def test_generator_shapes(width: int, trunk_width: int, size: int, flow: Tensor) -> None:
    generator = Generator(width, 1, trunk_width)
    maps = VggTrunk("random", trunk_width)(torch.randn(2, 3, size, size), GENERATOR_LAYERS)
    assert generator(maps).shape == (2, 3, size, size)
    assert generator(maps, flow).shape == (2, 3, size, size)


@pytest.mark.parametrize("noise_std", [0.0, 1.0])
def test_generator_without_a_flow_is_deterministic(noise_std: float) -> None:
    generator, maps = small_generator(noise_std), maps_of(4)
    torch.testing.assert_close(generator(maps), generator(maps), rtol=0, atol=0)


def test_generator_with_a_flow_draws_noise(flow: Tensor) -> None:
    noisy, still, maps = small_generator(1.0), small_generator(0.0), maps_of(4)
    torch.testing.assert_close(still(maps, flow), still(maps, flow), rtol=0, atol=0)
    assert (noisy(maps, flow) - noisy(maps, flow)).abs().max() > 1e-4
    pictures = []
    for _ in range(2):
        torch.manual_seed(7)
        pictures.append(noisy(maps, flow))
    torch.testing.assert_close(*pictures, rtol=0, atol=0)


def test_generator_follows_the_flow(flow: Tensor) -> None:
    generator, maps = small_generator(0.0), maps_of(4)
    moved, other = generator(maps, flow), generator(maps, -flow)
    assert (moved - other).abs().max() > 1e-3
    assert (moved - generator(maps)).abs().max() > 1e-3


@pytest.mark.parametrize("layer", GENERATOR_LAYERS)
def test_generator_moves_each_map_and_adds_its_noise_encoding(layer: Layer) -> None:
    """With a flow of 0 it renders map + encoding; the encoding starts from the map's mean."""
    generator, maps = small_generator(0.0), maps_of(4)
    by_hand = {}
    for name, noise in (
        ("relu2_1", generator.fine_noise),
        ("relu3_1", generator.coarse_noise),
    ):
        mean = maps[name].mean((2, 3), keepdim=True).expand_as(maps[name])
        by_hand[name] = maps[name] + noise.layers(mean)
    still = generator(maps, torch.zeros(2, 2, 16, 16))
    torch.testing.assert_close(still, generator(by_hand), rtol=1e-4, atol=1e-4)
    by_hand[layer] = maps[layer]
    assert (still - generator(by_hand)).abs().max() > 1e-3


def test_noise_has_the_given_deviation_around_the_maps_mean() -> None:
    torch.manual_seed(0)
    noise = MapNoise(2, 0.5)
    noise.layers = nn.Sequential(nn.Identity())
    x = torch.randn(3, 2, 64, 64) + torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    out = noise(x)
    assert out.shape == x.shape
    # 4096 draws of deviation 0.5: five standard errors are 0.04 for the mean, 0.03 for it.
    torch.testing.assert_close(out.mean((2, 3)), x.mean((2, 3)), rtol=0, atol=0.04)
    torch.testing.assert_close(out.std((2, 3)), torch.full((3, 2), 0.5), rtol=0, atol=0.03)


def test_noise_encoding_is_two_convolutions() -> None:
    noise = MapNoise(3, 1.0)
    assert [type(layer) for layer in noise.layers] == [nn.Conv2d, nn.ReLU] * 2
    assert count(noise) == 2 * conv_count(3, 3, 3)


# Re-normaliser ----------------------------------------------------------------------------------

RENORMALISER_COUNT = (
    4 * conv_count(256, 256, 1)
    + 7 * residual_count(256)
    + (conv_count(256, 128, 4) + conv_count(128, 128, 3))
    + conv_count(128, 128, 4)
    + conv_count(128, 3, 1)
)


def test_renormaliser_has_the_papers_layers() -> None:
    assert count(ReNormaliser()) == RENORMALISER_COUNT


@pytest.mark.parametrize(("width", "trunk_width", "code_dim"), [(256, 64, 256), (8, 4, 6)])
def test_renormaliser_shapes(width: int, trunk_width: int, code_dim: int) -> None:
    network = ReNormaliser(width, 2, trunk_width, code_dim)
    coarse, code = torch.rand(2, 4 * trunk_width, 16, 16), torch.randn(2, code_dim)
    for direction in ("deidentify", "reidentify"):
        assert network(coarse, code, direction).shape == (2, 3, 64, 64)


def test_renormaliser_directions_differ_in_their_norms_only() -> None:
    torch.manual_seed(0)
    network = ReNormaliser(8, 2, 2, 6)
    coarse, code = torch.rand(2, 8, 4, 4), torch.randn(2, 6)
    out, back = (network(coarse, code, d) for d in ("deidentify", "reidentify"))
    assert (out - back).abs().max() > 1e-3
    network.reidentify.load_state_dict(network.deidentify.state_dict())
    torch.testing.assert_close(network(coarse, code, "reidentify"), out)


def test_feature_norm_equals_a_loop() -> None:
    """(x - mean) / √(variance + 1e-5) over the positions, times gamma(code), plus beta(code)."""
    torch.manual_seed(0)
    norm, x, code = FeatureNorm(3, 5), 4 * torch.randn(2, 3, 4, 5) + 1, torch.randn(2, 5)
    expected = torch.zeros_like(x)
    for b in range(2):
        for c in range(3):
            gamma = (norm.gamma.weight[c, :, 0, 0] @ code[b] + norm.gamma.bias[c]).item()
            beta = (norm.beta.weight[c, :, 0, 0] @ code[b] + norm.beta.bias[c]).item()
            values = x[b, c].flatten().tolist()
            mean = sum(values) / len(values)
            variance = sum((v - mean) ** 2 for v in values) / len(values)
            expected[b, c] = (x[b, c] - mean) / math.sqrt(variance + 1e-5) * gamma + beta
    torch.testing.assert_close(norm(x, code), expected, rtol=1e-4, atol=1e-5)


def test_feature_norm_takes_the_maps_own_mean_and_scale_out() -> None:
    norm, x, code = FeatureNorm(3, 5), torch.randn(2, 3, 8, 8), torch.randn(2, 5)
    torch.testing.assert_close(norm(7 * x - 3, code), norm(x, code), rtol=1e-3, atol=1e-3)


# The encoder that users get ---------------------------------------------------------------------


@pytest.mark.parametrize("identity", [False, True])
def test_face_encoder_features(identity: bool) -> None:
    torch.manual_seed(0)
    encoder = FaceCycleEncoder(4, 8, 32, identity=identity).eval()
    x = torch.randn(2, 3, 32, 32)
    found = encoder.features(x, encoder.feature_dims)
    names = {"expression", "expression_map"} | ({"identity", "identity_map"} if identity else set())
    assert set(found) == set(encoder.feature_dims) == names
    assert {name: tuple(v.shape) for name, v in found.items()} == {
        name: (2, length) for name, length in encoder.feature_dims.items()
    }
    conv_map, code = encoder.motion(x)
    torch.testing.assert_close(found["expression"], code)
    torch.testing.assert_close(found["expression_map"].view(2, 8, 2, 2), conv_map)
    if identity:
        conv_map, code = encoder.identity(x)
        torch.testing.assert_close(found["identity"], code)
        torch.testing.assert_close(found["identity_map"].view(2, 8, 2, 2), conv_map)
        assert (found["identity"] - found["expression"]).abs().max() > 0, "weights of its own"


def test_face_encoder_of_the_paper() -> None:
    encoder = FaceCycleEncoder(identity=True)
    assert encoder.feature_dims == {
        "expression": 256,
        "expression_map": 2048,
        "identity": 256,
        "identity_map": 2048,
    }
    assert count(encoder) == 2 * ENCODER_COUNT
    assert encoder.config == {
        "width": 64,
        "code_dim": 256,
        "code_size": 64,
        "map_size": 64,
        "identity": True,
        "linear_std": 0.01,
        "design": "paper",
    }


def test_maps_of_larger_pictures_than_codes() -> None:
    """The paper's linear protocol: trained at 64, the map of 100x100 pictures, 7x7 places."""
    encoder = FaceCycleEncoder(2, 8, 64, map_size=100, identity=True).eval()
    images = torch.rand(2, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = encoder(images)
        x = encoder.normalise(images)
        small = F.interpolate(x, size=(64, 64), mode="bilinear", antialias=True)
        for name, network in (("expression", encoder.motion), ("identity", encoder.identity)):
            assert network is not None
            torch.testing.assert_close(found[f"{name}_map"], network.convs(x).flatten(1))
            torch.testing.assert_close(found[name], network(small)[1])
    assert encoder.input_size == 100
    assert {name: value.shape[1] for name, value in found.items()} == encoder.feature_dims
    assert encoder.feature_dims["expression_map"] == 4 * 7 * 7
    with pytest.raises(ValueError, match="map_size 48 is below code_size 64"):
        FaceCycleEncoder(2, 8, 64, map_size=48)


@pytest.mark.parametrize("map_size", [32, 48])
def test_only_the_wanted_spaces_are_computed(map_size: int) -> None:
    encoder = FaceCycleEncoder(2, 8, 32, map_size=map_size, identity=True).eval()
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        everything = encoder(images)
        for space, value in everything.items():
            found = encoder(images, [space])
            assert list(found) == [space]
            torch.testing.assert_close(found[space], value)
    encoder.identity = None  # would fail if it were asked
    encoder(images, ["expression", "expression_map"])
