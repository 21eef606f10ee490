"""Backbones of timm and torchvision: the right features, or one clear sentence."""

import sys
import urllib.error

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from linear_probe.features.frozen import EncoderSource
from linear_probe.sources.backbones import BackboneName, load_backbone, resnet18_weights
from linear_probe.sources.by_name import RESNET18, encoder_sources
from ssl_faces import InputError
from tests.support.probing import SMALL_TIMM, only_source, run_probe


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_pooled_features_of_pictures_normalised_as_the_library_says(library):
    """Against the library's own network with its classifier taken off by hand."""
    torch.manual_seed(0)
    if library == "timm":
        theirs = timm.create_model(SMALL_TIMM).eval()
        mean, std = (torch.tensor(theirs.pretrained_cfg[x]).view(3, 1, 1) for x in ("mean", "std"))
        images = torch.rand(2, 3, 160, 160)
        with torch.no_grad():
            expected = theirs.forward_features((images - mean) / std).mean(dim=(2, 3))
        source = only_source(f"timm:{SMALL_TIMM}?random")
    else:
        theirs = torchvision.models.shufflenet_v2_x0_5(weights=None).eval()
        theirs.fc = nn.Identity()
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        images = torch.rand(2, 3, 224, 224)
        with torch.no_grad():
            expected = theirs((images - mean) / std)
        source = only_source("torchvision:shufflenet_v2_x0_5?random")
    assert isinstance(source, EncoderSource)
    assert source.input_size == images.shape[-1]
    with torch.inference_mode():
        found = source(images)
    assert source.dims == {"pooled": expected.shape[1]}
    torch.testing.assert_close(found["pooled"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "dim", "size"),
    [
        ("torchvision:mobilenet_v3_small", 1024, 224),
        ("torchvision:mobilenet_v2", 1280, 224),
        ("torchvision:squeezenet1_0", None, None),
        ("timm:test_vit", 64, 160),
        ("timm:test_convnext", 64, 160),
    ],
)
def test_other_architectures(name, dim, size):
    if dim is None:
        with pytest.raises(InputError, match="no linear classifier to take off"):
            only_source(f"{name}?random")
        return
    source = only_source(f"{name}?random")
    assert isinstance(source, EncoderSource)
    assert (source.dims, source.input_size) == ({"pooled": dim}, size)


@pytest.mark.parametrize("with_classifier", [True, False])
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_weights_of_a_local_file(library, with_classifier, tmp_path):
    torch.manual_seed(5)
    if library == "timm":
        name, whole = SMALL_TIMM, timm.create_model(SMALL_TIMM, num_classes=7)
    else:
        name = "shufflenet_v2_x0_5"
        whole = torchvision.models.shufflenet_v2_x0_5(num_classes=7)
    state = whole.state_dict()
    if not with_classifier:
        state = {k: v for k, v in state.items() if not k.startswith("fc.")}
    file = tmp_path / "own.safetensors"
    save_file(state, file)
    found = load_backbone(BackboneName(library, name, weights=str(file)))
    images = torch.rand(1, 3, found.input_size, found.input_size)
    assert whole.fc.in_features == found.feature_dims["pooled"]
    whole.fc = nn.Identity()
    with torch.no_grad():
        expected = whole.eval()((images - found.mean) / found.std)
    torch.testing.assert_close(found(images)["pooled"], expected, rtol=1e-4, atol=1e-5)

    # Other weights, other features, never the earlier ones.
    before = only_source(f"{library}:{name}?weights={file}").fingerprint
    first = next(key for key, value in state.items() if value.is_floating_point())
    save_file(state | {first: state[first] + 1e-3}, file)
    assert only_source(f"{library}:{name}?weights={file}").fingerprint != before

    del state[first]
    save_file(state, file)
    with pytest.raises(InputError, match="not this network's .*missing " + first):
        only_source(f"{library}:{name}?weights={file}")


def test_the_untrained_twin(monkeypatch, tmp_path):
    file = tmp_path / "own.safetensors"
    torch.manual_seed(5)
    save_file(timm.create_model(SMALL_TIMM).state_dict(), file)
    name = f"timm:{SMALL_TIMM}?weights={file}"
    shown = []
    sources = encoder_sources([name, f"timm:{SMALL_TIMM}?random"], seed=3, say=shown.append)
    assert [s.name for s in sources] == [f"{name}, untrained", name, f"timm:{SMALL_TIMM}?random"]
    assert len({s.fingerprint for s in sources}) == 3
    again = encoder_sources([name], seed=3, say=shown.append)
    assert again[0].fingerprint == sources[0].fingerprint
    other = encoder_sources([name], seed=4, say=shown.append)
    assert other[0].fingerprint != sources[0].fingerprint
    assert other[1].fingerprint == sources[1].fingerprint


