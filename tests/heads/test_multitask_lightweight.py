"""Lightweight networks: the paper's sizes, what one stage hands to the next, what is reported."""

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from linear_probe.cli import main
from linear_probe.heads.cost import cost
from linear_probe.heads.fit import head_outputs
from linear_probe.heads.goals import (
    AGES,
    MEANING_FILE,
    Categories,
    Goal,
    Meaning,
    Part,
    expected_age,
    read_meaning,
    save_meaning,
)
from linear_probe.heads.loading import load_head
from linear_probe.heads.multitask_lightweight import MultitaskLightweight
from linear_probe.records.record import RECORDS_FILE, read_records
from ssl_faces import InputError
from ssl_faces.data import EXPRESSIONS
from ssl_faces.training.logged import read_logged
from tests.support.heads import SMALL
from tests.support.images import rendered, write_all, write_picture
from tests.support.layouts import fer_folders, lfw
from tests.support.refusals import error_of
from tests.support.wandb_server import logged

ROOT = Path(__file__).parents[2]
SMALLEST = "mobilenetv3_small_050"


@pytest.mark.parametrize(
    ("backbone", "features", "parameters"),
    [
        # Millions without the classifier, as published for a thousand classes less those layers.
        ("mobilenetv3_large_100", 1280, 4.2),
        ("efficientnet_b0", 1280, 4.0),
        ("rexnet_100", 1280, 3.5),
    ],
)
def test_the_papers_networks(backbone, features, parameters):
    head = MultitaskLightweight(Categories(7), backbone=backbone)
    assert head.classifier[-1].in_features == features
    total = sum(p.numel() for p in head.backbone.parameters()) / 1e6
    assert total == pytest.approx(parameters, abs=0.1)
    assert head(torch.rand(2, 3, 48, 48)).shape == (2, 7)


def test_a_map_of_small_pictures_keeps_its_size():
    sides = {}
    for keep in (True, False):
        head = MultitaskLightweight(Categories(7), backbone=SMALLEST, keep_size=keep).eval()
        with torch.no_grad():
            sides[keep] = head.backbone.encoder.last_map(torch.rand(1, 3, 48, 48)).shape[-1]
    assert sides == {True: 3, False: 2}


def test_what_goes_on_to_the_next_stage_is_all_but_the_classifier():
    torch.manual_seed(0)
    first = MultitaskLightweight(Goal({"age": AGES, "gender": 2}), backbone=SMALLEST)
    second = MultitaskLightweight(Categories(7), backbone=SMALLEST)
    own = {k: v.clone() for k, v in second.state_dict().items()}
    second.take_over(first)
    for name, value in second.state_dict().items():
        expected = own[name] if name.startswith("classifier.") else first.state_dict()[name]
        assert torch.equal(value, expected), name


def test_cost_counts_what_is_scored():
    head = MultitaskLightweight(Categories(7), backbone=SMALLEST)
    found = cost(head)
    assert found.parameters == sum(p.numel() for p in head.parameters())
    assert found.milliseconds > 0
    last = head.classifier[-1]
    assert found.macs > last.in_features * last.out_features
    # The first layer alone, by hand: 16 channels of 3x3x3 on 48x48 places.
    first = next(m for m in head.backbone.modules() if isinstance(m, torch.nn.Conv2d))
    assert found.macs > first.out_channels * 27 * 48 * 48


def faces_of_all_kinds(root):
    """UTKFace, people and expressions in one folder of data, as small as can be."""
    draw = np.random.default_rng(0)

    def picture(path):
        write_picture(path, draw.integers(0, 256, (20, 20, 3), dtype=np.uint8))

    for number in range(150):
        name = f"{10 + number % 60}_{number % 2}_{number % 3}_201701{number:011d}.jpg.chip.jpg"
        picture(root / "UTKFace" / name)
    for usage, count in (("Training", 60), ("PublicTest", 14)):
        for number in range(count):
            kind = ("angry", "happy")[number % 2]
            picture(root / "fer2013" / usage / kind / f"{usage}_{number}.jpg")
    lines = ["2\t1", "Person_0\t1\t2", "Person_0\t1\tPerson_1\t1"]
    lines += ["Person_2\t1\t2", "Person_2\t1\tPerson_3\t1"]
    lfw(root / "lfw", "\n".join(lines) + "\n", **{f"Person_{i}": 3 for i in range(8)})
    return root


