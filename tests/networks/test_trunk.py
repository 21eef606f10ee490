"""The VGG-19 trunk against torchvision's VGG-19, and missing or wrong weights."""

import pickle
import urllib.error

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import vgg19

from ssl_faces import InputError
from ssl_faces.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD
from ssl_faces.networks.trunk import HED_WEIGHTS, IMAGENET_URL, IMAGENET_WEIGHTS, LAYERS, VggTrunk
from tests.support.images import astronaut
from tests.support.pickles import Touch
from tests.support.refusals import message_of

# Where torchvision's `features` ends for each layer: behind the ReLU of the convolution.
ENDS = {"relu2_1": 7, "relu3_1": 12, "relu4_1": 21}


@pytest.fixture(scope="module")
def features():
    """torchvision's convolutions of VGG-19, with weights that tell layers apart."""
    torch.manual_seed(0)
    return vgg19(weights=None, init_weights=False).features[:21].eval().requires_grad_(False)


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """An empty place for downloads, without a network; the path the weights should have."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.urlopen", no_network)
    place = tmp_path / "hub" / "checkpoints" / IMAGENET_WEIGHTS
    place.parent.mkdir(parents=True)
    return place


@pytest.fixture
def saved(torch_home, features):
    """torchvision's weights file, made of `features`."""
    torch.save({f"features.{k}": v for k, v in features.state_dict().items()}, torch_home)
    return torch_home


def test_layers_equal_torchvisions(saved, features):
    trunk, x = VggTrunk(), torch.randn(2, 3, 32, 32)
    result = trunk(x)
    assert list(result) == list(LAYERS)
    for layer, end in ENDS.items():
        expected = features[:end](x)
        assert expected.std() > 0
        torch.testing.assert_close(result[layer], expected, rtol=0, atol=0)


def test_nothing_is_computed_after_the_last_layer():
    trunk = VggTrunk("random", 2)

    def fail(*args):
        raise AssertionError("computed")

    whole = trunk(torch.ones(1, 3, 16, 16))
    trunk.convs["conv3_2"].register_forward_hook(fail)
    maps = trunk(torch.ones(1, 3, 16, 16), ("relu2_1", "relu3_1"))
    assert list(maps) == ["relu2_1", "relu3_1"]
    assert all(torch.equal(value, whole[layer]) for layer, value in maps.items())
    with pytest.raises(AssertionError, match="computed"):
        trunk(torch.zeros(1, 3, 16, 16))


def test_a_frozen_trunk_passes_gradients_to_its_input():
    trunk, x = VggTrunk("random", 2).freeze(), torch.randn(1, 3, 16, 16, requires_grad=True)
    trunk(x)["relu4_1"].sum().backward()
    assert x.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in trunk.parameters())


# Random weights ---------------------------------------------------------------------------------


def test_random_weights_do_not_depend_on_torchs_seed():
    first = VggTrunk("random", 4).state_dict()
    torch.manual_seed(123)
    second = VggTrunk("random", 4).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_random_weights_are_he_normal():
    for conv in VggTrunk("random", 16).convs.values():
        weight = conv.weight
        deviation = (2 / (weight.shape[1] * 9)) ** 0.5
        assert weight.std().item() == pytest.approx(deviation, rel=5 / (2 * weight.numel()) ** 0.5)
        assert conv.bias.abs().max() == 0


# ImageNet weights -------------------------------------------------------------------------------


def test_without_imagenet_weights_the_message_names_file_and_place(torch_home):
    text = message_of(VggTrunk)
    assert "no network" in text
    assert IMAGENET_URL in text
    assert f"put it at {torch_home}" in text
    assert "'random'" in text
    assert list(torch_home.parent.iterdir()) == []


def test_imagenet_weights_fit_the_papers_width_only(torch_home):
    text = message_of(VggTrunk, "imagenet", 8)
    assert "width 64 only, not 8" in text
    assert "set the trunk's width to 64" in text


