"""Networks of the user's own code, their layers and tokens, and files of weights of any kind."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from linear_probe.records.naming import shown_names
from linear_probe.records.record import read_records
from linear_probe.sources.by_name import encoder_sources, split_name
from ssl_faces import FaceEncoder, InputError, embed, save_encoder, wrap_encoder
from ssl_faces.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD
from ssl_faces.encoders.state_files import load_state, read_state
from tests.support.images import astronaut
from tests.support.probing import SMALL_TIMM, only_source, run_probe
from tests.support.refusals import message_of

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3))) * FACTOR

def both():
    class Both(Net):
        def forward(self, x):
            maps = self.body(x)
            return {"maps": maps, "logits": self.head(maps.mean((2, 3))), "extra": None}
    return Both()

def words():
    return "no network"

def needs(width):
    return Net()
"""
OWN = "module:own_nets:Net"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder on the module path with `own_nets.py`."""
    return write_module(tmp_path, monkeypatch, factor=1)


def write_module(folder, monkeypatch, factor):
    (folder / "own_nets.py").write_text(MODULE.replace("FACTOR", str(factor)))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return folder


def network(name="Net"):
    import own_nets

    torch.manual_seed(3)
    return getattr(own_nets, name)()


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_network_with_weights_of_a_file(own, prefix, ending):
    net = network()
    state = {prefix + name: value for name, value in net.state_dict().items()}
    file = own / f"net.{ending}"
    save_file(state, file) if ending == "safetensors" else torch.save(state, file)
    source = only_source(f"{OWN}?weights={file}&size=16&mean=0.5&std=0.5,0.25,0.5")
    assert source.dims == {"pooled": 4}
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = net((images - 0.5) / torch.tensor([0.5, 0.25, 0.5]).view(3, 1, 1))
    torch.testing.assert_close(source(images)["pooled"], expected)


def test_outputs_and_layers_are_feature_spaces(own):
    name = "module:own_nets:both?size=8"
    assert only_source(name).dims == {"maps": 5, "logits": 4}
    source = only_source(f"{name}&features=logits,body.0,body@2x2")
    assert source.dims == {"logits": 4, "body.0": 5, "body@2x2": 20}
    images = torch.rand(2, 3, 8, 8)
    net = source.encoder.network
    maps = net.body((images - source.encoder.mean) / source.encoder.std)
    found = source(images)
    torch.testing.assert_close(found["body@2x2"], F.adaptive_avg_pool2d(maps, 2).flatten(1))
    with pytest.raises(InputError, match="no layer or output 'logit'; near it are logits"):
        only_source(f"{name}&features=logit")


def test_fingerprints_follow_weights_and_code(own, monkeypatch):
    """Features are never those of other weights, or of the code before it was changed."""
    torch.save(network().state_dict(), own / "a.pth")
    torch.save({k: v + 1 for k, v in network().state_dict().items()}, own / "b.pth")
    name = f"{OWN}?size=16&weights={own}"
    one, again = only_source(f"{name}/a.pth"), only_source(f"{name}/a.pth")
    assert one.fingerprint == again.fingerprint
    assert only_source(f"{name}/b.pth").fingerprint != one.fingerprint
    assert only_source(f"{name}/a.pth&mean=0.5").fingerprint != one.fingerprint
    write_module(own, monkeypatch, factor=2)
    assert only_source(f"{name}/a.pth").fingerprint != one.fingerprint


def test_the_untrained_twin_has_no_weights_of_the_file(own):
    torch.save(network().state_dict(), own / "a.pth")
    shown = []
    sources = encoder_sources([f"mine={OWN}?weights={own}/a.pth&size=16"], say=shown.append)
    assert [s.name for s in sources] == ["mine, untrained", "mine"]
    assert sources[0].fingerprint != sources[1].fingerprint
    # A function may load weights by itself.
    assert [s.name for s in encoder_sources([f"x={OWN}"], say=shown.append)] == ["x"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("module:own_nets", "give module:PACKAGE.MODULE:FUNCTION"),
        ("module:own_netz:Net", "no module own_netz; install it, or name its folder in PYTHONPATH"),
        ("module:own_nets:Nett", "has no function 'Nett'; it has Net, both, needs, words"),
        ("module:own_nets:words", r"words\(\) returns a str, not a torch module"),
        ("module:own_nets:needs", r"needs\(\) fails .*a function that needs no arguments"),
        ("module:os:getcwd", "os is of the standard library"),
        (f"{OWN}?size=0", "size must be a whole number from 1"),
        (f"{OWN}?std=0", "can't divide by a std of 0"),
        (f"{OWN}?prefix=a.", r"prefix is for \?weights=FILE"),
        (f"{OWN}?weights=no.pth", "no.pth: no such file"),
        ("HOG=hybrid", "'HOG' is a baseline"),
    ],
)
def test_wrong_modules(own, name, shown):
    with pytest.raises(InputError, match=shown):
        only_source(name)


def test_two_of_one_name(own):
    assert "two are named 'a'" in message_of(encoder_sources, [f"a={OWN}", "a=hybrid"])


class Opaque:
    """Not a tensor: reading it would run code."""


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (nn.Linear(2, 2), "holds objects, such as a whole module, and reading them would run code"),
        ({"a": Opaque()}, "holds objects"),
        ([1, 2], "holds a list"),
        ({"epoch": 3}, "not a state dict .holds epoch.; save one: torch.save"),
        (
            {"pytorch-lightning_version": "2", "state_dict": {"encoder.w": torch.ones(1)}},
            r"is a Lightning checkpoint, which holds .*: encoder\.; name the part with &prefix=",
        ),
        (b"<!DOCTYPE html><html>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"no weights", "not a state dict"),
        (b"", "not a state dict"),
    ],
)
def test_files_that_are_no_state_dict(content, shown, tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(InputError, match=shown):
        read_state(file)


def test_a_part_of_a_training_checkpoint(tmp_path):
    state = {"module.net.a": torch.ones(1), "module.head.b": torch.zeros(1)}
    for key in ("state_dict", "model"):
        torch.save({key: state, "epoch": 1}, tmp_path / "w.pth")
        assert set(read_state(tmp_path / "w.pth")) == {"net.a", "head.b"}
        assert set(read_state(tmp_path / "w.pth", "net.")) == {"a"}
    torch.save({"pytorch-lightning_version": "2", "state_dict": state}, tmp_path / "w.ckpt")
    assert set(read_state(tmp_path / "w.ckpt", "head.")) == {"b"}
    text = message_of(read_state, tmp_path / "w.pth", "nett.")
    assert "no name begins with 'nett.'; it has net., head." in text


def test_weights_of_another_network_are_named():
    state = {"weight": torch.ones(2, 3), "scale": torch.ones(1)}
    text = message_of(load_state, nn.Linear(2, 2), state, "mine", "give others")
    assert text == (
        "mine: the weights given are not this network's (missing bias; unexpected scale; of "
        "another shape weight [2, 3], not [2, 2]); give others"
    )


@pytest.mark.parametrize("name", ["timm:test_vit", "torchvision:vit_b_16"])
def test_tokens_of_vits(name):
    """Against the tokens before the network's own head."""
    block = "blocks.1" if name.startswith("timm") else "encoder.layers.encoder_layer_1"
    source = only_source(f"{name}?random&features=pooled,class_token,patches_mean,{block}")
    encoder = source.encoder
    net, images = encoder.network, torch.rand(1, 3, encoder.input_size, encoder.input_size)
    with torch.inference_mode():
        found = source(images)
        if name.startswith("timm"):
            tokens = net.forward_features(encoder.normalise(images))
        else:
            x = net._process_input(encoder.normalise(images))
            tokens = net.encoder(torch.cat((net.class_token, x), 1))
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found["class_token"], tokens[:, 0], **close)
    torch.testing.assert_close(found["patches_mean"], tokens[:, 1:].mean(1), **close)
    torch.testing.assert_close(found["pooled"], tokens[:, 0], **close)
    assert found[block].shape == found["pooled"].shape
    assert not torch.equal(found[block], found["patches_mean"])


