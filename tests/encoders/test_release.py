"""Releases of encoders: small, in half precision, with figures in their cards."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from linear_probe.cli import main as linear_probe
from linear_probe.records.record import RECORDS_FILE, read_records
from ssl_faces import (
    InputError,
    from_pretrained,
    load_encoder,
    load_probe,
    push_to_hub,
    save_encoder,
)
from ssl_faces.apps import release as module
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings, new_encoder
from tests.support.commands import refusal, run
from tests.support.facecycle import same_weights
from tests.support.hub import SHA, hub

SETTINGS = {"method_settings": {"rate": 0.1, "motion_checkpoint": "/home/me/runs/a/last.ckpt"}}

__all__ = ["hub"]


@pytest.fixture(name="trained")
def _trained(tmp_path):
    torch.manual_seed(0)
    encoder = BackboneEncoder("resnet18", 32, 0.125, {"expression": 16})
    return save_encoder(
        encoder, tmp_path / "run" / "encoder", {"method": "simclr", "steps": 3, **SETTINGS}
    )


def test_half_the_bytes_and_nearly_the_same_features(tmp_path, trained, capsys):
    argv = ("release", trained.parent, "--name", "face-1", "--out", tmp_path / "all")
    assert run(*argv, "--limit", "upside down", "--command", "ssl-faces fit") == 0
    assert "face-1: 0." in capsys.readouterr().out
    whole, half = load_encoder(trained), load_encoder(tmp_path / "all" / "face-1")
    sizes = [(x / "encoder.safetensors").stat().st_size for x in (trained, tmp_path / "all/face-1")]
    assert sizes[1] < 0.55 * sizes[0]
    x = torch.rand(4, 3, 32, 32)
    for space, features in whole(x).items():
        assert not torch.equal(half(x)[space], features)
        torch.testing.assert_close(half(x)[space], features, atol=5e-3, rtol=5e-3)
    card = json.loads((tmp_path / "all/face-1/card.json").read_text())
    assert card["method"] == "simclr"
    assert card["steps"] == 3
    # Without paths of the training machine.
    assert card["method_settings"] == {"rate": 0.1, "motion_checkpoint": "runs/a/last.ckpt"}
    assert card["command"] == "ssl-faces fit"
    assert card["limits"][-1] == "upside down"
    assert "research only" in card["licence"]
    assert card["config"] == whole.card["config"]
    assert set(card["largest_change_by_float16"]) == {"pooled", "map_2x2", "expression"}
    assert all(0 < value < 0.01 for value in card["largest_change_by_float16"].values())


def test_refusals(tmp_path, trained, capsys, monkeypatch):
    def release(source, name, out, *more):
        return refusal(capsys, "release", source, "--name", name, "--out", out, *more)

    new = tmp_path / "all"
    # A release never replaces its source, also by another name of its folder.
    (tmp_path / "link").symlink_to(tmp_path)
    source = trained.parent
    for out, name in ((tmp_path, "run"), (tmp_path / "link", "run"), (source, "encoder")):
        message = release(source, name, out, "--overwrite")
        assert f"--name {out / name}: is the input" in message
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    message = release(trained, "mine", tmp_path, "--overwrite")
    assert "mine: exists and is no release" in message
    with monkeypatch.context() as patch:
        patch.setattr(module, "MOST_BYTES", 100_000)
        message = release(trained, "a", new)
    assert (
        "MB in half precision, and a released encoder has at most 0.1; train a narrower" in message
    )
    encoder = load_encoder(trained)
    encoder.codes["expression"].weight[0, 0] = 1e6
    save_encoder(encoder, trained, {})
    message = release(trained, "a", new)
    assert "codes.expression.weight has weights that float16 can't hold" in message
    assert not new.exists()


def test_an_old_version_stays_loadable(
    tmp_path,
    trained,
    capsys,
    monkeypatch,
):
    monkeypatch.setattr("ssl_faces.encoders.places.RELEASED", tmp_path / "all")
    words = ("release", trained, "--name", "face", "--out", tmp_path / "all")
    assert "needs a release" in refusal(capsys, *words, "--new-version")
    assert run(*words) == 0
    first = load_encoder("face")
    assert same_weights(load_encoder("face@1"), first)
    changed = load_encoder(trained)
    assert isinstance(changed, BackboneEncoder)
    changed.codes["expression"].weight[0, 0] += 1
    save_encoder(changed, trained, {})
    assert run(*words, "--new-version") == 0
    assert run(*words, "--overwrite") == 0
    assert same_weights(load_encoder("face@1"), first)
    assert load_encoder("face").card["version"] == 2
    assert same_weights(load_encoder("face@2"), load_encoder("face"))
    assert not same_weights(load_encoder("face"), first)
    with pytest.raises(InputError, match=r"a released name \(face, face@1\)"):
        load_encoder("face@3")


def test_figures_come_into_the_card_if_they_are_of_its_weights(tmp_path, trained, capsys):
    words = ["run", "--data", "rendered", "--task", "pose", "--bootstrap", "20", "--max-train"]
    words += ["300", "--no-baselines", "--features", "pooled", "--precision", "bf16", "--out"]
    assert linear_probe([*words, str(tmp_path / "scores"), "--encoder", str(trained)]) == 0
    before = json.loads((trained / "card.json").read_text())
    assert linear_probe(["card", str(trained), str(tmp_path / "scores")]) == 0
    card = json.loads((trained / "card.json").read_text())
    records = read_records(tmp_path / "scores" / RECORDS_FILE)
    records = [record for record in records if record.encoder == str(trained)]
    assert len(records) == 3
    assert [record["value"] for record in card.pop("records")] == [r.value for r in records]
    assert card == before
    # Other weights: other figures.
    assert run("release", trained, "--name", "b", "--out", tmp_path) == 0
    capsys.readouterr()
    assert linear_probe(["card", str(tmp_path / "b"), str(tmp_path / "scores")]) == 2
    message = capsys.readouterr().err
    assert "records in" in message
    assert "is of its weights; score it first" in message


def test_all_that_is_released_loads_by_its_name_after_an_installation(tmp_path):
    """Built of the files that the container copies."""
    root = Path(module.__file__).parents[2]
    released = sorted(card.parent.name for card in (root / "checkpoints").glob("*/card.json"))
    container = (root / "configs/launch/Dockerfile").read_text()
    for sources, target in re.findall(r"^COPY (.+) /ssl-faces/(\S*)$", container, re.MULTILINE):
        for source in sources.split():
            place = tmp_path / "sources" / (target or source)
            copy = shutil.copytree if (root / source).is_dir() else shutil.copy
            place.parent.mkdir(exist_ok=True)
            copy(root / source, place)
    words = [*("pip", "wheel", "--no-build-isolation", "--no-deps", "-q", "-w"), str(tmp_path)]
    command = [sys.executable, "-m", *words, str(tmp_path / "sources")]
    subprocess.run(command, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    code = (
        "import sys, ssl_faces, torch\n"
        "from ssl_faces.networks.trunk import VggTrunk\n"
        "VggTrunk('hed')\n"
        f"assert ssl_faces.__file__.startswith({str(tmp_path)!r})\n"
        "from ssl_faces.common.config_files import find_config\n"
        "from ssl_faces.training.catalogue import method_entries\n"
        f"assert str(find_config('simclr_small')).startswith({str(tmp_path)!r})\n"
        "assert 'simclr_small' in {entry.small for entry in method_entries()}\n"
        "for name in sys.argv[1:]:\n"
        "    encoder = ssl_faces.load_encoder(name)\n"
        "    assert encoder.card['name'] == name\n"
        "    assert all(encoder.card[key] for key in ('records', 'licence', 'limits'))\n"
        "    for features in encoder(torch.rand(2, 3, 64, 64)).values():\n"
        "        assert features.isfinite().all() and not torch.equal(features[0], features[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *released],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for name in released:
        weights = root / "checkpoints" / name / "encoder.safetensors"
        assert weights.stat().st_size <= module.MOST_BYTES
        assert name in (root / "checkpoints" / "README.md").read_text()


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
