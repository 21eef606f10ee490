"""`ssl-faces bench embed`: the same thinned images for all, and one row for each embedder."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from linear_probe.bench import embeddings as benchmark_embeddings
from linear_probe.bench.embeddings import measure, parser, thinned
from linear_probe.sources import packages
from linear_probe.sources.by_name import encoder_sources
from linear_probe.tasks.task import in_test_part
from ssl_faces import InputError, save_encoder
from ssl_faces.bench.embed import NOT_INSIDE, table_of
from ssl_faces.data import LFW, Fer2013
from ssl_faces.networks.backbone import BackboneEncoder
from tests.support.small_sets import write_fer2013, write_lfw


@pytest.fixture(name="data")
def _data(tmp_path):
    write_fer2013(tmp_path / "data", train=15, test=4)
    write_lfw(tmp_path / "data", folds=3, people=4)
    return tmp_path / "data"


@pytest.fixture(name="dlib")
def _dlib(tmp_path, monkeypatch):
    """Packages in place of dlib and its weights; the images that the network gets."""
    seen = []

    class Network:
        def __init__(self, path):
            assert Path(path).is_file()

        def compute_face_descriptor(self, chips):
            seen.append(chips)
            return [[float(chip.mean())] + [float(i) for i in range(127)] for chip in chips]

    fake = ModuleType("dlib")
    fake.__version__ = "0"
    fake.rectangle = lambda *sides: sides
    fake.shape_predictor = lambda path: lambda picture, box: box
    fake.face_recognition_model_v1 = Network

    def chip(picture, marks, size, margin):
        assert marks == (0, 0, 149, 149)
        assert (size, margin) == (150, 0.25)
        return picture

    fake.get_face_chip = chip
    monkeypatch.setitem(sys.modules, "dlib", fake)
    models = tmp_path / "site" / "face_recognition_models" / "models"
    models.mkdir(parents=True)
    # The real one can't be imported without an old setuptools; only its path is used.
    (models.parent / "__init__.py").write_text("import pkg_resources_of_old")
    for name in (packages.DlibSource._NETWORK, packages.DlibSource._LANDMARKS):
        (models / name).write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return seen


def test_a_packages_recogniser_gets_faces_of_its_size(dlib):
    (source,) = encoder_sources(["package:dlib"], baselines=False)
    assert source.dims == {"descriptor": 128}
    images = torch.rand(3, 3, 150, 150)
    found = source(images)["descriptor"]
    assert found.shape == (3, 128)
    ((*chips,),) = dlib
    for chip, image in zip(chips, images, strict=True):
        assert chip.dtype == np.uint8
        np.testing.assert_allclose(chip / 255, image.permute(1, 2, 0), atol=0.5 / 255 + 1e-6)
    before = source.fingerprint
    source._files[0].write_bytes(b"others")
    (again,) = encoder_sources(["package:dlib"], baselines=False)
    assert again.fingerprint != before


def test_packages_that_are_missing_or_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(InputError, match="pip install dlib-bin face_recognition_models"):
        encoder_sources(["package:dlib"], baselines=False)
    with pytest.raises(InputError, match="no recogniser that is known here; there is package:dlib"):
        encoder_sources(["package:insightface"], baselines=False)


def test_every_kth_test_picture_and_pair(data):
    whole = [Fer2013(data / "fer2013", "all"), LFW(data / "lfw", "all")]
    faces, people = thinned(whole, 2)
    assert in_test_part(whole[0]).sum() == 28
    assert in_test_part(faces).sum() == 14
    assert (~in_test_part(faces)).sum() == (~in_test_part(whole[0])).sum() == 105
    # Of each fold, half of each kind.
    kinds = [(pair.fold, pair.same) for pair in people.pairs]
    assert sorted(kinds) == sorted((f, s) for f in range(3) for s in (False, True) for _ in "ab")
    assert len(whole[1].pairs) == 24
    with pytest.raises(InputError, match="--data holds no LFW"):
        thinned(whole[:1], 2)


def test_one_table_of_accuracy_and_speed(data, tmp_path, dlib, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.hub._hub_dir = None
    torch.manual_seed(0)
    encoder = BackboneEncoder("resnet18", 32, 0.125, {"identity": 8})
    folder = save_encoder(
        encoder, tmp_path / "small", {"data": [{"name": "a", "pictures": 1200}, {"pictures": 34}]}
    )
    words = ["--encoder", str(folder), "--data", str(data), "--rounds", "2", "--batch-size", "3"]
    words += ["--max-train", "100", "--bootstrap", "20", "--folder", str(tmp_path / "kept")]
    found = measure(parser().parse_args([*words, "--spaces", "identity", "--every", "2"]))
    json.dumps(found)
    assert set(found["rates"]) == {
        str(folder), f"{folder}, ONNX", "pixels", "HOG", "LBP", "package:dlib"
    }  # fmt: skip
    for rate in found["rates"].values():
        assert 0 < rate["least"] <= rate["median"] <= rate["most"]
    counts = {(r["data_set"], r["n"]) for r in found["records"] if r["metric"] == "accuracy"}
    assert counts == {("FER-2013", 14), ("LFW", 12)}
    result = table_of(found)
    rows = {row["embedder"]: row for row in result.rows}
    assert list(rows)[:3] == ["pixels", "HOG", "LBP"]
    own = rows[str(folder)]
    assert own["learnt from"] == "1,234 faces, no label"
    assert rows["HOG"]["features"] == "grey 48x48, grey 64x64"
    assert rows["HOG"]["times HOG"] == "1"
    assert "3 million labelled faces" in str(rows["package:dlib"]["learnt from"])
    (accuracy,) = [
        record["value"]
        for record in found["records"]
        if (record["encoder"], record["task"]) == (str(folder), "identity")
        and (record["metric"], record["probe"]) == ("accuracy", "cosine similarity")
    ]
    assert str(own["pairs, accuracy %"]).startswith(f"{accuracy:.2f} [")
    for name in ("pixels", "HOG", "LBP", str(folder), "package:dlib"):
        assert all(
            "[" in str(rows[name][column])
            for column in ("expression, accuracy %", "expression, kNN %", "pairs, accuracy %")
        )
    assert rows[f"{folder}, ONNX"]["features"] == "as torch's"
    assert set(NOT_INSIDE) <= set(rows)
    assert "FER-2013 14" in result.table()

    # Without the package: its row says so, and nothing else is lost.
    monkeypatch.setitem(sys.modules, "dlib", None)
    monkeypatch.setattr(benchmark_embeddings, "_rates", lambda *_: {})
    found = measure(parser().parse_args([*words, "--spaces", "identity", "--every", "2"]))
    rows = {row["embedder"]: row for row in table_of(found).rows}
    assert "pip install dlib-bin" in str(rows["package:dlib"]["learnt from"])
    assert "[" in str(rows[str(folder)]["pairs, accuracy %"])