def test_layers_of_timm_and_torchvision():
    source = only_source(f"timm:{SMALL_TIMM}?random&features=layer2,layer4@2x2")
    assert source.dims == {"layer2": 48, "layer4@2x2": 384}
    swin = only_source("timm:swin_tiny_patch4_window7_224?random&features=layers.1")
    assert swin.dims == {"layers.1": 192}  # of channels, which come last there
    resnet = only_source("torchvision:resnet18?random&features=layer3")
    net = torchvision.models.feature_extraction.create_feature_extractor(
        resnet.encoder.network, {"layer3": "layer3"}
    )
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        expected = net(resnet.encoder.normalise(images))["layer3"].mean((2, 3))
        torch.testing.assert_close(resnet(images)["layer3"], expected)


def test_a_network_as_an_object():
    net = timm.create_model(SMALL_TIMM, num_classes=0)
    encoder = wrap_encoder(net, size=64, features=["pooled", "layer3@2x2"])
    assert isinstance(encoder, FaceEncoder)
    assert encoder.feature_dims == {"pooled": 96, "layer3@2x2": 4 * 192}
    assert not net.training
    images = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    expected = net((images - mean) / std)
    torch.testing.assert_close(encoder(images)["pooled"], expected)
    assert set(encoder(images, ["pooled"])) == {"pooled"}
    # Images of other sides are resized.
    assert encoder(torch.rand(2, 3, 100, 100))["pooled"].shape == (2, 96)
    codes = embed(encoder, [np.full((64, 64, 3), 90, np.uint8)])
    assert codes["layer3@2x2"].shape == (1, 768)
    grey = wrap_encoder(net, 64, mean=0.5, std=0.25)
    torch.testing.assert_close(grey(images)["pooled"], net((images - 0.5) / 0.25))
    assert "can't be built again from a card" in message_of(save_encoder, encoder, "no", {})
    text = message_of(wrap_encoder, timm.create_model("test_vit"), 100)
    assert text.startswith("module: the network fails on images [2, 3, 100, 100]")


