"""`ssl-faces export --pipeline`: one file from aligned crops to codes and probabilities."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from ssl_faces import load_encoder, load_probe
from ssl_faces.apps.export.faces import some_faces
from ssl_faces.apps.export.pipeline import as_crops
from ssl_faces.encoders.saved_probe import save_probe
from ssl_faces.prepare import numpy_alignment
from tests.support.commands import refusal, run
from tests.support.demo import CLASSES, a_probe
from tests.support.exports import check_same, export, saved
from tests.support.images import EYES, astronaut
from tests.support.small_sets import write_fer2013


@pytest.fixture(name="folder")
def _folder(tmp_path):
    """An encoder with a probe of a space of 16."""
    folder = saved(tmp_path, "resnet")
    save_probe(folder, a_probe("identity", 16))
    return folder


def opened(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def card_in(session, key):
    return json.loads(session.get_modelmeta().custom_metadata_map[key])


def expected(encoder, folder, crops):
    codes = encoder(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255)
    probe = load_probe(folder)
    return codes | {"expression_probabilities": probe(codes["identity"])}


def test_crops_to_codes_and_probabilities(folder, tmp_path, capsys):
    out = tmp_path / "pipeline.onnx"
    assert run(*export(folder, "--out", out, "--pipeline")) == 0
    printed = capsys.readouterr().out
    assert "expression_probabilities [B, 3]" in printed
    assert "linear-probe run" not in printed
    session, encoder = opened(out), load_encoder(folder)
    (crops,) = session.get_inputs()
    assert (crops.name, crops.type) == ("crops", "tensor(uint8)")
    assert crops.shape == ["faces", 48, 48, 3]
    names = [output.name for output in session.get_outputs()]
    assert names == [*encoder.feature_dims, "expression_probabilities"]
    draw = np.random.default_rng(0)
    for count in (1, 7):
        pixels = draw.integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)
        wanted = expected(encoder, folder, pixels)
        for name, values in zip(names, session.run(None, {"crops": pixels}), strict=True):
            check_same(values, wanted[name])
            if name == "expression_probabilities":
                assert values.sum(1) == pytest.approx(1, abs=1e-5)
    assert card_in(session, "classes") == {"expression": list(CLASSES)}
    assert card_in(session, "outputs")["expression_probabilities"] == 3
    assert card_in(session, "probes")["expression"]["accuracy"]["value"] == 48.123
    assert set(card_in(session, "parity")["spaces"]) == set(names)


def test_a_deployment_needs_only_the_file_and_the_numpy_file(folder, tmp_path):
    """From a photograph and its landmarks to what this package computes."""
    out = tmp_path / "pipeline.onnx"
    assert run(*export(folder, "--out", out, "--pipeline", "--spaces", "pooled")) == 0
    session = opened(out)
    assert [o.name for o in session.get_outputs()] == ["pooled", "expression_probabilities"]
    alignment = card_in(session, "alignment")
    assert np.array_equal(alignment["template"], numpy_alignment.TEMPLATE)
    assert alignment["landmarks"][0] == "left eye"
    landmarks = np.array([*EYES, [225, 129], [201.5, 139.5], [245.5, 141]])
    crop = numpy_alignment.align(astronaut(), landmarks, alignment["size"])[None]
    wanted = expected(load_encoder(folder), folder, crop)
    for output, values in zip(
        session.get_outputs(), session.run(None, {"crops": crop}), strict=True
    ):
        np.testing.assert_allclose(values, wanted[output.name], atol=1e-4)


def test_8_bits_leave_the_probe_alone(folder, tmp_path, capsys):
    out, data = tmp_path / "out" / "pipeline.onnx", tmp_path / "data"
    write_fer2013(data)
    words = ("--int8", "--pipeline", "--data", data, "--faces", "40", "--spaces", "identity")
    assert run(*export(folder, "--out", out, *words)) == 0
    printed = capsys.readouterr().out
    session = opened(out)
    loss = card_in(session, "eight_bits")["loss"]
    assert loss["bytes"]["8"] < loss["bytes"]["32"] / 2
    assert "part train: FER-2013" in card_in(session, "eight_bits")["calibrated_on"]
    crops = as_crops(some_faces(str(data), "test", 48, 40).images).numpy()
    codes, probabilities = session.run(None, {"crops": crops})
    probe = load_probe(folder)
    # In 32 bits, of the codes of 8 bits.
    np.testing.assert_allclose(probe(torch.from_numpy(codes)), probabilities, atol=1e-5)
    exact = expected(load_encoder(folder), folder, crops)["expression_probabilities"].numpy()
    measured = loss["probabilities"]["expression"]
    change = 100 * np.abs(exact - probabilities)
    assert 0 < measured["mean_change"] == pytest.approx(change.mean(), rel=0.05)
    assert measured["largest_change"] == pytest.approx(change.max(), rel=0.05)
    same = (exact.argmax(1) == probabilities.argmax(1)).mean()
    assert measured["same_class_percent"] == pytest.approx(100 * same)
    assert f"the same class is the most probable for {100 * same:.1f} %" in printed


def test_8_bits_need_enough_real_faces(folder, tmp_path, capsys):
    out = tmp_path / "out" / "pipeline.onnx"
    words = export(folder, "--out", out, "--int8")
    assert "rendered ones differ too much; give a folder" in refusal(capsys, *words)
    faces = tmp_path / "faces"
    faces.mkdir()
    for i in range(3):
        Image.fromarray(np.full((48, 48, 3), 50 * i, np.uint8)).save(faces / f"{i}.png")
    words = export(folder, "--out", out, "--int8", "--data", faces)
    assert "has 3 faces to calibrate 8 bits on; give at least 32" in refusal(capsys, *words)
    assert not out.parent.exists()


def test_an_encoder_without_a_probe(tmp_path, capsys):
    folder, out = saved(tmp_path, "resnet"), tmp_path / "out" / "pipeline.onnx"
    message = refusal(capsys, *export(folder, "--out", out, "--pipeline"))
    assert f"has no saved probe; make one by linear-probe save-probe --encoder {folder}" in message
    assert not out.parent.exists()
