"""`linear-probe head`: trains, resumes, scores; bad input is reported in one sentence."""

import json
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linear_probe.cli import main
from linear_probe.heads.fit import _exclusive
from linear_probe.heads.goals import Categories
from linear_probe.heads.inception_fer import InceptionFER
from linear_probe.heads.module import HeadModule, HeadTraining
from linear_probe.heads.pictures import EpochBatches, decode
from linear_probe.records.record import RECORDS_FILE, read_records
from linear_probe.records.recorder import RunFolder
from linear_probe.reports.tables import task_figures
from ssl_faces import InputError, save_encoder
from ssl_faces.data import find_face_sets
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.rendered import RenderedFaces
from tests.support.fits import completed
from tests.support.heads import SMALL
from tests.support.pickles import Touch
from tests.support.refusals import error_of

ROOT = Path(__file__).parents[2]


def weights(out):
    (path,) = out.glob("heads/*/seed0/last.ckpt")
    return torch.load(path, weights_only=True)["state_dict"]


def test_it_is_scored_beside_the_probes_and_a_second_time_only_scored(tmp_path):
    probe = ["run", "--data", "rendered", "--task", "expression", "--bootstrap", "20"]
    encoder = save_encoder(BackboneEncoder("resnet18", 32, 0.0625), tmp_path / "e", {})
    out = str(tmp_path / "out")
    words = ["--no-baselines", "--features", "pooled", "--max-train", "300", "--out", out]
    assert main([*probe, *words, "--encoder", str(encoder)]) == 0
    assert main([*SMALL, "--out", out]) == 0
    kept = weights(tmp_path / "out")
    frozen = ["--encoder", str(encoder), "--head.init_args.space", "pooled", "--out", out]
    assert main([*SMALL, *frozen]) == 0
    records = read_records(tmp_path / "out" / RECORDS_FILE)
    rows = {(r.encoder, r.feature_space, r.probe) for r in records if r.metric == "accuracy"}
    assert rows == {
        (str(encoder), "pooled", "logistic regression"),
        ("inception_fer", "end to end", "inception_fer"),
        (str(encoder), "pooled", "inception_fer"),
    }
    # A head on an encoder has its name in tables of heads alone, too.
    heads = [r for r in records if r.supervised]
    (figures,) = task_figures(heads)
    assert [row.name for row in figures.rows][1] == f"{encoder} · pooled · inception_fer"
    # Of the same pictures and draws: rows of one table, that can be compared in pairs.
    assert len({r.sample for r in records}) == 1
    (one,) = [r for r in records if r.encoder == "inception_fer" and r.metric == "accuracy"]
    assert one.hyperparameters["epochs"] == 3
    assert 0 <= one.hyperparameters["validation"]["accuracy"] <= 100
    assert "trained on 300 pictures" in one.note
    assert main([*SMALL, "--out", out]) == 0
    again = read_records(tmp_path / "out" / RECORDS_FILE)
    assert [r.value for r in again if r.encoder == "inception_fer"] == [
        r.value for r in records if r.encoder == "inception_fer"
    ]
    (path,) = (tmp_path / "out").glob("heads/inception_fer_rendered/seed0/last.ckpt")
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(value, kept[name]) for name, value in state.items())


def test_where_a_checkpoint_goes_on_and_where_not(tmp_path, capsys):
    def folder(name, level):
        for i in range(40):
            for part in ("train", "test"):
                path = tmp_path / name / part / ("happy", "sad")[i % 2] / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = [level, i, part == "test"]
                pixels = np.random.default_rng(seed).integers(0, 255, (48, 48, 3), np.uint8)
                Image.fromarray(pixels).save(path)
        return str(tmp_path / name)

    def refused(*more):
        return error_of(main, capsys, [*words, *more])

    words = [*SMALL, "--task", "expression", "--out", str(tmp_path / "out")]
    words += ["--training.epochs", "1", "--training.batch_size", "8", "--data"]
    here = folder("here", 1)
    assert main([*words, here]) == 0
    assert main([*words, folder("elsewhere", 1)]) == 0
    assert "holds a run with another images; give another" in refused(folder("others", 2))
    (path,) = (tmp_path / "out").glob("heads/*/seed0/last.ckpt")
    noted = json.loads(path.with_name("settings.json").read_text())
    assert noted["training"]["epochs"] == 1
    shown = refused(here, "--training.epochs", "3")
    assert "holds a run with another training; give another --out" in shown
    whole, marker = torch.load(path, weights_only=True), tmp_path / "ran"
    of_code, of_others = {**whole, "more": Touch(marker)}, {"weights": torch.zeros(2)}
    for spoilt in (of_code, of_others, {**whole, "lr_schedulers": []}):
        torch.save(spoilt, path)
        shown = refused(here)
        assert not marker.exists(), "no pickle is ever run"
        assert f"{path}: can't be read (" in shown
        assert shown.endswith("delete it, and the head is trained anew")


