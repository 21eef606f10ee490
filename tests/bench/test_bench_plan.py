"""The benches of a step and of planning: counted memory, measured speed, arithmetic."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linear_probe.bench import embeddings as benchmark_embeddings
from linear_probe.bench.embeddings import measure, parser, thinned
from linear_probe.sources import packages
from linear_probe.sources.by_name import encoder_sources
from linear_probe.tasks.task import in_test_part
from ssl_faces import InputError, save_encoder
from ssl_faces.bench.embed import NOT_INSIDE, table_of
from ssl_faces.bench.plan import WORKSPACE, memory_of, plan
from ssl_faces.bench.result import GIB
from ssl_faces.data import LFW, Fer2013
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.training.cost import Cost, count, of_batch
from tests.support.benches import MODEL, MOTION, SMALL, run_bench
from tests.support.commands import refusal
from tests.support.refusals import message_of
from tests.support.small_sets import write_fer2013, write_lfw

SETTINGS = argparse.Namespace(faces=9_000_000, epochs=2.0, scaling=0.5, price=4.0, gpus_a_node=8)
COST = Cost("any", 1, 16, 1, parameters=GIB, trained=250_000_000, saved=3 * GIB, side=64)


def test_a_plan_by_hand():
    row = plan(16, SETTINGS, speed=125.0, picture=1000.0, cost=COST)
    assert row["pictures/s"] == 1000  # 125 x 16 x 0.5
    assert row["hours"] == pytest.approx(36e6 / 1000 / 3600)  # 9 M pairs twice
    assert row["cost, dollars"] == pytest.approx(10 * 16 * 4)
    assert row["memory a GPU, GiB"] == pytest.approx((3e9 + WORKSPACE) / GIB + 4 + 3)
    assert row["disk, GiB"] == pytest.approx((9e9 + 2e9) / GIB + 4)
    assert row["read a node, MB/s"] == pytest.approx(0.5)  # half of the images, on two nodes
    assert row["sent a GPU and step, MB"] == pytest.approx(1875)  # 2 x 15/16
    # A step is 512 images, 0.512 s.
    assert row["network a GPU, Gbit/s"] == pytest.approx(8 * 1.875 / 0.512)
    alone = plan(1, SETTINGS, speed=125.0, picture=1000.0, cost=COST)
    assert alone["pictures/s"] == 125
    assert alone["sent a GPU and step, MB"] == 0


def test_memory_of_stage_1():
    words = [*MOTION, *SMALL, "--data.batch_size"]
    few = count([*words, "2"])
    exact, half = (count([*words, "1000"], precision=p) for p in ("32-true", "bf16-mixed"))
    assert few.trained <= few.parameters
    memory = memory_of(exact)
    assert memory["Adam"] == 2 * memory["gradients"] == 8 * exact.trained
    # Nearly all of it grows with the images; a pair takes less in bf16.
    assert 400 < exact.saved / few.saved <= 500
    assert 0.4 < half.saved / exact.saved < 0.95


def test_a_plan_from_a_measured_step(tmp_path, capsys):
    measured = run_bench(tmp_path, "step", *MODEL, "--trainer.accelerator", "cpu", "--rounds", 2)
    (row,) = measured["rows"]
    assert row["pictures/s"] == pytest.approx(6000 / row["ms"])
    assert row["GFLOP/s"] == pytest.approx(row["GFLOP a picture"] * row["pictures/s"])
    assert len(measured["details"]["seconds"]) == 2
    (cost,) = run_bench(tmp_path, "cost", *MODEL, "--overwrite")["rows"]
    assert row["GFLOP a picture"] == pytest.approx(cost["GFLOP a picture"])
    step = tmp_path / "step.json"
    measured["rows"][0]["pictures/s"] = 50.0
    step.write_text(json.dumps(measured))
    capsys.readouterr()
    argv = ("plan", *MODEL, "--step", step, "--gpus", "1,8", "--faces", 900000, "--overwrite")
    one, eight = run_bench(tmp_path, *argv)["rows"]
    assert f"50 pictures a second, measured on {measured['machine']['hardware']}" in (
        capsys.readouterr().out
    )
    assert one["hours"] == pytest.approx(10)
    assert eight["hours"] == pytest.approx(10 / 8 / 0.9)
    step.write_text(json.dumps(measured | {"bench": "cost"}))
    message = refusal(capsys, "bench", "plan", *MODEL, "--step", step)
    assert "not of `ssl-faces bench step" in message


def test_a_short_run_of_the_service(tmp_path, capsys):
    pytest.importorskip("fastapi")
    pytest.importorskip("prometheus_client")
    words = ("--concurrency", "1,8", "--each", "16", "--rounds", "1")
    measured = run_bench(tmp_path, "serve", *words)
    rows = measured["rows"]
    assert [(row["at once"], row["encoder takes"]) for row in rows] == [
        (1, "batches"),
        (1, "one by one"),
        (8, "batches"),
        (8, "one by one"),
    ]
    for row in rows:
        assert 0 < row["p50 ms"] <= row["p95 ms"]
        assert row["requests/s"] > 0
    # The ratio is of the same round, and one round was run.
    assert rows[2]["times one by one"] == pytest.approx(
        rows[2]["requests/s"] / rows[3]["requests/s"]
    )


def test_the_services_own_refusal(capsys):
    pytest.importorskip("fastapi")
    assert "no-such-encoder" in refusal(capsys, "bench", "serve", "--encoder", "no-such-encoder")


ROOT = Path(__file__).parents[2]
IDENTITY = ["-c", str(ROOT / "configs/method/facecycle_identity_small.yaml")]


def contrast(*more, pairs):
    return count([*MODEL, "--data.batch_size", str(pairs), *more]).flop


@pytest.mark.parametrize("pairs", [2, 5, 8, 33])
def test_a_small_network_by_hand(pairs):
    n = 2 * pairs
    conv = 2 * n * 16 * 16 * 8 * 3 * 9  # forward; pictures need no gradient, weights do
    linear = 2 * n * 8 * 5
    products = 2 * n * n * 5
    plain = 2 * conv + 3 * linear + 3 * products
    assert contrast(pairs=pairs) == plain
    assert contrast("--model.teacher", "true", pairs=pairs) == plain + conv
    # Scores and their sum: two products of [n, n, 5], forward and by both factors.
    attention = 3 * 2 * products
    assert contrast("--model.attention", "true", pairs=pairs) == plain + attention


def test_bytes_that_a_small_network_keeps():
    # The pictures, the convolution's maps (two operations share them), means, embeddings, products.
    n = 6
    kept = n * 3 * 256 + n * 8 * 256 + n * 8 + n * 5 + n * n
    assert count(MODEL).saved == 4 * kept


def test_a_method_that_takes_no_small_batches():
    assert contrast("--model.least", "20", pairs=33) == contrast(pairs=33)
    assert "too small" in message_of(contrast, "--model.least", "20", pairs=19)


def test_batches_that_make_one_step():
    cost = count([*MODEL, "--trainer.accumulate_grad_batches", "4", "--trainer.devices", "2"])
    assert cost.flop == 4 * contrast(pairs=3)
    assert (cost.pairs, cost.devices) == (12, 2)
    assert (cost.parameters, cost.trained) == (216 + 40, 216 + 40)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 5000))
def test_a_large_batch_is_extrapolated_from_small_ones(a, b, c, pairs):
    counted = []

    def quadratic(sizes):
        counted.extend(sizes)
        return [a + b * n + c * n * n for n in sizes]

    assert of_batch(pairs, quadratic) == a + b * pairs + c * pairs**2
    assert max(counted) <= 8


def test_a_cost_that_is_no_polynomial_is_counted():
    assert of_batch(100, lambda sizes: [2**n for n in sizes]) == 2**100


def test_facecycle_in_both_precisions_and_its_second_stage(tmp_path):
    words = [*MOTION, *SMALL, "--data.batch_size", "2"]
    exact, half = (count(words, tmp_path, p) for p in ("32-true", "bf16-mixed"))
    assert exact == replace(half, saved=exact.saved)
    assert exact.pairs == 2
    assert (tmp_path / "trunk.safetensors").exists()
    stage1 = str(tmp_path / "checkpoints/last.ckpt")
    words = ["--model.motion_checkpoint", stage1, "--data.size", "16", "--data.batch_size"]
    few, more = (count([*IDENTITY, *words, pairs]) for pairs in ("2", "8"))
    assert few.method == "facecycle_identity"
    # All of it is by pictures but what is made of their mean face.
    assert 0 <= 4 * few.flop - more.flop < 0.2 * more.flop
    # Stage 1's networks are there, and not trained.
    assert few.trained < few.parameters - exact.trained / 2


def test_the_command(tmp_path, capsys):
    (row,) = run_bench(tmp_path, "cost", *MODEL)["rows"]
    assert row["pictures a step"] == 6
    assert row["GFLOP a step"] == contrast(pairs=3) / 1e9
    assert row["GFLOP a step"] == pytest.approx(6 * row["GFLOP a picture"])
    assert f"{row['GFLOP a step']:,.4g}" in capsys.readouterr().out


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
