"""Exported files: torch's features for any batch, a card inside, 8 bits and their loss."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from linear_probe.features.frozen import EncoderSource
from linear_probe.sources.onnx_file import OnnxSource
from ssl_faces import load_encoder, load_probe
from ssl_faces.apps.export import faces as faces_module
from ssl_faces.apps.export import formats, parity
from ssl_faces.apps.export.faces import some_faces
from ssl_faces.apps.export.loss import cosine_error
from ssl_faces.apps.export.pipeline import as_crops
from ssl_faces.encoders.onnx_files import quantised, session_of, traced
from ssl_faces.encoders.saved_probe import save_probe
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.prepare import numpy_alignment
from tests.support.commands import refusal, run
from tests.support.demo import CLASSES, a_probe
from tests.support.exports import MAKERS, check_same, export, saved
from tests.support.images import EYES, astronaut
from tests.support.small_sets import save_grey, write_fer2013, write_lfw


@pytest.mark.parametrize("kind", MAKERS)
def test_an_onnx_file_gives_torchs_features_for_any_batch(tmp_path, kind, capsys):
    folder, out = saved(tmp_path, kind), tmp_path / "out" / "e.onnx"
    assert run(*export(folder, "--out", out)) == 0
    parity_line = (
        "parity with torch, 40 rendered faces, part test, in batches of 1, 2, 3, 5, 16, 13"
    )
    assert parity_line in capsys.readouterr().out
    encoder = load_encoder(folder)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    assert images.name == "images"
    assert images.shape == ["faces", 3, encoder.input_size, encoder.input_size]
    assert [o.name for o in session.get_outputs()] == list(encoder.feature_dims)
    for count in (1, 4, 11):
        x = torch.rand(count, 3, encoder.input_size, encoder.input_size)
        for features, expected in zip(
            session.run(None, {"images": x.numpy()}), encoder(x).values(), strict=True
        ):
            check_same(features, expected)
    card = session.get_modelmeta().custom_metadata_map
    assert card["name"] == "small"
    assert card["licence"] == "none"
    assert json.loads(card["limits"]) == ["a", "b"]
    assert json.loads(card["feature_dims"]) == encoder.feature_dims
    assert "RGB in [0, 1]" in card["input"]
    assert "online" not in card
    assert json.loads(card["opset"]) == 17
    assert onnx.load(out).opset_import[0].version == 17
    measured = json.loads(card["parity"])
    assert set(measured["spaces"]) == set(encoder.feature_dims)
    assert all(0 < one["relative"] < 1e-4 for one in measured["spaces"].values())
    assert [path.name for path in out.parent.iterdir()] == ["e.onnx"]


def test_a_linear_probe_reads_the_file_back(tmp_path):
    folder, out = saved(tmp_path, "facecycle"), tmp_path / "e.onnx"
    assert (
        run(*export(folder, "--out", out, "--spaces", "identity,expression_map", "--opset", "13"))
        == 0
    )
    source, own = OnnxSource(str(out)), EncoderSource("own", load_encoder(folder))
    assert list(source.dims) == ["identity", "expression_map"]
    assert all(source.dims[space] == own.dims[space] for space in source.dims)
    assert source.input_size == own.input_size
    x = torch.rand(5, 3, 80, 80)
    for space, features in source(x).items():
        check_same(features, own(x)[space])
    assert onnx.load(out).opset_import[0].version == 13


def test_a_program_gives_torchs_features_for_any_batch(tmp_path):
    folder, out = saved(tmp_path, "facecycle"), tmp_path / "e.pt2"
    assert run(*export(folder, "--out", out, "--spaces", "identity")) == 0
    extra = {"card.json": ""}
    program = torch.export.load(out, extra_files=extra).module()
    card = json.loads(extra["card.json"])
    assert (card["name"], list(card["feature_dims"])) == ("small", ["identity"])
    assert card["parity"]["spaces"]["identity"]["relative"] < 1e-4
    encoder = load_encoder(folder)
    for count in (1, 2, 9):
        x = torch.rand(count, 3, encoder.input_size, encoder.input_size)
        (features,) = program(x).values()
        check_same(features, encoder(x)["identity"])


def test_wrong_features_are_not_written(tmp_path, capsys, monkeypatch):
    folder, out = saved(tmp_path, "resnet"), tmp_path / "out" / "e.onnx"
    right = formats.onnx_features

    def wrong(data, spaces):
        features = right(data, spaces)

        def shifted(images):
            found = features(images)
            if len(images) == 3:  # in one batch only
                found["pooled"][1, 0] += 0.01
            return found

        return shifted

    monkeypatch.setattr(formats, "onnx_features", wrong)
    message = refusal(capsys, *export(folder, "--out", out))
    assert "the exported file's 'pooled' differs from torch's by up to" in message
    assert "0.0001 is allowed" in message
    assert not out.parent.exists()


def test_the_distance_is_relative_to_the_features_scale():
    exact = torch.tensor([[11.0, 20.0], [9.0, 20.0]])  # minus their mean: RMS sqrt(1/2)
    rounded = exact + torch.tensor([[0.0, 0.0], [0.0, 0.003]])
    assert parity.distance(exact, rounded) == pytest.approx(
        {"absolute": 0.003, "relative": 0.003 * 2**0.5}, rel=1e-3
    )
    for bad in (exact[:1], exact * float("nan")):
        assert parity.distance(exact, bad)["relative"] == float("inf")
    assert parity.distance(exact[:1], exact[:1])["relative"] == 0
    assert [sum(parity.batch_sizes(n)) for n in (1, 3, 27, 28, 500)] == [1, 3, 27, 28, 500]


def test_cosine_errors_are_of_centred_features():
    exact = torch.tensor([[3.0, 7.0], [1.0, 7.0], [2.0, 8.0], [2.0, 6.0]])
    turned = torch.tensor([[2.0, 8.0], [1.0, 7.0], [2.0, 8.0], [2.0, 6.0]])  # the first by 90 °
    found = cosine_error(exact, turned)
    assert found["mean"] == pytest.approx(0.25)
    assert found["worst"] == pytest.approx(1.0)
    assert found["n"] == 4
    assert 0 <= found["low"] <= 0.25 <= found["high"] <= 1


class _Sizes(nn.Module):
    def forward(self, x):
        small = F.interpolate(x, size=(10, 6), mode="bilinear", antialias=True)
        pooled = F.adaptive_avg_pool2d(F.adaptive_avg_pool2d(small, (7, 4)), (1, 1))
        return torch.cat([small.flatten(1), pooled.flatten(1)], 1)


@pytest.mark.parametrize("opset", [13, 20])
def test_resizing_and_pooling_are_torchs(opset):
    x = torch.rand(3, 3, 17, 24)
    session = session_of(traced(_Sizes(), x[:2], ["o"], opset))
    (found,) = session.run(None, {"images": x.numpy()})
    np.testing.assert_allclose(found, _Sizes()(x), rtol=1e-5, atol=1e-6)


class _Resized(nn.Module):
    """A network that resizes its input."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        small = F.interpolate((x - 0.5) / 0.2, size=(8, 8), mode="bilinear", antialias=True)
        return self.linear(self.conv(small).mean((2, 3)))