def test_identity_then_attributes_then_expression(tmp_path, capsys, monkeypatch):
    data = faces_of_all_kinds(tmp_path / "data")
    out = tmp_path / "out"
    stages = (
        "[{task: people, training: {epochs: 1, batch_size: 4, sam_radius: 0.05}}, "
        "{task: attributes, training: {epochs: 1, batch_size: 16}}]"
    )
    words = [
        *("head", "-c", str(ROOT / "configs/head/multitask_lightweight.yaml")),
        *("--head.init_args.backbone", SMALLEST, "--head.init_args.picture_size", "32"),
        *("--training.epochs", "2", "--training.batch_size", "8", "--bootstrap", "20"),
        *("--accelerator", "cpu", "--precision", "32-true", "--out", str(out)),
    ]
    monkeypatch.setenv("SSL_FACES_DATA", str(data))
    assert main([*words, f"--before={stages}"]) == 0
    message = capsys.readouterr().out
    # The four of no pair: those of pairs are test people.
    assert "4 people of LFW, 12 pictures" in message
    assert "multiply-adds" in message
    records = read_records(out / RECORDS_FILE)
    metrics = {(r.task, r.metric, r.unit) for r in records}
    assert {
        ("attributes", "MAE age", "years"),
        ("attributes", "gender accuracy", "%"),
        ("attributes", "race accuracy", "%"),
        ("expression", "accuracy", "%"),
    } <= metrics
    (one,) = [r for r in records if (r.task, r.metric) == ("expression", "accuracy")]
    assert "before that on the identity of people (1 epochs), then attributes (1 epochs)" in (
        one.protocol
    )
    assert one.hyperparameters["cost"]["macs"] > 0
    assert set(one.hyperparameters["validation"]) == {"accuracy"}
    (age,) = [r for r in records if r.metric == "MAE age"]
    assert "before that" not in age.protocol
    assert set(age.hyperparameters["validation"]) == {
        *("MAE age", "gender accuracy", "race accuracy")
    }


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("[{task: pose}]", "task: 'pose'; heads learn"),
        ("[{task: people}]", "people: 0 with 2 pictures or more"),
        ("[{task: attributes, trainin: {epochs: 1}}]", "trainin"),
    ],
)
def test_stages_that_cannot_be(before, message, tmp_path, capsys):
    words = ["head", "-c", str(ROOT / "configs/head/multitask_lightweight.yaml")]
    words += ["--head.init_args.backbone", SMALLEST, "--accelerator", "cpu"]
    data = tmp_path / "data"
    fer_folders(data / "fer2013")
    words += ["--data", str(data), "--out", str(tmp_path / "out"), f"--before={before}"]
    if "people" in before:
        words[-1] = words[-1].replace("people", f"people, data: '{data}'")
    assert message in error_of(main, capsys, words)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A head of two epochs, logged by W&B offline."""
    out = tmp_path_factory.mktemp("heads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        assert main([*SMALL, "--training.epochs", "2", "--out", str(out)]) == 0
    (folder,) = out.glob("heads/*/seed0")
    return folder


def test_its_curves_are_logged(trained):
    curves = read_logged(trained)
    assert len(curves["validation/accuracy"]) == 2
    in_wandb = logged(trained)
    assert "loss" in in_wandb
    last = [*curves["validation/accuracy"].values()][-1]
    assert float(in_wandb["validation/accuracy"]) == pytest.approx(last, abs=1e-3)


def test_it_predicts_without_its_data(trained, tmp_path, capsys, monkeypatch):
    trained_head = load_head(trained)
    head = trained_head.head
    assert read_meaning(trained) == trained_head.task.meaning
    crops = rendered(3, head.read_size)
    paths = write_all(tmp_path / "in", crops)
    expected = head_outputs(head, torch.from_numpy(crops).permute(0, 3, 1, 2)).softmax(1)

    def no_data(*_, **__):
        raise AssertionError("reads the training data")

    monkeypatch.setattr("linear_probe.heads.loading.tasks_of", no_data)
    table = tmp_path / "out.csv"
    assert main(["predict", str(trained), *map(str, paths), "--out", str(table)]) == 0
    assert "3 faces of 3 files" in capsys.readouterr().out
    rows = list(csv.DictReader(table.open()))
    shares = np.array([[float(row[f"expression_{name}"]) for name in EXPRESSIONS] for row in rows])
    np.testing.assert_allclose(shares, expected.numpy(), atol=1e-4)

    file = tmp_path / "head.onnx"
    words = ["--data", "rendered", "--faces", "32"]
    assert main(["export", str(trained), "--out", str(file), *words]) == 0
    assert "expression [B, 7]" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(file)
    card = session.get_modelmeta().custom_metadata_map
    assert json.loads(card["outputs"]) == {"expression": [*EXPRESSIONS]}
    assert json.loads(card["parity"])["differences"]["expression"] < 1e-4
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    images = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    (predicted,) = session.run(["expression"], {"images": images})
    np.testing.assert_allclose(predicted, expected.numpy(), atol=1e-4)


def test_bad_input(trained, tmp_path, capsys):
    (face,) = write_all(tmp_path / "in", rendered(1))
    out = str(tmp_path / "out.csv")
    for words, shown in (
        (["predict", str(tmp_path), str(face), "--out", out], "neither a trained head nor an"),
        (["predict", "runs/haeds", str(face), "--out", out], "runs/haeds: holds neither a trained"),
        (["export", "runs/haeds", "--out", out + ".onnx"], "runs/haeds: no such folder; give the"),
        (["predict", str(trained), str(tmp_path / "no"), "--out", out], "No such file"),
        (["predict", str(trained), str(face), "--out", out, "--smooth", "61"], "--smooth"),
        (["export", str(trained), "--out", "head.pt2"], "give a name that ends in .onnx"),
        (["export", str(tmp_path), "--out", out + ".onnx"], "settings.json: can't be read"),
        (["export", str(trained), "--out", out + ".onnx", "--opset", "12"], "--opset"),
    ):
        assert main(words) == 2, words
        assert shown in capsys.readouterr().err
    (tmp_path / MEANING_FILE).write_text('{"parts": []}')
    with pytest.raises(InputError, match="no outputs"):
        read_meaning(tmp_path)


def test_outputs_of_several_kinds(tmp_path):
    meaning = Meaning((Part("age", years=True), Part("race", ("a", "b")), Part("valence")), True)
    save_meaning(tmp_path, meaning)
    assert read_meaning(tmp_path) == meaning
    goal = meaning.goal()
    assert isinstance(goal, Goal)
    assert goal.sizes == {"age": AGES, "race": 2, "valence": 1}
    outputs = torch.randn(4, goal.outputs)
    predicted = meaning.predicted(outputs)
    torch.testing.assert_close(predicted["age"][:, 0], expected_age(outputs[:, :AGES]))
    torch.testing.assert_close(predicted["race"].sum(1), torch.ones(4))
    torch.testing.assert_close(predicted["valence"], outputs[:, -1:])
    assert isinstance(Meaning((Part("class", ("a", "b", "c")),), False).goal(), Categories)
