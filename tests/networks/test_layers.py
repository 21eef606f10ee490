"""Small layers of networks: standardisers, codes, strided pointwise convolutions, decoders."""

import math

import pytest
import torch
from torch import nn

from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import load_encoder, save_encoder
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings, new_encoder
from ssl_faces.networks.image_decoder import ImageDecoder
from ssl_faces.networks.motion_encoder import MotionEncoder
from ssl_faces.networks.pointwise import StridedPointwise, without_small_strided
from ssl_faces.networks.repair_generator import IMAGE, RepairGenerator
from ssl_faces.networks.standardiser import BatchStandardiser
from ssl_faces.networks.warp import resize_flow, warp
from ssl_faces.rendered import RenderedFaces
from tests.support.by_heart import minimise


def test_standardised_codes_equal_a_loop():
    code = 3 + 5 * torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    result = BatchStandardiser(4, eps=0.1)(code)
    for d in range(4):
        values = code[:, d].tolist()
        mean = sum(values) / 7
        variance = sum((v - mean) ** 2 for v in values) / 7
        expected = [(v - mean) / math.sqrt(variance + 0.1) for v in values]
        assert result[:, d].tolist() == pytest.approx(expected, abs=1e-5)


def test_running_averages_serve_afterwards():
    """As those of batch normalisation do, but for its variance, which divides by n - 1."""
    draw = torch.Generator().manual_seed(0)
    ours, theirs = BatchStandardiser(3), nn.BatchNorm1d(3, affine=False)
    batches = [2 + 4 * torch.randn(500, 3, generator=draw) for _ in range(30)]
    for batch in batches:
        torch.testing.assert_close(ours(batch), theirs(batch), atol=1e-4, rtol=1e-4)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(batches[0]), theirs(batches[0]), atol=1e-2, rtol=1e-2)
    one = ours(batches[0][:1])
    torch.testing.assert_close(one, ours(batches[0])[:1])


def test_a_standardised_code_tells_faces_apart_from_the_start():
    designs = ("paper", "repair")
    spread = {}
    for design in designs:
        torch.manual_seed(0)
        encoder = MotionEncoder(4, 8, 32, linear_std=0.04, design=design)
        _, code = encoder(torch.rand(16, 3, 32, 32))
        spread[design] = code.std(0).mean().item()
    assert spread["repair"] > 50 * spread["paper"]


@pytest.mark.parametrize("size", [32, 48, 100])
def test_both_designs_have_maps_of_the_same_shape(size):
    x = torch.rand(2, 3, size, size)
    maps = [MotionEncoder(4, 8, size, design=design)(x)[0] for design in ("paper", "repair")]
    assert maps[0].shape == maps[1].shape