@pytest.mark.parametrize("in_float", [True, False])
def test_pictures_are_resized_in_32_bits(in_float):
    x = torch.rand(40, 3, 16, 16)
    network = _Resized().eval()
    data = quantised(traced(network, x[:2], ["o"]), "static", x, pixels_in_float=in_float)
    graph = onnx.load_from_string(data).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    of_pixels = [n for n in graph.node if n.op_type in ("Sub", "Div", "MatMul")]
    assert len(of_pixels) == 4
    products = [n for n in of_pixels if n.op_type == "MatMul"]
    eight_bits = [
        any(made_by.get(name) == "DequantizeLinear" for name in node.input) for node in products
    ]
    assert eight_bits == [not in_float] * 2
    (conv,) = (n for n in graph.node if n.op_type == "Conv")
    assert made_by[conv.input[0]] == "DequantizeLinear"
    with torch.no_grad():
        (found,) = session_of(data).run(None, {"images": x.numpy()})
        assert np.abs(found - network(x).numpy()).max() < 0.1


class _NotInOnnx(BackboneEncoder):
    def features(self, x, spaces):
        return {k: torch.linalg.qr(v)[0] for k, v in super().features(x, spaces).items()}


def test_encoders_that_onnx_can_not_write(tmp_path, capsys, monkeypatch):
    argv = export(saved(tmp_path, "resnet"), "--out", tmp_path / "out" / "e.onnx")
    with monkeypatch.context() as patch:
        patch.setattr(
            "ssl_faces.encoders.encoder.load_encoder",
            lambda name: _NotInOnnx("resnet18", 32, 0.125).eval(),
        )
        assert "can't be written as ONNX with opset 17" in refusal(capsys, *argv)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "needs onnx and onnxruntime, which can't be imported" in refusal(capsys, *argv)
    assert not (tmp_path / "out").exists()


