"""Encoders on the Hugging Face hub, with a stand-in for its server."""

import sys

import pytest
import torch

from ssl_faces import InputError, from_pretrained, load_encoder, load_probe, push_to_hub
from ssl_faces.networks.backbone import EncoderSettings, new_encoder
from tests.support.hub import SHA, hub

pytest.importorskip("huggingface_hub")
__all__ = ["hub"]


def test_a_released_encoder_comes_back_with_its_probe(hub):
    address = push_to_hub("hybrid", "me/hybrid", token="hf_secret", private=False)
    assert address == f"{hub.url}/me/hybrid"
    assert hub.tokens == {"Bearer hf_secret"}
    assert hub.private == {"me/hybrid": False}
    files = hub.repositories["me/hybrid"]
    assert {"README.md", "card.json", "encoder.safetensors"} <= files.keys()
    assert all(n.endswith((".safetensors", ".json", ".md", ".gitattributes")) for n in files)

    encoder = from_pretrained("me/hybrid")
    original = load_encoder("hybrid")
    assert encoder.card == original.card
    for name, value in original.state_dict().items():
        torch.testing.assert_close(encoder.state_dict()[name], value, rtol=0, atol=0)
    probe = load_probe(encoder.place)
    assert probe.classes == load_probe("hybrid").classes

    page = files["README.md"].decode()
    assert page.startswith("---\nlicense: other\n")
    assert "| training images | utkface (16,617 images), fer2013 (25,650 images)" in page
    assert 'from_pretrained("me/hybrid")' in page
    assert "- not for deciding about people" in page


def test_an_encoder_in_memory_and_changed_weights(hub):
    encoder = new_encoder(EncoderSettings("resnet18", 32, 0.0625))
    push_to_hub(encoder, "me/new")
    assert hub.private == {"me/new": True}
    loaded = from_pretrained("me/new", revision=SHA)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(encoder.state_dict()))
    # Pickled weights are not even fetched.
    hub.repositories["me/odd"] = {**hub.repositories["me/new"], "pytorch_model.bin": b"pickle"}
    place = from_pretrained("me/odd").place
    assert {path.name for path in place.iterdir()} == {"card.json", "encoder.safetensors"}
    weights = bytearray(hub.repositories["me/new"]["encoder.safetensors"])
    weights[-1] ^= 1
    hub.repositories["me/bad"] = {
        **hub.repositories["me/new"], "encoder.safetensors": bytes(weights)
    }  # fmt: skip
    with pytest.raises(InputError, match="its bytes are not those"):
        from_pretrained("me/bad")


def test_what_can_go_wrong_is_one_sentence(hub, monkeypatch):
    with pytest.raises(InputError, match="me/none: can't be downloaded"):
        from_pretrained("me/none")
    with pytest.raises(InputError, match="me/a/b: can't be uploaded"):
        push_to_hub("hybrid", "me/a/b")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'ssl-faces\[hub\]'"):
        from_pretrained("me/hybrid")