def test_the_scale_of_weights_before_a_normalisation_does_not_matter():
    """Growing weights must not hide the differences between faces."""
    torch.manual_seed(0)
    encoder = MotionEncoder(4, 8, 32, linear_std=0.04, design="repair")
    x = torch.rand(8, 3, 32, 32)
    conv_map, code = encoder(x)
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight *= 100
    scaled_map, scaled_code = encoder(x)
    torch.testing.assert_close(scaled_map, conv_map, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(scaled_code, code, atol=5e-2, rtol=5e-2)


def test_the_repair_generator_starts_as_the_warped_image():
    torch.manual_seed(0)
    generator = RepairGenerator(8, 1, 4)
    image = torch.randn(2, 3, 32, 32)
    maps = {"relu2_1": torch.rand(2, 8, 16, 16), "relu3_1": torch.rand(2, 16, 8, 8), IMAGE: image}
    flow = 0.2 * torch.randn(2, 2, 16, 16)
    start = warp(image, flow, padding="border")
    torch.testing.assert_close(generator(maps, flow), start, atol=0.05, rtol=0)
    assert (generator(maps, flow) - start).abs().max() > 0
    # Without a flow nothing is moved.
    torch.testing.assert_close(generator(maps), image, atol=0.05, rtol=0)
    # What is painted is grey: the differences of the channels are the image's.
    nn.init.zeros_(generator.repairs.weight)
    nn.init.normal_(generator.repairs.weight[:1], 0.0, 1.0)
    painted = generator(maps, flow) - start
    assert painted.std() > 0.02
    torch.testing.assert_close(painted, painted[:, :1].expand_as(painted), atol=1e-5, rtol=0)
    # The other two channels move the image further, by tenths of the grid's units.
    nn.init.zeros_(generator.repairs.weight)
    shift = torch.tensor([0.0, 1.0, -2.0])
    generator.repairs.bias.data.copy_(shift)
    full = resize_flow(flow, (32, 32)) + 0.1 * shift[1:, None, None]
    torch.testing.assert_close(generator(maps, flow), warp(image, full, padding="border"))
    # Both depend on flow and maps.
    nn.init.normal_(generator.repairs.weight, 0.0, 1.0)
    other = {**maps, "relu3_1": maps["relu3_1"] + 1}
    assert (generator(other, flow) - generator(maps, flow)).abs().max() > 1e-2
    uniform = {name: torch.ones_like(of) for name, of in maps.items()}
    assert (generator(uniform, flow) - generator(uniform)).abs().max() > 1e-3


SMALL = EncoderSettings("resnet18", 32, 0.125)


@pytest.mark.parametrize(
    ("name", "of"), [("resnet18", "pooled"), ("facecycle", "pooled"), ("vit_tiny", "class_token")]
)
def test_codes_are_linear_layers_on_the_representation(name, of):
    torch.manual_seed(0)
    width = 1.0 if name == "vit_tiny" else 0.125
    encoder = BackboneEncoder(name, 32, width, {"action": 5, "pose": 3}).eval()
    assert encoder.feature_dims["action"] == 5
    assert encoder.feature_dims["pose"] == 3
    result = encoder(torch.rand(2, 3, 32, 32))
    for code in ("action", "pose"):
        weights = dict(encoder.codes[code].named_parameters())
        expected = result[of] @ weights["weight"].T + weights["bias"]
        torch.testing.assert_close(result[code], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(encoder.codes_of(result[of])[code], result[code])


def test_saved_encoders_keep_their_codes_and_others_have_none(tmp_path):
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 32, 32)
    encoder = new_encoder(SMALL, {"identity": 6}).eval()
    loaded = load_encoder(save_encoder(encoder, tmp_path / "codes", {}))
    assert loaded.feature_dims == encoder.feature_dims
    torch.testing.assert_close(loaded(pictures)["identity"], encoder(pictures)["identity"])
    # As encoders were saved before there were codes: neither the card nor the weights speak of any.
    plain = new_encoder(SMALL)
    assert set(plain.config) == {"name", "input_size", "width"}
    assert not [key for key in plain.state_dict() if key.startswith("codes")]


@pytest.mark.parametrize("codes", [{"pooled": 4}, {"a b": 4}, {"action": 0}, {"keys": 4}])
def test_unsupported_codes(codes):
    with pytest.raises(InputError, match=r"model.encoder: codes: .* give names beside pooled"):
        new_encoder(SMALL, codes)


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


@pytest.mark.parametrize("size", [16, 30, 33, 48, 64])
def test_pictures_of_the_size(size):
    torch.manual_seed(0)
    pictures = ImageDecoder(8, size, width=4)(10 * torch.randn(3, 8))
    assert pictures.shape == (3, 3, size, size)
    assert pictures.dtype == torch.float32


def test_it_learns_which_code_is_which_face():
    torch.manual_seed(0)
    faces = RenderedFaces(8, 8, "all", size=32).render_batch(range(4)).float() / 255
    codes, decoder = torch.eye(4), ImageDecoder(4, 32, width=8)
    losses = minimise(
        decoder.parameters(), lambda: (decoder(codes) - faces).abs().mean(), 150, 3e-3
    )
    # The best constant image.
    constant = (faces - faces.median(0).values).abs().mean()
    assert losses[-1] < 0.4 * constant
