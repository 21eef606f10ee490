"""Releases of methods: half the bytes, nearly the same images, loaded by their names."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from linear_probe.cli import main as linear_probe
from linear_probe.records.record import read_records
from ssl_faces import InputError, load_encoder, load_method, save_encoder
from ssl_faces.apps import release as module
from ssl_faces.encoders.encoder import update_card
from ssl_faces.methods.facecycle_identity import FaceCycleIdentity, load_motion
from ssl_faces.methods.method import TWO_FACE_EDITS
from ssl_faces.methods.released import edit_state
from tests.support.apps import a_run
from tests.support.commands import refusal, run
from tests.support.facecycle import same_weights
from tests.support.images import as_images, rendered

KINDS = ("facecycle_motion", "facecycle_identity", "facecycle_contrast")


def release(source, out, *more):
    return ("release", source, "--name", "kept", "--out", out, *more)


def pictures(method):
    images = as_images(rendered(3))
    return {
        name: edit(images, images.flip(0)) if name in TWO_FACE_EDITS else edit(images)
        for name, edit in method.edits().items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_makes_nearly_the_same_pictures(kind, run_of, release_of, monkeypatch):
    folder = release_of(kind)
    monkeypatch.setattr("ssl_faces.encoders.places.RELEASED", folder.parent)
    whole, half = load_method(run_of(kind)), load_method("kept")
    assert type(half) is type(whole)
    assert not half.training
    assert not any(parameter.requires_grad for parameter in half.parameters())
    assert same_weights(half.encoder, load_encoder(folder))
    expected, found = pictures(whole), pictures(half)
    assert found.keys() == expected.keys()
    card = json.loads((folder / "card.json").read_text())
    for name, of_edit in expected.items():
        assert 0 < (found[name] - of_edit).abs().mean() < 0.005
        assert 0 < card["largest_change_of_edits_by_float16"][name] < 0.2
    state = load_file(folder / "method.safetensors")
    assert all(v.dtype == (torch.float16 if v.ndim > 1 else torch.float32) for v in state.values())
    # Nothing twice, and nothing that only training needs.
    of_encoder = load_file(folder / "encoder.safetensors")
    both = sum(v.numel() for v in (*state.values(), *of_encoder.values()))
    assert both <= sum(v.numel() for v in whole.state_dict().values())
    assert not any("projector" in name or "descriptor" in name for name in state)
    untrained = load_method(folder, untrained=True)
    assert not same_weights(untrained.encoder, half.encoder)


def test_stage_2_starts_from_a_released_stage_1(release_of):
    for kind in ("facecycle_motion", "facecycle_identity"):
        folder = release_of(kind)
        released = load_method(folder)
        stage1 = getattr(released, "motion", released)
        assert edit_state(stage1)
        assert same_weights(load_motion(folder), stage1)
    made = FaceCycleIdentity(folder)
    assert same_weights(made.motion, stage1)
    assert not same_weights(made.renormaliser, released.get_submodule("renormaliser"))


def test_truth_takes_a_release_by_its_name(run_of, release_of, tmp_path, monkeypatch):
    source, folder = (of("facecycle_contrast") for of in (run_of, release_of))
    monkeypatch.setattr("linear_probe.experiments.truth.faces._TRAINING", 70)
    monkeypatch.setattr("ssl_faces.encoders.places.RELEASED", folder.parent)
    words = ["truth", "--count", "6", "--bootstrap", "10", "--device", "cpu", "--out"]
    assert linear_probe([*words, str(tmp_path / "a"), "--run", "kept", "--run", str(source)]) == 0
    records = read_records(tmp_path / "a/records.jsonl")
    value = {(r.task, r.encoder, r.metric): r.value for r in records}
    for task in ("neutral face", "frontal face", "identity swap"):
        of_both = [value[task, name, "L1"] for name in ("kept", str(source))]
        assert np.ptp(of_both) < 0.2
        assert abs(value[task, "kept, untrained", "L1"] - of_both[0]) > 0.2


def test_other_releases(run_of, tmp_path, capsys, monkeypatch):
    source = run_of("facecycle_contrast")
    assert run(*release(source, tmp_path)) == 0
    assert "that edit pictures (--with kept)" in capsys.readouterr().out
    # Again, without networks that edit: other files of the release are removed, foreign ones stay.
    kept = tmp_path / "kept"
    for name in ("expression_probe.safetensors", "README.md"):
        (kept / name).write_text("of before")
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    message = refusal(capsys, *release(source, tmp_path, "--encoder-only"))
    assert f"{kept}: there is a release of that name" in message
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert run(*release(source, tmp_path, "--encoder-only", "--overwrite")) == 0
    assert "edit pictures" not in capsys.readouterr().out
    names = {"card.json", "encoder.safetensors", "README.md"}
    assert {path.name for path in kept.iterdir()} == names
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    for name in (kept, "hybrid"):
        with pytest.raises(InputError, match="released as an encoder alone"):
            load_method(name)
    # A saved encoder has no checkpoint.
    assert run(*release(source / "encoder", tmp_path, "--overwrite")) == 0
    assert not (kept / "method.safetensors").exists()
    monkeypatch.setattr(module, "MOST_BYTES", (kept / "encoder.safetensors").stat().st_size)
    motion = run_of("facecycle_motion")
    monkeypatch.setattr(module, "_method_of", lambda *_: load_method(motion))
    message = refusal(capsys, *release(source, tmp_path / "large"))
    assert "leave its networks out by --encoder-only" in message
    assert not (tmp_path / "large").exists()


def test_a_checkpoint_of_another_step_is_refused(tmp_path, capsys):
    source = a_run("facecycle_motion", tmp_path)
    encoder = load_encoder(source)
    state = encoder.state_dict()
    name = min(state)
    save_encoder(encoder, source / "encoder", encoder.card, {**state, name: state[name] + 1})
    message = refusal(capsys, *release(source, tmp_path / "out"))
    assert "its encoder/ and its checkpoint are not of one step" in message
    assert not (tmp_path / "out").exists()


def test_broken_releases_are_refused(release_of, tmp_path):
    whole = release_of("facecycle_motion")

    def broken(name):
        return Path(shutil.copytree(whole, tmp_path / name))

    cut = broken("cut") / "method.safetensors"
    cut.write_bytes(cut.read_bytes()[:-10])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_method(cut.parent)
    flipped = broken("flipped") / "method.safetensors"
    data = bytearray(flipped.read_bytes())
    data[-1] ^= 1
    flipped.write_bytes(data)
    with pytest.raises(InputError, match=f"^{flipped}: its bytes are not those that card.json"):
        load_method(flipped.parent)
    other = broken("other") / "method.safetensors"
    state = load_file(other)
    del state[min(state)]
    save_file(state, other)
    update_card(other.parent, sha256={})
    with pytest.raises(InputError, match="its weights are not those of the facecycle_motion"):
        load_method(other.parent)
    for number, (value, message) in enumerate(
        (
            ({"method": "facecycle_motion"}, "'method_rebuilt_from' can't be used"),
            ({"method": "os.system", "settings": {}}, "is of os.system; give a run of"),
            ({"method": "facecycle_motion", "settings": {"size": 3}}, "settings are not those of"),
        )
    ):
        folder = broken(f"card{number}")
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps(card | {"method_rebuilt_from": value}))
        with pytest.raises(InputError, match=message):
            load_method(folder)