def test_own_labels_from_tables(tmp_path, capsys):
    faces = RenderedFaces(80, 16, "all", size=32)
    tables = {}
    for side, rows in (("train", range(60)), ("test", range(60, 80))):
        lines = ["image,class"]
        for i in rows:
            Image.fromarray(faces.read(i)).save(tmp_path / f"{i}.png")
            lines.append(f"{i}.png,{('calm', 'loud')[i % 2]}")
        tables[side] = tmp_path / f"{side}.csv"
        tables[side].write_text("\n".join(lines))
    words = [*SMALL[:3], *SMALL[5:], "--task", "classes", "--out", str(tmp_path / "out")]
    words += ["--training.epochs", "1", "--training.batch_size", "8"]
    words += ["--train-csv", str(tables["train"])]
    assert error_of(main, capsys, words).endswith("--train-csv goes with --test-csv; name both")
    words += ["--test-csv", str(tables["test"])]
    assert "leave one out" in error_of(main, capsys, [*words, "--data", "rendered"])
    assert main(words) == 0
    records = read_records(tmp_path / "out" / RECORDS_FILE)
    assert {(r.task, r.data_set, r.n) for r in records if r.metric == "accuracy"} == {
        ("classes", str(tables["test"]), 20)
    }


def test_two_processes_train_what_one_does(tmp_path):
    """But for batch statistics, which are of each process's part: on a frozen encoder there are
    none that learn."""
    encoder = save_encoder(BackboneEncoder("resnet18", 32, 0.0625), tmp_path / "e", {})
    words = [*SMALL, "--encoder", str(encoder), "--training.epochs", "1", "--out"]
    assert main([*words, str(tmp_path / "1")]) == 0
    words += [str(tmp_path / "2"), "--devices", "2"]  # the first process starts the other one
    done = completed(tmp_path / "printed", *words, command=main)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (read_records(tmp_path / devices / RECORDS_FILE) for devices in ("1", "2"))
    assert [(r.metric, r.n) for r in one] == [(r.metric, r.n) for r in two]
    steps = [
        torch.load(path, weights_only=True)["global_step"]
        for path in tmp_path.glob("[12]/heads/*/seed0/last.ckpt")
    ]
    assert steps[0] == steps[1] > 0


