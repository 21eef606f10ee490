"""A trained head on the user's images, as ONNX, and its curves in W&B."""

import csv
import json

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from linear_probe.cli import main
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
from ssl_faces import InputError
from ssl_faces.data import EXPRESSIONS
from ssl_faces.training.logged import read_logged
from tests.support.heads import SMALL
from tests.support.images import rendered, write_all
from tests.support.wandb_server import logged


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
