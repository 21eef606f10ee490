"""`fit --model.encoder.weights`: training continues from an encoder's weights."""

import json
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ssl_faces.encoders.encoder import load_encoder
from ssl_faces.encoders.trained_images import load_trained_images
from ssl_faces.methods.moco_v3 import MoCoV3
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings, new_encoder
from tests.support.fits import fit, method_run, refused, weights
from tests.support.refusals import message_of

STILL = ("--model.optimizer.peak_learning_rate", "0", "--model.optimizer.weight_decay", "0")
"""Training that changes no weights."""


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run of SimCLR."""
    folder = tmp_path_factory.mktemp("first")
    fit(*method_run("simclr", "resnet18", folder, folder / "run"))
    return folder / "run"


def parameters(encoder):
    return {name: value.detach() for name, value in encoder.named_parameters()}


@pytest.mark.parametrize("place", ["", "encoder/encoder.safetensors", "checkpoints/last.ckpt"])
def test_another_method_continues(place, first, tmp_path):
    """From each form of the weights; its card names all images and what it started from."""
    start = ("--model.encoder.weights", str(first / place))
    fit(*method_run("byol", "resnet18", first.parent, tmp_path / "run", *start, *STILL, people=40))
    encoder = load_encoder(tmp_path / "run")
    expected = parameters(load_encoder(first))
    for name, value in parameters(encoder).items():
        assert torch.equal(value, expected[name]), name
    name = "network.conv1.weight"  # the teacher starts as a copy
    torch.testing.assert_close(weights(tmp_path / "run")[f"teacher.encoder.{name}"], expected[name])
    started = encoder.card["started_from"]
    assert started["encoder"] == str(first / place)
    assert (started["method"], started["steps"]) == ("simclr", 2)
    assert "weights" not in encoder.config
    # Overlaps with test images count those that the first was trained on.
    both = load_trained_images(tmp_path / "run")
    earlier = load_trained_images(first)
    assert len(both.mean) == 2 * len(earlier.mean) == 2
    assert {bytes(row) for row in earlier.exact} < {bytes(row) for row in both.exact}


def test_without_hashes_of_the_first_none_are_saved(first, tmp_path, capsys):
    """Rather than some that look like all."""
    file = tmp_path / "own.safetensors"
    save_file(load_encoder(first).state_dict(), file)
    start = ("--model.encoder.weights", str(file))
    fit(*method_run("simclr", "resnet18", first.parent, tmp_path / "run", *start))
    assert f"no hashes of training images: {file} has none" in capsys.readouterr().out
    assert load_trained_images(tmp_path / "run") is None
    card = json.loads((tmp_path / "run/encoder/card.json").read_text())
    assert card["started_from"] == {"encoder": str(file)}


def test_a_resumed_run_equals_an_uninterrupted_one(first, tmp_path):
    words = ("--model.encoder.weights", str(first), "--checkpoint_every", "1")
    for steps in ("1", "2"):
        more = ("--trainer.max_steps", steps, "--ckpt_path", "last")
        fit(*method_run("vicreg", "resnet18", first.parent, tmp_path / "cut", *words, *more))
    assert load_encoder(tmp_path / "cut").card["started_from"]["encoder"] == str(first)


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        (
            ("--model.encoder.weights", "{first}", "--model.encoder.width", "0.125"),
            "of another shape network.layer1.0.conv1.weight [4, 64, 3, 3], not [8, 64, 3, 3], net",
        ),
        (("--model.encoder.weights", "facecycle"), "they are of a facecycle encoder"),
        (
            ("--model.encoder.weights", "hybrid"),
            "they need --model.encoder.name resnet18 --model.encoder.input_size 48 "
            "--model.encoder.width 0.5",
        ),
        (("--model.encoder.weights", "hybrit"), "--model.encoder.weights: encoder hybrit: no card"),
        (("--model.encoder.weights", "no.ckpt"), "--model.encoder.weights: encoder no.ckpt: no c"),
    ],
)
def test_weights_of_another_architecture(more, shown, first, tmp_path, capsys):
    words = [word.format(first=first) for word in more]
    run = method_run("simclr", "resnet18", first.parent, tmp_path / "r", *words)
    assert shown in refused(capsys, *run)
    assert not (tmp_path / "r").exists()


def test_codes_that_the_weights_lack_are_new():
    torch.manual_seed(0)
    hybrid = EncoderSettings("resnet18", 48, 0.5, "hybrid")
    expected = load_encoder("hybrid").state_dict()
    new = new_encoder(hybrid, {"identity": 512, "mood": 8}, codes_from="map").state_dict()
    for name, value in new.items():
        assert (name in expected) == ("mood" not in name)
        assert name not in expected or torch.equal(value, expected[name].to(value.dtype))
    text = message_of(new_encoder, hybrid, {"identity": 8}, codes_from="map")
    assert "of another shape codes.identity.weight [512, " in text


def test_moco_keeps_what_it_starts_from(tmp_path):
    """It has its own first patch projections and positions only in a random ViT."""
    torch.manual_seed(0)
    vit = BackboneEncoder("timm:test_vit", 32)
    torch.nn.init.normal_(vit.network.pos_embed)
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    settings = EncoderSettings("timm:test_vit", 32, weights=str(tmp_path / "vit.safetensors"))
    method = MoCoV3(settings, hidden_dim=16, projection_dim=8)
    for name, value in vit.state_dict().items():
        assert torch.equal(method.encoder.state_dict()[name], value), name
    assert not method.encoder.network.pos_embed.requires_grad


def test_the_pages_command(tmp_path, monkeypatch):
    """The released hybrid goes on, by the same losses."""
    page = Path(__file__).parents[2] / "ssl_faces/training/README.md"
    (line,) = [x for x in page.read_text().splitlines() if "--model.encoder.weights hybrid" in x]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_FACES_DATA", str(tmp_path / "none"))
    few = ("--data.rendered", "300", "--data.batch_size", "4", "--trainer.max_steps", "1")
    quiet = ("--panels_every", "0", "--probe_every", "0", "--data.cache", str(tmp_path / "packed"))
    fit(*shlex.split(line)[1:], *few, *quiet, *STILL, "--trainer.precision", "32-true")
    encoder, released = load_encoder("runs/more"), load_encoder("hybrid")
    expected = parameters(released)
    for name, value in parameters(encoder).items():
        assert torch.equal(value, expected[name]), name
    assert encoder.card["started_from"]["data"] == released.card["data"]
