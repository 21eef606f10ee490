"""`linear-probe audit`: its output, resuming, and bad input."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from linear_probe.cli import main
from linear_probe.experiments.audit.onnx_model import OnnxModel, exported
from linear_probe.experiments.audit.run import _Audit
from linear_probe.experiments.audit.subjects import HeadNetwork, HeadSubject, groups_of, target_of
from linear_probe.experiments.audit.tables import AS_IT_IS
from linear_probe.experiments.job_files import parser
from linear_probe.heads.cvt import CVT
from linear_probe.heads.export import PredictingHead
from linear_probe.heads.goals import Categories, Meaning, Part
from linear_probe.heads.inception_fer import InceptionFER
from linear_probe.heads.loading import load_head
from linear_probe.heads.mafer import MAFER
from linear_probe.heads.multitask_lightweight import MultitaskLightweight
from linear_probe.records.predictions import predictions_path, read_predictions
from linear_probe.records.record import RECORDS_FILE, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.stats.breakdown import by_group
from linear_probe.tasks import Attributes
from ssl_faces import InputError, save_encoder
from ssl_faces.apps.export.formats import onnx_features
from ssl_faces.data import find_face_sets
from ssl_faces.encoders.onnx_files import quantised, traced
from ssl_faces.networks.backbone import BackboneEncoder
from tests.support.refusals import error_of
from tests.support.small_sets import write_utkface
from tests.support.threads import one_thread

ROOT = Path(__file__).parents[2]


_one_thread = pytest.fixture(autouse=True)(one_thread)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_utkface(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    made = BackboneEncoder("resnet18", 16, 0.0625)
    return save_encoder(made, tmp_path_factory.mktemp("encoder"), {})


def config(folder, **more):
    """The arguments of a small audit."""
    given = {
        **{"task": "attributes", "target": "gender", "space": "pooled", "bootstrap": 60},
        **{"compressions": [{"sparsity": 0.5, "epochs": 1}], "tuning": {"batch_size": 32}},
        **more,
    }
    path = folder / "audit.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in given.items() if v is not None}))
    return ["audit", "-c", str(path), "--out", str(folder / "out")]


def test_what_is_written_and_a_second_time_only_what_is_new(
    data, encoder, tmp_path, monkeypatch, capsys
):
    of = {"data": str(data), "encoder": str(encoder)}
    compressed = []
    real = _Audit._compressed
    monkeypatch.setattr(
        _Audit, "_compressed", lambda self, one: (compressed.append(one.name), real(self, one))[1]
    )
    assert main(config(tmp_path, **of)) == 0
    tuned = "50 % pruned over 1 epoch"
    out = tmp_path / "out"
    first = {r.name: r for r in read_records(out / RECORDS_FILE)}
    more = [{"sparsity": 0.5, "epochs": 1}, {"clusters": 4, "quantise": "static"}]
    assert main(config(tmp_path, compressions=more, **of)) == 0
    assert compressed == [tuned, "4 values, 8 bits"]
    assert f"{tuned}: measured already" in capsys.readouterr().out
    records = read_records(out / RECORDS_FILE)
    assert [r for r in records if r.name in first] == [*first.values()]
    assert {r.probe for r in records} == {"as it is", tuned, "4 values, 8 bits"}
    assert len({r.sample for r in records}) == 1
    # As it is, it is what `linear-probe run` scores.
    words = ["run", "--encoder", str(encoder), "--data", str(data), "--task", "attributes"]
    words += ["--features", "pooled", "--no-baselines", "--bootstrap", "60"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    scored = {r.metric: r for r in read_records(tmp_path / "run" / RECORDS_FILE)}
    main_figures = {r.metric: r for r in records if r.probe == "as it is" and not r.condition}
    for metric in ("gender accuracy", "gender mean class recall"):
        assert main_figures[metric].value == pytest.approx(scored[metric].value)
        assert main_figures[metric].low == pytest.approx(scored[metric].low)
        assert main_figures[metric].sample == scored[metric].sample
    # Groups' accuracies are those of the predictions that are kept.
    for probe in ("as it is", tuned):
        (accuracy,) = [
            r for r in records if (r.probe, r.metric, r.condition) == (probe, "gender accuracy", {})
        ]
        shown = read_predictions(predictions_path(out, accuracy))
        assert set(shown.groups) == {"race", "age band"}
        expected = {part.part: part.value for part in by_group(shown, "race")}
        found = {
            r.condition["level"]: r.value
            for r in records
            if r.probe == probe and r.condition.get("factor") == "race"
        }
        assert found == pytest.approx(expected)
    # The tables: changes are of paired draws.
    rows = list(csv.DictReader((out / "audit.csv").open()))
    replicates = read_replicates(out / REPLICATES_FILE)
    (row,) = [
        r
        for r in rows
        if (r["compression"], r["metric"], r["grouping"]) == (tuned, "gender accuracy", "")
    ]
    pair = [
        r
        for r in records
        if r.metric == "gender accuracy" and not r.condition and r.probe != "4 values, 8 bits"
    ]
    before, after = sorted(pair, key=lambda r: r.probe != "as it is")
    assert float(row["change"]) == pytest.approx(after.value - before.value, abs=1e-4)
    drawn = replicates[after.name] - replicates[before.name]
    assert float(row["change_low"]) == pytest.approx(np.percentile(drawn, 2.5), abs=1e-4)
    cost = before.hyperparameters["cost"]
    path = next((out / "models").glob("*as_it_is.onnx"))
    assert cost["file_bytes"] == path.stat().st_size
    assert after.hyperparameters["cost"]["nonzero"] < 0.6 * cost["nonzero"]
    assert after.hyperparameters["cost"]["compressed_bytes"] < cost["compressed_bytes"]
    text = (out / "audit.md").read_text()
    assert "gender fairness across race" in text
    assert "(few)" not in text or "not ranked" in text
    page = (out / "audit.html").read_text()
    assert "Accuracy by size" in page
    assert "Change of accuracy by race" in page


def test_a_trained_head_is_loaded_as_it_was(data, tmp_path):
    head = [
        *("head", "-c", str(ROOT / "configs/head/inception_fer.yaml"), "--data", str(data)),
        *("--task", "attributes", "--head.init_args.width", "0.0625", "--bootstrap", "20"),
        *("--head.init_args.hidden", "[8, 8]", "--training.epochs", "1", "--accelerator", "cpu"),
        *("--training.batch_size", "32", "--precision", "32-true", "--out", str(tmp_path)),
    ]
    assert main(head) == 0
    (folder,) = (tmp_path / "heads").glob("*/seed0")
    trained = load_head(folder)
    # Of the run's folder the head of a seed.
    again = load_head(tmp_path, seed=0).head.state_dict()
    for name, value in trained.head.state_dict().items():
        assert torch.equal(again[name], value)
    with pytest.raises(InputError, match=r"holds 0 heads of seed 3 \(none\); give the folder"):
        load_head(tmp_path, seed=3)
    assert isinstance(trained.head, InceptionFER)
    assert (trained.seed, trained.job.bootstrap) == (0, 20)
    subject = HeadSubject(trained, "gender")
    with pytest.raises(InputError, match="target: none given; UTKFace has gender, race: name one"):
        target_of(trained.task.task, None)
    # The file says what the head says of gender.
    rows = subject.test[:5]
    shown = OnnxModel(subject.file()).logits(subject.prepared(rows))
    with torch.no_grad():
        whole = trained.head.predict(trained.head.prepare(subject.images[rows]))
    place = subject.target.label
    goal = trained.head.goal
    torch.testing.assert_close(shown, goal.parts(whole)[place], rtol=1e-3, atol=1e-4)
    words = config(tmp_path, head=str(folder), space=None, task=None)
    assert main(words) == 0
    # A set without groups of people can be audited, too.
    words = config(tmp_path, head=str(tmp_path), space=None, task=None, groups=[])
    assert main([*words, "--out", str(tmp_path / "alone")]) == 0
    without = read_records(tmp_path / "alone" / RECORDS_FILE)
    assert not any("fairness" in r.metric or r.condition for r in without)
    costs = [r.hyperparameters["cost"] for r in without if r.probe == "as it is"]
    assert all(cost["float16_bytes"] < cost["compressed_bytes"] for cost in costs)
    records = read_records(tmp_path / "out" / RECORDS_FILE)
    scored = [r for r in read_records(tmp_path / RECORDS_FILE) if r.metric == "gender accuracy"]
    as_it_is = [r for r in records if r.probe == "as it is" and r.metric == "gender accuracy"]
    assert [r.value for r in as_it_is if not r.condition] == pytest.approx(
        [scored[0].value], abs=1.5
    )  # of bf16 there, where the CPU is fast at it
    state = torch.load(folder / "last.ckpt", weights_only=True)
    state["global_step"] -= 1
    torch.save(state, folder / "last.ckpt")
    with pytest.raises(InputError, match="run the same `linear-probe head` again"):
        load_head(folder)
    with pytest.raises(InputError, match="can't be read"):
        load_head(tmp_path / "heads")


@pytest.mark.parametrize("name", ["cvt", "mafer", "multitask_lightweight", "inception_fer"])
def test_every_head_can_be_written(name):
    """With a batch of another size than it was traced with; `exported` compares with one more."""
    torch.manual_seed(0)
    small = {
        "cvt": lambda g: CVT(g, width=0.0625, dim=8, depth=1, heads=2),
        "mafer": lambda g: MAFER(g, head=lambda g, e: _inception(g)),
        "multitask_lightweight": lambda g: MultitaskLightweight(
            g, backbone="mobilenetv3_small_050", picture_size=32
        ),
        "inception_fer": _inception,
    }
    head = small[name](Categories(3)).eval()
    network = HeadNetwork(head, slice(None)).eval()
    read = (5, 3, head.read_size, head.read_size)
    images = head.prepare(torch.randint(0, 256, read, dtype=torch.uint8))
    with torch.no_grad():
        expected = network(images)
    data = exported(network, images[:2])
    torch.testing.assert_close(OnnxModel(data).logits(images), expected, rtol=1e-3, atol=1e-4)
    shown = OnnxModel(quantised(data, "static", images)).logits(images)
    assert shown.shape == expected.shape
    # So can what it predicts of images at the side that it reads.
    predicting = PredictingHead(head, Meaning((Part("expression", ("a", "b", "c")),), False))
    raw = torch.randint(0, 256, read) / 255
    file = onnx_features(traced(predicting.eval(), raw[:2], ["expression"]), ["expression"])
    with torch.no_grad():
        expected = predicting.predictions(raw)["expression"]
    torch.testing.assert_close(file(raw)["expression"], expected, rtol=1e-3, atol=1e-4)


def _inception(goal):
    return InceptionFER(goal, width=0.0625, hidden=(8, 8))


def test_an_onnx_file_is_quantised_and_no_more(data, tmp_path, capsys):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)),
        *(torch.nn.Flatten(), torch.nn.Linear(4, 2)),
    ).eval()
    # Its pictures' side is fixed, as it is in the classifier's file.
    path = tmp_path / "gender.onnx"
    path.write_bytes(exported(network, torch.rand(2, 3, 16, 16)))
    of = {"data": str(data), "onnx": str(path), "space": None}
    assert main(config(tmp_path, compressions=[{"quantise": "dynamic"}], **of)) == 0
    records = read_records(tmp_path / "out" / RECORDS_FILE)
    assert {r.probe for r in records} == {"as it is", "8 bits, dynamic"}
    words = config(tmp_path, compressions=[{"clusters": 4}], **of)
    assert "an ONNX file can be quantised only" in error_of(main, capsys, words)
    words = config(tmp_path, compressions=[{"quantise": "static"}], **{**of, "target": "race"})
    message = error_of(main, capsys, words)
    assert "gives 2 numbers a picture, and race of UTKFace has 5" in message


def test_groupings_that_say_nothing(data, tmp_path):
    task = Attributes(find_face_sets(data, "all"), replicates=5)
    target = target_of(task, "gender")
    records = np.arange(80)
    message = []
    assert set(groups_of(task.faces, target, records, None, message.append)) <= {"race", "age band"}
    with pytest.raises(InputError, match="groups: 'glasses'; beside gender UTKFace has race"):
        groups_of(task.faces, target, records, ["glasses"])
    one = np.flatnonzero([r.labels["race"] == 0 for r in task.faces.records])
    with pytest.raises(InputError, match="race is 'White' for all 140 test pictures"):
        groups_of(task.faces, target, one, ["race"])
    assert set(groups_of(task.faces, target, one, None, message.append)) == {"age band"}
    assert any("race is 'White'" in line for line in message)


def test_training_after_pruning_that_diverges(data, encoder, tmp_path, capsys):
    settings = {
        "data": str(data),
        "encoder": str(encoder),
        "tuning": {"learning_rate": 1.0e30, "batch_size": 32},
    }
    words = config(tmp_path, **settings, compressions=[{"sparsity": 0.5, "epochs": 3}])
    message = error_of(main, capsys, words)
    assert "tuning.learning_rate: 1e+30: the loss is not finite at step" in message
    kept = read_records(tmp_path / "out" / RECORDS_FILE)
    assert {record.probe for record in kept} == {AS_IT_IS}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"encoder": None}, "no classifier given; name one of head, encoder and onnx"),
        ({"head": "x"}, "head and encoder given; name one"),
        ({"compressions": []}, "compressions: none given"),
        ({"compressions": [{"clusters": 4}, {"clusters": 4}]}, "'4 values' is there twice"),
        ({"task": "pose"}, "task: 'pose'; audits are of expression"),
        ({"space": "expression"}, "space: 'expression'; "),
        ({"target": None}, "target: none given; UTKFace has gender, race"),
        ({"groups": ["glasses"]}, "groups: 'glasses'"),
    ],
)
def test_bad_input(more, message, data, encoder, tmp_path, capsys):
    words = config(tmp_path, **{"data": str(data), "encoder": str(encoder), **more})
    assert message in error_of(main, capsys, words)
    assert not (tmp_path / "out" / RECORDS_FILE).exists()


def test_missing_packages_are_told(data, encoder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    words = config(tmp_path, data=str(data), encoder=str(encoder))
    assert 'pip install "ssl-faces[encoders]"' in error_of(main, capsys, words)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs/audit").glob("*.yaml")), ids=lambda p: p.stem
)
def test_configs_can_be_read(path):
    reader = parser("audit")
    ready = reader.instantiate(reader.parse_args(["-c", str(path), "--out", "x"]))
    names = [one.name for one in ready.compressions]
    assert len(set(names)) == len(names) > 5