def test_faces_are_of_the_requested_part_of_all_sets(real_data, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_FACES_DATA", str(real_data / "fer2013"))
    root = faces_module.data_named(None)
    test, train = some_faces(root, "test", 48, 30), some_faces(root, "train", 48, 30)
    assert test.images.shape == train.images.shape == (30, 3, 48, 48)
    assert "FER-2013 30" in test.of
    assert not torch.equal(test.images, train.images)
    assert 0 <= test.images.min() < 0.2 < 0.8 < test.images.max() <= 1
    monkeypatch.setenv("SSL_FACES_DATA", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert faces_module.data_named(None) == "rendered"


def test_8_bits_and_their_loss(tmp_path, capsys):
    folder, out = saved(tmp_path, "resnet"), tmp_path / "out" / "e.onnx"
    data = tmp_path / "data"
    write_fer2013(data)
    lfw = write_lfw(data)
    for number in range(8):  # people of no pair are for training
        path = lfw / f"Other_{number}" / f"Other_{number}_0001.png"
        save_grey(path, np.full((48, 48), 20 * number + 40))
    words = ("--int8", "--spaces", "identity", "--data", data, "--faces", "40")
    assert run(*export(folder, "--out", out, *words)) == 0
    printed = capsys.readouterr().out
    names = {"e.onnx", "e.onnx.md", "e.onnx.json"}
    assert {path.name for path in out.parent.iterdir()} == names
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    encoder = load_encoder(folder)
    shown = some_faces(str(data), "test", 48, 40)
    (rounded,) = session.run(None, {"images": shown.images.numpy()})
    card = json.loads(session.get_modelmeta().custom_metadata_map["eight_bits"])
    assert json.loads((out.parent / "e.onnx.json").read_text()) == card
    assert "part train" in card["calibrated_on"]
    loss = card["loss"]
    # Measured on this file and the encoder.
    again = cosine_error(encoder(shown.images, ["identity"])["identity"], torch.from_numpy(rounded))
    measured = loss["cosine_error"]["spaces"]["identity"]
    assert measured["mean"] == pytest.approx(again["mean"], rel=0.05)
    assert 0 < measured["low"] <= measured["mean"] <= measured["high"] < 0.1
    assert 0.2 < loss["bytes"]["8"] / loss["bytes"]["32"] < 0.5
    scores = {(s["task"], s["metric"]): s for s in loss["scores"]}
    assert {task for task, _ in scores} == {"expression", "identity"}
    for one in scores.values():
        change = one["after"]["value"] - one["before"]["value"]
        assert one["difference"]["value"] == pytest.approx(change, abs=1e-6)
        assert one["n"] > 10
    page = (out.parent / "e.onnx.md").read_text()
    assert "accuracy (logistic regression)" in page
    assert page.partition("\n\n")[2].strip() in printed


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
