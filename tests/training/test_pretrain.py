"""Pretraining from Python: in one call, with a plain Trainer, on folders and other data."""

import inspect
import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from ssl_faces import (
    DatasetFaces,
    EncoderExport,
    FaceData,
    InputError,
    load_encoder,
    methods,
    plot_training,
    pretrain,
)
from ssl_faces.methods.simclr import SimCLR
from ssl_faces.networks.backbone import EncoderSettings
from tests.support.fits import ROOT, SIZE
from tests.support.twins import Twins

MODEL = {"encoder.name": "resnet18", "encoder.width": 0.0625, "encoder": {"input_size": SIZE}}
TRAINER = {"accelerator": "cpu", "precision": "32-true", "log_every_n_steps": 1}
DATA = {"size": SIZE, "batch_size": 8}


def settings(cache):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    data = {**DATA, "cache": cache, "augmentation": {"crop_scale": [0.5, 1.0]}}
    return {"model": MODEL, "data": data, "trainer": {**TRAINER, **quiet}, "panels_every": 0}


def test_methods_lists_the_classes_by_name():
    listed = methods()
    assert listed["simclr"] is SimCLR
    assert list(listed) == sorted(listed)
    assert not any(inspect.isabstract(kind) for kind in listed.values())
    configs = {
        path.stem.removesuffix("_small") for path in (ROOT / "configs/method").glob("*.yaml")
    }
    assert configs == {name for name, kind in listed.items() if "ssl_faces" in kind.__module__}


def test_by_name_and_by_class_the_run_is_one(faces, tmp_path):
    by_name, by_class = (
        pretrain(method, faces, out=tmp_path / name, steps=3, seed=5, **settings(tmp_path / "c"))
        for method, name in (("simclr", "a"), (SimCLR, "b"))
    )
    for name, value in by_name.state_dict().items():
        torch.testing.assert_close(value, by_class.state_dict()[name], rtol=0, atol=0)
    assert by_name.place == tmp_path / "a/encoder"
    assert by_name.card["method"] == "simclr"
    assert (by_name.card["steps"], by_name.card["seed"]) == (3, 5)
    assert by_name.card["positives"] == "picture"  # of configs/method/simclr.yaml
    assert by_name.input_size == SIZE
    config = (tmp_path / "a/config.yaml").read_text()
    assert "crop_scale" in config
    assert "- 0.5\n" in config
    (line,) = plot_training(tmp_path / "a").data
    assert list(line.x) == [0, 1, 2]
    with pytest.raises(InputError, match="no metric 'accuracy'; it has logged"):
        plot_training([tmp_path / "a"], "accuracy")
    with pytest.raises(
        InputError, match=r"nothing is logged there: .* --trainer.log_every_n_steps"
    ):
        plot_training(tmp_path)
    with pytest.raises(InputError, match="holds a run already"):
        pretrain("simclr", faces, out=tmp_path / "a", **settings(tmp_path / "c"))
    resumed = pretrain(
        "simclr",
        faces,
        out=tmp_path / "a",
        steps=4,
        seed=5,
        resume=True,
        **settings(tmp_path / "c"),
    )
    assert resumed.card["steps"] == 4


class OfANotebook(Twins):
    name = "of_a_notebook"


@pytest.mark.parametrize("kind", [Twins, OfANotebook])
def test_a_class_of_ones_own_has_the_defaults_of_fit(kind, faces, tmp_path, monkeypatch):
    if kind is OfANotebook:
        monkeypatch.setattr(kind, "__module__", "__main__")
        monkeypatch.setattr(sys.modules["__main__"], kind.__name__, kind, raising=False)
    data = {"size": SIZE, "batch_size": 2, "cache": tmp_path / "c"}
    encoder = pretrain(
        kind, faces, out=tmp_path / "run", steps=1, data=data, trainer=TRAINER, panels_every=0
    )
    assert encoder.card["method"] == kind.name
    assert encoder.card["positives"] == "frames"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "simclear"}, "config 'simclear': .* near it are simclr"),
        ({"method": "no.yaml"}, "no.yaml"),
        ({"faces": 3}, "faces: a int; give a folder, a FaceSet, or one split of a data set"),
        ({"steps": -5}, "max_steps"),
        ({"model": {"warmth": 1}}, "warmth"),
        ({"data": {"batch_size": 0}}, "batch_size"),
        ({"everything": 1}, "everything"),
    ],
)
def test_bad_arguments_are_one_sentence(change, message, faces, tmp_path):
    arguments = {"method": "simclr", "faces": faces, "out": tmp_path / "run", **change}
    with pytest.raises(InputError, match=message) as error:
        pretrain(**arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_missing_extras_are_one_sentence(tmp_path, monkeypatch):
    for package, call, extra in (
        ("datasets", lambda: pretrain("simclr", object(), out=tmp_path / "run"), "hub"),
        ("plotly.express", lambda: plot_training(tmp_path), "dashboard"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InputError, match=rf"pip install 'ssl-faces\[{extra}\]'"):
            call()


def test_a_plain_trainer_with_the_data_of_a_folder(faces, tmp_path, monkeypatch):
    from pytorch_lightning import Trainer

    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "cache"))
    method = SimCLR(EncoderSettings("resnet18", SIZE, 0.0625))
    trainer = Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
        callbacks=[EncoderExport(tmp_path / "run")],
    )
    trainer.fit(method, FaceData(str(faces), positives="picture", augmentation="views", **DATA))
    encoder = load_encoder(tmp_path / "run")
    state = load_file(tmp_path / "run/encoder/encoder.safetensors")
    torch.testing.assert_close(dict(method.encoder.state_dict()), state)
    assert encoder.card["steps"] == 2
    assert encoder.card["data"][0]["pictures"] == 24


def test_a_data_set_of_hugging_face_is_trained_on(tmp_path):
    datasets = pytest.importorskip("datasets")
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 40, 40, 3), generator=draw, dtype=torch.uint8).numpy()
    dataset = datasets.Dataset.from_dict(
        {"face": list(images), "mood": [i % 3 - 1 for i in range(16)], "who": ["a", "b"] * 8},
        features=datasets.Features(
            face=datasets.Image(),
            mood=datasets.ClassLabel(names=["Happiness", "sad"]),
            who=datasets.Value("string"),
        ),
    )
    faces = DatasetFaces(dataset, person="who", name="moods")
    assert faces.people == ["a", "b"]
    assert faces[4]["image"].permute(1, 2, 0).numpy().tolist() == images[4].tolist()
    labels = [faces[i].get("expression") for i in range(3)]
    assert labels == [None, 3, 5]
    encoder = pretrain("simclr", faces, out=tmp_path / "run", steps=1, **settings(tmp_path / "c"))
    (about,) = json.loads(json.dumps(encoder.card["data"]))
    assert (about["name"], about["pictures"]) == ("moods", 16)
    bare = pretrain("simclr", dataset, out=tmp_path / "bare", steps=1, **settings(tmp_path / "c"))
    assert bare.card["data"][0]["pictures"] == 16
    for options, message in (
        ({"person": "age"}, "person: the data set has no column 'age' among face, mood, who"),
        ({"image": "mood"}, "image: the data set has no column 'mood' of type Image"),
    ):
        with pytest.raises(InputError, match=message):
            DatasetFaces(dataset, **options)
    with pytest.raises(InputError, match="no column of images among mood, who"):
        DatasetFaces(dataset.remove_columns("face"))
    with pytest.raises(InputError, match="a DatasetDict; give a folder"):
        DatasetFaces(datasets.DatasetDict(train=dataset))
