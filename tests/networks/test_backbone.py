"""Encoders by name: feature spaces, maps, files and errors."""

import pytest
import torch

from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import load_encoder, save_encoder
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings, new_encoder
from tests.support.refusals import message_of

# Of the name: width, then the length of each feature space, and of the last map its channels and
# by how much its side is less than the picture's.
KNOWN = {
    "facecycle": (0.25, {"pooled": 256, "map_2x2": 128}, 32, 16),
    "resnet18": (0.25, {"pooled": 128, "map_2x2": 512}, 128, 16),
    "resnet50": (0.125, {"pooled": 256, "map_2x2": 1024}, 256, 16),
    "vit_tiny": (1.0, {"class_token": 192, "pooled": 192}, 192, 8),
    "vit_small": (1.0, {"class_token": 384, "pooled": 384}, 384, 8),
    "timm:test_convnext": (1.0, {"pooled": 64, "map_2x2": 256}, 64, 32),
    "timm:test_vit": (1.0, {"class_token": 64, "pooled": 64}, 64, 16),
    # No class token, and a register that is no patch.
    "timm:test_vit2": (1.0, {"pooled": 64}, 64, 16),
}


def encoder(name, size=48, seed=0):
    torch.manual_seed(seed)
    return BackboneEncoder(name, size, KNOWN[name][0]).eval()


def pictures(count=3, size=48):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [48, 64])
@pytest.mark.parametrize("name", KNOWN)
def test_feature_spaces_and_the_last_map(name, size):
    _, dims, channels, less = KNOWN[name]
    result = encoder(name, size)
    assert result.feature_dims == dims
    with torch.no_grad():
        features = result(pictures(size=size))
        last = result.last_map(result.normalise(pictures(size=size)))
    assert {space: value.shape for space, value in features.items()} == {
        space: (3, dim) for space, dim in dims.items()
    }
    assert last.shape == (3, channels, size // less, size // less)
    assert all(value.isfinite().all() and value.std() > 0 for value in features.values())


@pytest.mark.parametrize("name", ["resnet18", "timm:test_convnext", "vit_tiny"])
def test_features_are_means_of_the_last_map(name):
    """`pooled` of all its places, `map_2x2` of each quarter, channel-first."""
    result = encoder(name, 64)
    x = result.normalise(pictures(size=64))
    with torch.no_grad():
        last, features = result.last_map(x), result.features(x, ())
    pooled = torch.zeros(3, last.shape[1])
    for picture in range(3):
        for channel in range(last.shape[1]):
            pooled[picture, channel] = last[picture, channel].mean()
    if name == "timm:test_convnext":  # which normalises what it has pooled
        pooled = result.network.head.norm(pooled[..., None, None])[..., 0, 0]
    torch.testing.assert_close(features["pooled"], pooled, rtol=1e-4, atol=1e-5)
    if name == "resnet18":
        quarters = [
            last[:, channel, rows, columns].mean((-2, -1))
            for channel in range(last.shape[1])
            for rows in (slice(0, 2), slice(2, 4))
            for columns in (slice(0, 2), slice(2, 4))
        ]
        torch.testing.assert_close(features["map_2x2"], torch.stack(quarters, 1))


@pytest.mark.parametrize("name", KNOWN)
def test_a_picture_has_the_same_features_in_any_batch_and_again(name):
    result, given = encoder(name), pictures(5)
    with torch.no_grad():
        whole, again = result(given), result(given)
        alone = result(given[2:3])
    for space, value in whole.items():
        assert torch.equal(value, again[space])
        torch.testing.assert_close(value[2:3], alone[space], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["facecycle", "resnet18", "vit_tiny", "timm:test_vit2"])
def test_saved_and_loaded(name, tmp_path):
    saved = encoder(name)
    save_encoder(saved, tmp_path / "run/encoder", {"method": "none"})
    with torch.no_grad():
        expected = saved(pictures())
    for place in (tmp_path / "run", tmp_path / "run/encoder"):
        for space, value in load_encoder(place)(pictures()).items():
            assert torch.equal(value, expected[space])
    loaded = load_encoder(tmp_path / "run")
    assert loaded.card["feature_dims"] == saved.feature_dims
    fresh = [load_encoder(tmp_path / "run", untrained=True, seed=s)(pictures()) for s in (3, 3, 4)]
    assert all(torch.equal(fresh[0][space], fresh[1][space]) for space in expected)
    assert not torch.allclose(fresh[0]["pooled"], fresh[2]["pooled"])
    assert not torch.allclose(fresh[0]["pooled"], expected["pooled"])


def test_building_one_draws_from_the_seed_alone_and_leaves_training_mode():
    first, second = (encoder("vit_tiny").state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    built = BackboneEncoder("resnet18", 32, 0.125)
    assert built.network.training
    # Batch statistics haven't seen the picture that the spaces were found by.
    assert built.network.bn1.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("name", "side", "taken"),
    [
        ("resnet18", 24, True),
        ("vit_tiny", 24, True),
        ("vit_tiny", 28, False),
        ("facecycle", 24, False),
        ("timm:test_vit", 32, True),
        ("timm:test_convnext", 32, True),
    ],
)
def test_pictures_of_another_side(name, side, taken):
    assert encoder(name).takes(side) == taken


@pytest.mark.parametrize("name", ["vit_tiny", "timm:test_vit"])
def test_fixed_positions(name):
    """Of each patch sines and cosines of its column and row; none two alike."""
    result = encoder(name)
    result.fix_positions()
    positions = result.network.pos_embed
    assert not positions.requires_grad
    patches = positions[0, 1:]
    assert patches.abs().max() <= 1
    # Half of the numbers are of one axis, of which a sine and a cosine square to one each.
    torch.testing.assert_close(
        patches.square().sum(1), torch.full((len(patches),), patches.shape[1] / 2)
    )
    apart = torch.cdist(patches, patches) + torch.eye(len(patches))
    assert apart.min() > 0.1
    assert not positions[0, 0].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EncoderSettings("resnet19"), "'resnet19'; give one of facecycle, resnet18"),
        (EncoderSettings("timm:resnet19"), "timm has no 'resnet19'; near it are resnet"),
        (EncoderSettings("timm:qqqqqq"), "timm has no 'qqqqqq'; see timm.list_models()"),
        (EncoderSettings("resnet18", 8), "input_size: 8; give 16 at least"),
        (EncoderSettings("vit_tiny", 50), "input_size: 50; vit_tiny needs a multiple of 8"),
        (EncoderSettings("resnet18", 64, 0.0), "width: 0; give a number from 0.0625 to 16"),
        (EncoderSettings("vit_tiny", 64, 0.5), "width: 0.5, but vit_tiny has no other width than"),
    ],
)
def test_unsupported_encoders(settings, message):
    text = message_of(new_encoder, settings)
    assert text.startswith("model.encoder")
    assert message in text


def test_an_architecture_without_a_map():
    """Its map is channel-last."""
    result = new_encoder(EncoderSettings("timm:test_mambaout", 48))
    assert result.feature_dims == {"pooled": 256}
    with pytest.raises(InputError, match=r"test_mambaout gives no map \[C, h, w\]; choose one"):
        result.last_map(pictures())