# Names in tables


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("simclr=runs/a", ("simclr", "runs/a")),
        ("My net 2=timm:resnet18?weights=a.pth", ("My net 2", "timm:resnet18?weights=a.pth")),
        ("runs/lr=3/encoder", (None, "runs/lr=3/encoder")),
        ("timm:resnet18?weights=a.pth", (None, "timm:resnet18?weights=a.pth")),
        ("hybrid", (None, "hybrid")),
    ],
)
def test_names_before_encoders(text, expected):
    assert split_name(text) == expected


def test_a_folder_with_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=3").mkdir()
    assert split_name("lr=3") == (None, "lr=3")


@pytest.mark.parametrize(
    ("encoders", "names"),
    [
        (["runs/identity", "HOG", "hybrid"], ["identity", "HOG", "hybrid"]),
        (["runs/a/encoder", "/x/b, untrained"], ["a", "b, untrained"]),
        (["r/simclr/seed0", "r/byol/seed0/stage1"], ["simclr/seed0", "byol/seed0/stage1"]),
        (["a/x", "b/x", "x"], ["a/x", "b/x", "x"]),
        (["a.onnx?size=8", "b/c.npz"], ["a.onnx", "c.npz"]),
        (["a.onnx?size=8", "a.onnx?size=9"], ["a.onnx?size=8", "a.onnx?size=9"]),
        (["timm:resnet18?weights=/a/own.pth", "timm:vit"], ["timm:resnet18 (own)", "timm:vit"]),
        (["module:a.b:net?weights=c/w.pth", "module:a.b:net"], ["net (w)", "net"]),
        (["seed0", "./a"], ["seed0", "a"]),
    ],
)
def test_no_row_is_named_by_a_path(encoders, names):
    assert list(shown_names(encoders).values()) == names


def test_a_table_with_names(tiny, own, tmp_path, capsys, monkeypatch):
    """A network of one's own beside one of ours, each by its name; reports find the card, and run
    no code."""
    from linear_probe.cli import main

    torch.save(network().state_dict(), own / "a.pth")
    out = tmp_path / "out"
    given = ("--data", "rendered:200", "--task", "pose", "--out", out, "--no-baselines")
    mine = ("--encoder", f"mine={OWN}?weights={own}/a.pth&size=16")
    code, printed, error = run_probe(
        capsys,
        "--encoder",
        tiny,
        "--encoder",
        f"ours={tiny}",
        *mine,
        *given,
        "--features",
        "expression,pooled",
    )
    assert code == 0, error
    table = printed.partition("\n\n")[2]
    assert str(tmp_path) not in table.partition("records:")[0]
    records = {r.encoder: r for r in read_records(out / "records.jsonl")}
    assert {"mine", "ours", str(tiny)} <= set(records)
    assert records["ours"].origin == str(tiny)
    assert main(["compare", str(out), "mine", "ours"]) == 0
    assert main(["compare", str(out), f"{tiny.name}=expression", "ours"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert f"{tiny.name}=expression and ours=expression are not significantly different" in line
    monkeypatch.delitem(sys.modules, "own_nets")
    assert main(["report", str(out), "--out", str(tmp_path / "page.html"), "--maps", "0"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "no card found at this path: mine" in page
    assert "no card found at this path: ours" not in page
    assert "own_nets" not in sys.modules


PAGE = (Path(__file__).parents[2] / "linear_probe/README.md").read_text()


def test_the_pages_python(tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(import timm.*?)```", PAGE, re.DOTALL)
    for name in ("one.jpg", "other.jpg"):
        Image.fromarray(astronaut()).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(block, found)
    assert {space: tuple(x.shape) for space, x in found["codes"].items()} == {
        "pooled": (2, 512),
        "layer3": (2, 256),
        "layer4@2x2": (2, 2048),
    }