def test_weights_that_torchvision_has_on_disk(monkeypatch, tmp_path):
    """Weights in torchvision's own folder serve without a network, and as the baseline."""
    place, url = resnet18_weights()
    assert tmp_path in place.parents
    shown = []
    table = tmp_path / "t.npz"
    np.savez(table, keys=np.array(["a"]), features=np.ones((1, 2)))
    assert [s.name for s in encoder_sources([str(table)], say=shown.append)] == [str(table)]
    assert len(shown) == 1
    assert f"{RESNET18} is left out" in shown[0]
    assert url in shown[0]
    assert str(place) in shown[0]

    torch.manual_seed(6)
    network = torchvision.models.resnet18()
    place.parent.mkdir(parents=True)
    torch.save(network.state_dict(), place)
    source, _ = encoder_sources([str(table)], ["features"], say=shown.append)
    assert isinstance(source, EncoderSource)
    assert source.name == RESNET18
    network.fc = nn.Identity()
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = network.eval()((images - source.encoder.mean) / source.encoder.std)
    torch.testing.assert_close(source(images)["pooled"], expected, rtol=1e-4, atol=1e-5)
    assert len(encoder_sources([str(table)], baselines=False)) == 1
    # Named by the user it stands once, by that name.
    named = encoder_sources(["torchvision:resnet18"], say=shown.append)
    assert [s.name for s in named] == ["torchvision:resnet18, untrained", "torchvision:resnet18"]
    assert named[1].fingerprint == source.fingerprint
    assert len(shown) == 1

    place.write_bytes(place.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a whole weights file"):
        encoder_sources(["torchvision:resnet18"])
    assert [s.name for s in encoder_sources([str(table)], say=shown.append)] == [str(table)]
    assert "not a whole weights file" in shown[-1]


def no_network(*_, **__):
    raise urllib.error.URLError("no network")


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_weights_that_cant_be_had(library, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", no_network)
    code, _, error = run_probe(
        capsys, "--encoder", f"{library}:resnet18", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "Traceback" not in error
    assert "no network" in error
    if library == "torchvision":
        assert "https://download.pytorch.org/models/resnet18-f37072fd.pth at " in error
        assert str(tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in error
    else:
        assert "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/" in error
        assert "timm:resnet18?weights=FILE" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("timm:resnt18", "timm has no such backbone; near it are .*resnet18"),
        ("torchvision:resnt18", "torchvision has no such backbone; near it are .*resnet18"),
        ("torchvision:raft_large", "torchvision has no such backbone"),
        ("timm:hf-hub:some/one", "timm has no such backbone"),
        ("timm:resnet18?colour=red", "unknown option 'colour'"),
        ("timm:resnet18?random&random", "stands twice"),
        ("timm:resnet18?random&weights=a.safetensors", "or neither"),
        ("timm:resnet18?weights=", "or neither"),
        ("timm:resnet18?weights=no/such.safetensors", "no such file"),
        ("torchvision:resnet18?weights=no/such.safetensors", "no such file"),
        ("torchvision:resnet18?weights=no/such.pth", "no such file"),
        ("torchvision:resnet18?weights=IMAGENET", "neither a file of weights nor one of"),
        ("timm:resnet18?random&features=layre3", "no layer or output 'layre3'; near it .* layer3"),
        ("timm:resnet18?random&features=fc2@2x2", "timm:resnet18: .* no layer or output 'fc2'"),
        ("timm:resnet18?random&features=class_token", "gives no tokens"),
        ("timm:resnet18?random&features=global_pool@2x2", "gives 'global_pool@2x2' as"),
    ],
)
def test_wrong_backbones(name, shown):
    with pytest.raises(InputError, match=shown):
        encoder_sources([name])


@pytest.mark.parametrize(("name", "package"), [("x.onnx", "onnxruntime"), ("x.parquet", "pyarrow")])
def test_packages_that_are_not_installed(name, package, monkeypatch):
    for module in [m for m in sys.modules if m.partition(".")[0] == package] or [package]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"needs .*{package}.*pip install"):
        encoder_sources([name])