def test_across_databases(tmp_path):
    """Learnt on folders of two expressions, scored on all rendered faces that have them."""
    faces = RenderedFaces(120, 40, "all", nuisances="none", size=32)
    for number in range(120):
        kind = faces.class_names["expression"][faces.records[number].labels["expression"]]
        if kind in ("happy", "sad"):
            path = tmp_path / "data" / ("train", "test")[number % 2] / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(faces.render_batch([number])[0].permute(1, 2, 0).numpy()).save(path)
    words = [*SMALL, "--data", str(tmp_path / "data"), "--test_data", "rendered"]
    words += ["--training.batch_size", "4", "--max_train", "100000", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    (one,) = [r for r in read_records(tmp_path / "out" / RECORDS_FILE) if r.metric == "accuracy"]
    assert one.data_set.endswith("-> rendered faces")
    whole = RenderedFaces(1400, 140, "all").records
    wanted = {faces.class_names["expression"].index(kind) for kind in ("happy", "sad")}
    assert one.n == sum(r.labels["expression"] in wanted for r in whole)


def test_batches_follow_from_seed_and_epoch_and_are_shared_out():
    def epoch(number, rank=0, world=1):
        order = EpochBatches(23, 4, 7, rank, world)
        order.set_epoch(number)
        return list(order)

    assert epoch(0) == epoch(0) != epoch(1)
    rows = [row for batch in epoch(1) for row in batch]
    assert len(rows) == len(set(rows)) == 20
    halves = [epoch(1, rank, 2) for rank in (0, 1)]
    for whole, first, second in zip(epoch(1), *halves, strict=True):
        assert set(first) | set(second) == set(whole)
        assert len(first) == len(second) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--task", "pose"],
            "task: 'pose'; heads learn expression, identity, attributes, affect, classes",
        ),
        (["--training.batch_size", "5000"], "training.batch_size: 5000; give a multiple"),
        (["--head.init_args.widht", "1"], "configuration: "),
        (["--encoder", "nowhere"], "encoder nowhere: no card.json there"),
        (["--data", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input(more, message, tmp_path, capsys):
    words = [*SMALL, *more, "--out", str(tmp_path / "out")]
    assert message in error_of(main, capsys, words)
    assert not (tmp_path / "out" / RECORDS_FILE).exists()


@pytest.fixture
def _few_rendered(monkeypatch):
    monkeypatch.setattr("linear_probe.tasks.face_sets.RENDERED_COUNT", 240)
    monkeypatch.setattr("linear_probe.tasks.face_sets.RENDERED_PEOPLE", 60)


@pytest.mark.usefixtures("_few_rendered")
def test_a_run_that_failed_before_it_learnt_anything_binds_no_settings(tmp_path, capsys):
    words = [*SMALL, "--training.epochs", "1", "--out", str(tmp_path)]
    for wrong, message in (
        (["--training.batch_size", "999"], "training.batch_size: 999; give a multiple"),
        (
            ["--training.peak_learning_rate", "1e30"],
            "inception_fer is not finite; no checkpoint had been saved, so set a lower",
        ),
    ):
        assert message in error_of(main, capsys, [*words, *wrong])
        assert RunFolder(tmp_path).records() == []
    assert main(words) == 0
    assert read_records(tmp_path / RECORDS_FILE)


@pytest.mark.usefixtures("_few_rendered")
def test_a_loss_that_is_not_finite_after_some_epochs(tmp_path, capsys, monkeypatch):
    losses, steps = InceptionFER.losses, 0

    def bad_at_last(*arguments):
        nonlocal steps
        steps += 1
        return {n: x * (torch.nan if steps > 3 else 1) for n, x in losses(*arguments).items()}

    monkeypatch.setattr(InceptionFER, "losses", bad_at_last)
    shown = error_of(main, capsys, [*SMALL, "--out", str(tmp_path)])
    (kept,) = tmp_path.glob("heads/*/seed0/last.ckpt")
    assert f"the last good checkpoint, {kept}, is kept: set a lower training.peak_lear" in shown
    assert read_records(tmp_path / RECORDS_FILE) == []
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


def test_two_that_train_in_one_folder_take_turns(tmp_path, caplog):
    trained = threading.Event()

    def train():
        with _exclusive(tmp_path):
            trained.set()

    second = threading.Thread(target=train)
    with _exclusive(tmp_path):
        second.start()
        end = time.monotonic() + 30
        while "another process trains this head; waiting for it" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert not trained.is_set()
    second.join(30)
    assert trained.is_set()


@pytest.mark.usefixtures("_few_rendered")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_learns(number, tmp_path, capsys, monkeypatch):
    losses = InceptionFER.losses

    def stopping(*arguments):
        signal.raise_signal(number)
        return losses(*arguments)

    monkeypatch.setattr(InceptionFER, "losses", stopping)
    inherited = signal.signal(number, signal.default_int_handler)  # tests may run under `nohup`
    try:
        assert main([*SMALL, "--out", str(tmp_path)]) == 128 + number
    finally:
        signal.signal(number, inherited)
    lines = [line for line in capsys.readouterr().err.splitlines() if "linear-probe" in line]
    assert lines == [f"linear-probe: stopped by {number.name}"]
    assert read_records(tmp_path / RECORDS_FILE) == []


def test_weights_decay_and_vectors_do_not():
    module = HeadModule(
        InceptionFER(Categories(3), width=0.0625, hidden=(4, 4)), HeadTraining(weight_decay=0.3), 0
    )

    class Trainer:
        estimated_stepping_batches = 10

    module._trainer = Trainer()
    groups = module.configure_optimizers()["optimizer"].param_groups
    assert [g["weight_decay"] for g in groups] == [0.3, 0.0]
    assert {p.ndim for p in groups[1]["params"]} == {1}
    assert min(p.ndim for p in groups[0]["params"]) == 2


def test_pictures_that_cannot_be_read_are_left_out_and_listed(tmp_path):
    for number in range(3):
        picture = Image.new("RGB", (20, 20), (80 * number, 0, 0))
        picture.save(tmp_path / f"{number}.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    (faces,) = find_face_sets(tmp_path, "all")
    found = decode(faces, np.arange(len(faces)), 16)
    assert [faces.records[i].key for i in found.records] == ["0.png", "2.png"]
    assert found.images[:, 0, 8, 8].tolist() == [0, 160]
    assert [one.key for one in found.skipped] == ["1.png"]
    with pytest.raises(InputError, match="no picture can be decoded"):
        decode(faces, np.array([1]), 16)