@pytest.mark.parametrize("kind", ["truncated", "code", "other keys", "other shapes", "a tensor"])
def test_a_wrong_file_in_the_place_of_the_imagenet_weights(torch_home, features, kind, tmp_path):
    state = {f"features.{k}": v for k, v in features.state_dict().items()}
    marker = tmp_path / "ran"
    if kind == "truncated":
        torch.save(state, torch_home)
        torch_home.write_bytes(torch_home.read_bytes()[:1000])
    elif kind == "code":
        torch_home.write_bytes(pickle.dumps(Touch(marker), protocol=2))
    elif kind == "other keys":
        torch.save({"classifier.0.weight": torch.zeros(1)}, torch_home)
    elif kind == "other shapes":
        torch.save({k: v[: max(1, len(v) // 2)] for k, v in state.items()}, torch_home)
    else:
        torch.save(torch.zeros(3), torch_home)
    text = message_of(VggTrunk)
    assert IMAGENET_URL in text
    assert f"put it at {torch_home}" in text
    assert not marker.exists()


# Weights of a file ------------------------------------------------------------------------------


def test_weights_of_a_file(tmp_path):
    other = VggTrunk("random", 2)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    path = tmp_path / "trunk.safetensors"
    save_file(other.state_dict(), path)
    trunk = VggTrunk(str(path), 2)
    assert len(trunk.state_dict()) == 2 * len(trunk.convs)
    for name, value in trunk.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


@pytest.mark.parametrize("kind", ["missing", "text", "pickle", "truncated", "folder"])
def test_a_file_that_is_no_safetensors_file(tmp_path, kind):
    path, marker = tmp_path / "trunk.safetensors", tmp_path / "ran"
    if kind == "text":
        path.write_text("weights")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Touch(marker)))
    elif kind == "truncated":
        save_file(VggTrunk("random", 2).state_dict(), path)
        path.write_bytes(path.read_bytes()[:-10])
    elif kind == "folder":
        path.mkdir()
    text = message_of(VggTrunk, str(path), 2)
    assert (
        f"{path}: {'no such file' if kind == 'missing' else 'not a whole safetensors file'}" in text
    )
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["width", "layers"])
def test_a_file_of_another_trunk(tmp_path, kind):
    path = tmp_path / "trunk.safetensors"
    other = VggTrunk("random", 3 if kind == "width" else 2).state_dict()
    save_file({k: v for k, v in other.items() if kind == "width" or "conv4_1" not in k}, path)
    text = message_of(VggTrunk, str(path), 2)
    assert f"{path}: the weights given are not this network's (" in text
    assert "not of width 2: set the trunk's width" in text


def test_the_vgg_16_that_comes_with_the_package():
    """Layers by their definition, without VGG-19's conv3_4; its features are of order 1."""
    trunk = VggTrunk("hed")
    state = load_file(HED_WEIGHTS)
    assert all(value.dtype == torch.float16 for value in state.values())
    x = torch.from_numpy(astronaut()[:128, 64:192]).permute(2, 0, 1)[None] / 255
    x = (x - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    result, expected = trunk(x), x
    blocks = (("1_1", "1_2"), ("2_1", "2_2"), ("3_1", "3_2", "3_3"), ("4_1",))
    for number, block in enumerate(blocks):
        expected = torch.nn.functional.max_pool2d(expected, 2) if number else expected
        for name in block:
            weight, bias = (state[f"convs.conv{name}.{key}"].float() for key in ("weight", "bias"))
            expected = torch.nn.functional.conv2d(expected, weight, bias, padding=1).relu()
            if f"relu{name}" in result:
                torch.testing.assert_close(result[f"relu{name}"], expected)
                assert 0.5 < expected.square().mean().sqrt() < 2
    with pytest.raises(InputError, match="not of width 8: set the trunk's width"):
        VggTrunk("hed", 8)
