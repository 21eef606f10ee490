"""Probes kept beside their encoders: fitted as scored, calibrated on validation pictures alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from linear_probe.cli import main
from linear_probe.experiments import saved_probes
from linear_probe.experiments.saved_probes import best_by_card, calibration_error, fit_temperature
from linear_probe.features.frozen import EncoderSource, FeatureCache, Pictures
from linear_probe.records.record import read_records
from linear_probe.tasks import TASKS
from linear_probe.tasks.task import rows_of
from ssl_faces import InputError, load_encoder
from ssl_faces.apps.demo.comparison import FaceComparison
from ssl_faces.data import EXPRESSIONS
from ssl_faces.encoders.encoder import save_encoder
from ssl_faces.encoders.places import RELEASED
from ssl_faces.encoders.saved_probe import load_probe, probe_file
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.rendered import RenderedFaces
from tests.support.probing import own_images

# Temperature and calibration ----------------------------------------------------------------------


def test_the_temperature_is_that_of_the_draws():
    draw = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 4, generator=draw)
    targets = torch.multinomial((logits / 2.5).softmax(1), 1, generator=draw)[:, 0]
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(2.5, rel=0.05)
    grid = np.linspace(0.9, 1.1, 41) * found
    losses = [float(F.cross_entropy(logits.double() / t, targets)) for t in grid]
    assert abs(int(np.argmin(losses)) - 20) <= 1
    assert fit_temperature(10 * logits, targets) == pytest.approx(10 * found, rel=1e-3)


def test_calibration_error_by_a_loop():
    draw = torch.Generator().manual_seed(1)
    probabilities = (2 * torch.randn(500, 3, generator=draw)).softmax(1)
    targets = torch.randint(0, 3, (500,), generator=draw)
    sure, shown = (value.numpy() for value in probabilities.max(1))
    right = shown == targets.numpy()
    expected = 0.0
    for i in range(15):
        here = (sure > i / 15) & (sure <= (i + 1) / 15)
        if here.any():
            expected += here.mean() * abs(right[here].mean() - sure[here].mean())
    assert calibration_error(probabilities, targets) == pytest.approx(100 * expected, abs=1e-3)


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def saved(tiny, tmp_path):
    words = ["--encoder", str(tiny), "--data", "rendered:280", "--out", str(tmp_path / "out")]
    assert main(["save-probe", *words]) == 0
    return tiny


def test_it_is_the_probe_that_run_scores(tmp_path, capsys):
    torch.manual_seed(5)
    encoder = BackboneEncoder("resnet18", 32, 0.125, {"expression": 8, "identity": 6})
    saved = save_encoder(encoder, tmp_path / "encoder", {})
    given = ["--encoder", str(saved), "--data", "rendered:280", "--out", str(tmp_path / "out")]
    assert main(["save-probe", *given]) == 0
    shown = capsys.readouterr().out
    words = ["--data", "rendered:280", "--task", "expression", "--no-baselines"]
    out = tmp_path / "out"
    assert main(["run", "--encoder", str(saved), *words, "--out", str(out)]) == 0
    records = [r for r in read_records(out / "records.jsonl") if r.probe == "logistic regression"]
    validated = {
        r.feature_space: r.hyperparameters["validation"]["accuracy"]
        for r in records
        if r.metric == "accuracy"
    }
    probe = load_probe(saved)
    assert validated[probe.space] == max(validated.values())
    for space, accuracy in validated.items():
        assert f"{space}: validation accuracy {accuracy:.2f} %" in shown
    for metric, key in (("accuracy", "accuracy"), ("mean class recall", "mean_class_recall")):
        (record,) = (r for r in records if (r.feature_space, r.metric) == (probe.space, metric))
        kept = probe.about[key]
        expected = [record.value, record.low, record.high, record.n]
        assert [kept["value"], kept["low"], kept["high"], kept["n"]] == pytest.approx(
            expected, abs=1e-4
        )
    assert probe.about["l2"] == record.hyperparameters["l2"]

    # On the features of test pictures it is as good as it says.
    faces = RenderedFaces(280, 28, "all")
    task = TASKS["expression"]([faces])
    pictures = Pictures(faces, task.indices)
    source = EncoderSource("any name", load_encoder(saved))
    features = FeatureCache(out / "features").read(source, pictures, probe.space)
    tested = features.records[task.is_test[features.records]]
    shares = probe(features.values[rows_of(features, tested)])
    assert torch.allclose(shares.sum(1), torch.ones(len(tested)))
    targets = torch.tensor([int(faces.records[i].labels["expression"]) for i in tested])
    right = 100 * (shares.argmax(1) == targets).float().mean()
    assert float(right) == pytest.approx(probe.about["accuracy"]["value"], abs=0.01)
    error = probe.about["calibration_error"]
    assert calibration_error(shares, targets) == pytest.approx(error["value"], abs=0.05)


def test_the_temperature_is_of_pictures_not_fitted_on(tiny, tmp_path, monkeypatch):
    seen = []

    def watched(logits, targets):
        seen.append((logits, targets))
        return 2.0

    monkeypatch.setattr(saved_probes, "fit_temperature", watched)
    words = ["--space", "expression", "--data", "rendered:280", "--out", str(tmp_path / "out")]
    assert main(["save-probe", "--encoder", str(tiny), *words]) == 0
    ((logits, targets),) = seen
    probe = load_probe(tiny)
    assert probe.temperature == 2.0
    assert probe.space == "expression"
    accuracy = 100 * float((logits.argmax(1) == targets).double().mean())
    # Of the split's probe, which hasn't seen them: what L2 was chosen by.
    assert accuracy == pytest.approx(probe.about["validation_accuracy"], abs=1e-3)


def test_wrong_arguments(tiny, tmp_path, capsys):
    for words, shown in (
        (["--task", "pose"], "--task pose: give one of classes: expression, classes"),
        (["--space", "nose"], "--space nose"),
        (["--task", "classes", "--data", "rendered:280"], "classes needs"),
    ):
        given = ["--encoder", str(tiny), "--out", str(tmp_path / "out"), *words]
        assert main(["save-probe", *given]) == 2
        error = capsys.readouterr().err
        assert shown in error
        assert error.count("\n") == 1
    assert not (tiny / probe_file("expression")).exists()


# The file -----------------------------------------------------------------------------------------


def test_files_that_are_no_probe_of_the_encoder(saved, tmp_path, save_tiny):
    path = saved / probe_file("expression")
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["probe"])
    tensors = load_file(path)
    other = save_tiny(tmp_path / "other", seed=1)
    (other / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"is of other weights than encoder\.safetensors there"):
        load_probe(other)
    for wrong in (
        {"mean": tensors["mean"][1:]},
        {"bias": tensors["bias"][1:]},
        {"weight": tensors["weight"] * torch.nan},
        {"temperature": torch.zeros(1)},
    ):
        save_file(tensors | wrong, path, {"probe": json.dumps(about)})
        with pytest.raises(InputError, match=r"no whole probe .* linear-probe save-probe"):
            load_probe(saved)
    for metadata in (None, {"probe": "{"}, {"probe": "[]"}):
        save_file(tensors, path, metadata)
        with pytest.raises(InputError, match="no whole probe"):
            load_probe(saved)
    path.unlink()
    assert load_probe(saved) is None


def test_the_released_one():
    probe = load_probe("hybrid")
    assert probe.classes == tuple(EXPRESSIONS)
    encoder = load_encoder("hybrid")
    task = TASKS["expression"]
    records = [
        r
        for r in encoder.card["records"]
        if (r["task"], r["metric"], r["probe"]) == ("expression", "accuracy", task.probe)
    ]
    best = max(records, key=lambda r: r["hyperparameters"]["validation"]["accuracy"])
    assert probe.space == best["feature_space"]
    # The card's was fitted on features in bf16.
    assert probe.about["accuracy"]["value"] == pytest.approx(best["value"], abs=0.5)
    assert probe.about["calibration_error"]["value"] < 4
    shares = probe(encoder(torch.rand(2, 3, 48, 48))[probe.space])
    assert shares.shape == (2, 7)
    assert (RELEASED / "hybrid" / probe_file("expression")).stat().st_size < 100_000


def test_the_space_is_the_cards_best_on_validation_pictures():
    class Asked:
        name, data_set, probe = "expression", "FER-2013", "logistic regression"

    def record(space, accuracy, value, **more):
        return {
            **{"task": "expression", "data_set": "FER-2013", "metric": "accuracy"},
            **{"probe": "logistic regression", "feature_space": space, "value": value},
            **{"hyperparameters": {"validation": {"accuracy": accuracy}}, **more},
        }

    records = [
        record("a", 40, 60),
        record("b", 45, 50),
        record("c", 99, 99, condition={"blur": 1}),
        record("d", 99, 99, data_set="CK+"),
        record("e", 99, 99, metric="mean class recall"),
        {"task": "expression"},
    ]
    assert best_by_card({"records": records}, Asked()) == "b"
    assert best_by_card({}, Asked()) is None


# Own classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tables", [False, True])
def test_own_classes(tables, tiny, tmp_path, capsys):
    names = ("hat", "no hat", "étoile")
    paths = own_images(tmp_path / "own", names)
    sides = {side: str(tmp_path / "own" / side) for side in paths}
    if tables:
        for side, images in paths.items():
            sides[side] = str(tmp_path / f"{side}.csv")
            lines = ["image,class", *(f"{path},{path.parent.name}" for path in images)]
            Path(sides[side]).write_text("\n".join(lines), encoding="utf-8")
    words = ["save-probe", "--encoder", str(tiny), "--out", str(tmp_path / "out")]
    own = [*words, "--train", sides["train"], "--test", sides["test"]]
    assert main(own) == 0
    assert not (tiny / probe_file("classes")).exists()
    place = tmp_path / "out/probe"
    probe = load_probe(place, "classes")
    assert probe.classes == names
    accuracy = probe.about["accuracy"]
    assert accuracy["n"] == 12
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert accuracy["value"] > 40
    # The folder works by itself: the encoder is there too.
    table = tmp_path / "predicted.csv"
    assert main(["predict", str(place), str(paths["test"][0]), "--out", str(table)]) == 0
    assert "class_no hat" in table.read_text(encoding="utf-8")
    shown = FaceComparison(place).probe
    assert shown.classes == names
    capsys.readouterr()
    assert main(own) == 2
    assert "has a probe of classes already" in capsys.readouterr().err
    assert main([*own, "--overwrite"]) == 0


def test_own_classes_that_can_not_be_used(tiny, tmp_path, capsys):
    own_images(tmp_path, ("a", "b"))
    train, test = str(tmp_path / "train"), str(tmp_path / "test")
    words = ["save-probe", "--encoder", str(tiny), "--out", str(tmp_path / "out"), "--train", train]
    for more, shown in (
        ([], "--train goes with --test"),
        (["--test", str(tmp_path / "x.csv")], "give two folders, or two CSV files"),
        (["--test", test, "--data", "rendered"], "--data can't be combined"),
        (["--test", test, "--task", "expression"], "expression needs"),
        (["--test", train], "share 24 picture(s)"),
        (["--test", test, "--save", "hybrid"], "--save hybrid: has another encoder"),
    ):
        if "hybrid" in more:
            more[-1] = str(RELEASED / "hybrid")
            shown = f"--save {more[-1]}: has another encoder"
        assert main([*words, *more]) == 2, more
        error = capsys.readouterr().err
        assert shown in error, error
