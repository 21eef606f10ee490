"""Encoders: images to features, saving and loading, and invalid files."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import ssl_faces
from ssl_faces.encoders.encoder import (
    HASHES,
    METHOD_FILE,
    TRAINED_FILE,
    WEIGHTS_FILE,
    FaceEncoder,
    is_whole,
    load_encoder,
    save_encoder,
    update_card,
)
from ssl_faces.encoders.places import CARD_FILE, RELEASED
from ssl_faces.encoders.trained_images import load_trained_images
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from tests.support.pickles import Touch
from tests.support.refusals import message_of as refusal

CARD = {"method": "facecycle_motion", "steps": 3, "loss": {"pixel": 0.5}}


def made(seed=0, width=4):
    torch.manual_seed(seed)
    return FaceCycleEncoder(width, code_dim=8, code_size=32, identity=True).eval()


@pytest.fixture
def saved(tmp_path):
    return save_encoder(made(), tmp_path / "saved", CARD)


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(9))


def assert_same(one, other):
    assert set(one) == set(other)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0)


def differ(one, other, images):
    ours, theirs = one(images), other(images)
    return all((ours[name] - theirs[name]).abs().max() > 0 for name in ours)


def message_of(path, **kwargs):
    """The text of the InputError of loading; one sentence, on one line, with a mend."""
    text = refusal(load_encoder, path, **kwargs)
    assert ";" in text
    return text


# Pictures in ------------------------------------------------------------------------------------


class Pixels(FaceEncoder):
    """Gives back what its network would see."""

    encoder_name = "pixels"

    def __init__(self, input_size):
        super().__init__(input_size, {})
        self.feature_dims = {"pixels": 3 * input_size**2}

    def features(self, x, spaces):
        return {"pixels": x.flatten(1)}


def test_normalises_inside():
    images = torch.rand(2, 3, 4, 4)
    seen = Pixels(4)(images)["pixels"].view(2, 3, 4, 4)
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        torch.testing.assert_close(seen[:, channel], (images[:, channel] - mean) / std)


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (16, 16), (112, 112)])
def test_resizes_inside_as_pillow_does(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
    pictures = Pixels(32)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    seen = pictures.denormalise(pictures(images)["pixels"].view(1, 3, 32, 32))
    # Pillow rounds to whole grey levels, once a direction.
    np.testing.assert_allclose(
        255 * seen[0].permute(1, 2, 0).numpy(), expected.astype(np.float32), rtol=0, atol=1.5
    )


def test_denormalise_undoes_normalise_and_clamps():
    pictures, images = Pixels(4), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(pictures.denormalise(pictures.normalise(images)), images)
    outside = pictures.denormalise(torch.tensor([-9.0, 9.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4))
    assert outside[0].unique().tolist() == [0]
    assert outside[1].unique().tolist() == [1]


# Saved and loaded -------------------------------------------------------------------------------


def test_a_loaded_encoder_gives_the_saved_ones_features(saved, images):
    loaded = load_encoder(saved)
    assert_same(loaded(images), made()(images))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_the_card_says_what_the_encoder_is(saved):
    card = load_encoder(str(saved)).card
    assert card == json.loads((saved / CARD_FILE).read_text())
    assert card == {
        **CARD,
        "encoder": "facecycle",
        "config": {
            "width": 4,
            "code_dim": 8,
            "code_size": 32,
            "map_size": 32,
            "identity": True,
            "linear_std": 0.01,
            "design": "paper",
        },
        "input_size": 32,
        "feature_dims": {"expression": 8, "expression_map": 32, "identity": 8, "identity_map": 32},
        "parameters": sum(p.numel() for p in made().parameters()),
        HASHES: {WEIGHTS_FILE: hashlib.sha256((saved / WEIGHTS_FILE).read_bytes()).hexdigest()},
    }


def test_saving_again_replaces_the_old_encoder(saved, images):
    save_encoder(made(1), saved, {"steps": 4})
    loaded = load_encoder(saved)
    assert_same(loaded(images), made(1)(images))
    assert loaded.card["steps"] == 4
    assert "method" not in loaded.card
    assert sorted(path.name for path in saved.iterdir()) == [CARD_FILE, WEIGHTS_FILE]


def test_a_released_encoder_is_loaded_by_name(tmp_path, monkeypatch, images):
    save_encoder(made(), tmp_path / "released" / "small-face", {})
    monkeypatch.setattr("ssl_faces.encoders.places.RELEASED", tmp_path / "released")
    monkeypatch.chdir(tmp_path)
    assert_same(ssl_faces.load_encoder("small-face")(images), made()(images))
    assert "a released name (small-face)" in message_of(Path("big-face"))


# Untrained --------------------------------------------------------------------------------------


def test_an_untrained_encoder_follows_its_seed(saved, images):
    first, again = (load_encoder(saved, untrained=True, seed=3) for _ in range(2))
    other = load_encoder(saved, untrained=True, seed=4)
    assert_same(first(images), again(images))
    assert differ(first, other, images)
    assert differ(first, load_encoder(saved), images)
    assert_same(load_encoder(saved, untrained=True)(images), made(seed=0)(images))
    assert first.feature_dims == load_encoder(saved).feature_dims
    assert not first.training
    (saved / WEIGHTS_FILE).unlink()
    state = torch.random.get_rng_state()
    assert load_encoder(saved, untrained=True).card["steps"] == 3
    assert torch.equal(torch.random.get_rng_state(), state)


# Files that are no encoder ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gone", "empty", "file"])
def test_nothing_to_load(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    text = message_of(tmp_path / name)
    assert f"encoder {tmp_path / name}: no {CARD_FILE} there" in text
    assert "give the folder that a run saved its encoder to" in text


def edited(card, **changes):
    card.write_text(json.dumps({**json.loads(card.read_text()), **changes}))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe card",
        b"3",
        b"{}",
        b'{"encoder": "facecycle", "config": []}',
        b"[" * 100_000,
        "pickle",
    ],
)
def test_a_broken_card(saved, text, tmp_path):
    content = pickle.dumps(Touch(tmp_path / "ran")) if isinstance(text, str) else text
    (saved / CARD_FILE).write_bytes(content)
    message = message_of(saved)
    assert not (tmp_path / "ran").exists()
    assert f"{saved / CARD_FILE}: not an encoder's card" in message
    assert "save the encoder again" in message


@pytest.mark.parametrize("name", ["vit", None, ["facecycle"], "os:system"])
def test_an_unknown_encoder(saved, name):
    edited(saved / CARD_FILE, encoder=name)
    text = message_of(saved)
    assert f"{saved / CARD_FILE}: unknown encoder '{name}'" in text
    assert "this version knows backbone, facecycle" in text


@pytest.mark.parametrize(
    "config", [{"depth": 3}, {"width": None}, {"width": -4}, {"code_dim": [8]}]
)
def test_a_config_that_does_not_fit(saved, config):
    edited(saved / CARD_FILE, config=config)
    text = message_of(saved)
    assert f"{saved / CARD_FILE}: its 'config' does not fit encoder 'facecycle'" in text


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "truncated", "pickle", "torch"])
def test_weights_that_are_no_safetensors_file(saved, tmp_path, kind):
    path, marker = saved / WEIGHTS_FILE, tmp_path / "ran"
    whole = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "torch":
        torch.save({**made().state_dict(), "more": Touch(marker)}, path)
    elif kind != "missing":
        bad = {"empty": b"", "truncated": whole[:-100], "pickle": pickle.dumps(Touch(marker))}
        path.write_bytes(bad[kind])
    reason = "missing beside its card" if kind == "missing" else "not a whole safetensors file"
    assert f"{path}: {reason}" in message_of(saved)
    assert not marker.exists(), "no pickle is ever run"


@pytest.mark.parametrize("kind", ["wider", "one missing", "one more"])
def test_weights_of_another_encoder(saved, kind):
    state = made(width=6 if kind == "wider" else 4).state_dict()
    if kind == "one missing":
        del state["motion.code.0.bias"]
    elif kind == "one more":
        state["head.weight"] = torch.zeros(2)
    save_file(state, saved / WEIGHTS_FILE)
    text = message_of(saved)
    assert f"{saved / WEIGHTS_FILE}: its weights are not those of the encoder that" in text
    assert "copy both from the same run" in text


def test_changed_weights_are_noticed(saved, images):
    path = saved / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    text = message_of(saved)
    assert text.startswith(f"{path}: its bytes are not those that {CARD_FILE} beside it has the")
    assert not is_whole(saved)
    assert load_encoder(saved, untrained=True).card["steps"] == 3
    # A card of an older version has no SHA-256.
    update_card(saved, sha256={})
    assert load_encoder(saved).card["steps"] == 3


def test_the_released_encoders_have_hashes():
    cards = sorted(RELEASED.glob(f"*/{CARD_FILE}"))
    assert cards
    for path in cards:
        weights = {one.name for one in path.parent.glob("*.safetensors")}
        hashed = weights & {WEIGHTS_FILE, METHOD_FILE, TRAINED_FILE}
        assert json.loads(path.read_text())[HASHES].keys() == hashed
        assert is_whole(path.parent)
        assert load_trained_images(path.parent) is not None


# Saving fails -----------------------------------------------------------------------------------
