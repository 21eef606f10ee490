"""A suite from its file: its cells, those that are not done again, and the report."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

from linear_probe.cli import main
from linear_probe.plans import suite as suites
from linear_probe.plans import suite_data
from linear_probe.plans.suite import cells, read
from linear_probe.plans.suite_data import data_hashes, places
from linear_probe.records.record import read_records, write_records
from ssl_faces import InputError
from ssl_faces.encoders.encoder import save_encoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.plan import engine
from tests.support.in_process import InProcess
from tests.support.records import ONE

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def usual_data(tmp_path, monkeypatch):
    """A small folder instead of that of real faces."""
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "one.png").write_bytes(b"one")
    monkeypatch.setenv("SSL_FACES_DATA", str(folder))
    monkeypatch.setattr(engine, "_TICK", 0.0)
    return folder


def save(folder, seed):
    torch.manual_seed(seed)
    encoder = FaceCycleEncoder(4, code_dim=8, code_size=32)
    return str(save_encoder(encoder, folder, {"method": "none"}))


@pytest.fixture
def encoders(tmp_path):
    """Two tiny saved encoders, by their folders."""
    return [save(tmp_path / f"tiny{seed}", seed) for seed in (0, 1)]


@pytest.fixture
def write(tmp_path, encoders):
    def write(**changed):
        content = {
            "encoders": encoders,
            "tasks": ["expression", "pose", "identity"],
            "probes": {"linear": {"arguments": {"bootstrap": 20}}},
            **changed,
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture
def scored(monkeypatch):
    """Cells get a record of their encoder and task at once."""

    def score(words):
        given = dict(zip(words[1::2], words[2::2], strict=True))
        task, encoder = given["--task"], given["--encoder"]
        record = dataclasses.replace(ONE, task=task, encoder=encoder, metric="accuracy")
        write_records(Path(given["--out"]) / "records.jsonl", [record])

    executor = InProcess(run=score)
    monkeypatch.setattr(engine, "executor", executor)
    return executor


def suite(path, out, *more):
    return main(["suite", "-c", str(path), "--out", str(out), *more])


def test_each_cell_once_and_a_report(write, scored, tmp_path, encoders, usual_data):
    out, path = tmp_path / "out", write()

    def cells_run(path):
        scored.calls.clear()
        suite_data._hash.cache_clear()
        assert suite(path, out, "--jobs", "2") == 0
        return [Path(words[2]).name for words in scored.calls]

    assert cells_run(path) == ["tiny0", "tiny1"] * 3
    report = (out / "report.md").read_text()
    assert [report.count(f"| {Path(encoder).name} |") for encoder in encoders] == [3, 3]
    assert (out / "report.html").is_file()
    # Only what is new is run.
    assert cells_run(path) == []
    assert len(cells_run(write(tasks=["expression", "attributes"]))) == 2
    # Other weights of the same name are another input; so are other data.
    save(tmp_path / "tiny1", 7)
    assert cells_run(path) == ["tiny1"] * 2
    (usual_data / "two.png").write_bytes(b"two")
    assert len(cells_run(path)) == 4
    (usual_data / "two.png").rename(usual_data / "three.png")
    assert len(cells_run(path)) == 4
    # A suite may be moved.
    shutil.move(out, tmp_path / "moved")
    out = tmp_path / "moved"
    assert cells_run(path) == []


def test_baselines_are_scored_once(write, tmp_path):
    def kinds(**changed):
        steps = cells(read(write(**changed)), tmp_path / "out")
        return [step.argv[list(step.argv).index("--baselines") + 1] for step in steps]

    assert kinds() == ["all", "untrained"] * 3
    assert set(kinds(baselines=False)) == {"none"}


def test_a_cell_that_fails_is_run_again(write, scored, tmp_path, capsys):
    out, path = tmp_path / "out", write()
    score = scored.instead["run"]

    def fail(words):
        if "identity" in words:
            raise InputError("no pairs; give some")
        score(words)

    scored.instead["run"] = fail
    assert suite(path, out) == 1
    assert capsys.readouterr().out.rstrip().endswith("tiny1: no pairs; give some")
    assert "| " in (out / "report.md").read_text()
    scored.instead["run"] = score
    assert suite(path, out) == 0
    assert len(scored.calls) == 6 + 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": ["pose"]}, "task: unknown key"),
        ({"tasks": ["poses"]}, "unknown task 'poses'"),
        ({"encoders": ["runs/none"]}, "encoder runs/none: no card.json there"),
        ({"probes": {}}, "neither probes nor heads"),
        ({"probes": {"a": {"arguments": {"bootstraps": 3}}}}, "--bootstraps"),
        ({"probes": {"a": {"arguments": {"out": "x"}}}}, "'out' follows from the suite"),
        ({"heads": {"a": {"configs": ["none.yaml"]}}}, "none.yaml: no such file"),
        ({"tasks": []}, "probes.linear: no tasks"),
    ],
)
def test_invalid_files(changed, message, write, scored, tmp_path, capsys):
    assert suite(write(**changed), tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert scored.calls == []


def test_the_standard_suite(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    path = Path("configs/suite/standard.yaml")
    steps = list(cells(read(path), tmp_path))
    suites.check(path, steps)
    assert len(steps) == 2 * 4 + 2 * 3 + 3
    assert len({step.out for step in steps}) == len(steps)


def test_a_second_suite_gives_the_same_records(write, tmp_path, encoders, monkeypatch):
    """The real commands; features are computed once for all cells."""
    monkeypatch.setattr(engine, "executor", InProcess())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    arguments = {"bootstrap": 20, "data": "rendered:60", "device": "cpu"}
    path = write(tasks=["pose"], probes={"linear": {"arguments": arguments}})

    def records(out):
        assert suite(path, out) == 0
        paths = sorted((out / "cells").glob("*/records.jsonl"))
        rows = [json.loads(r.to_json()) for path in paths for r in read_records(path)]
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    first = records(tmp_path / "one")
    assert {r["encoder"] for r in first} >= {*encoders, "pixels", f"{encoders[1]}, untrained"}
    assert first == records(tmp_path / "two")
    # Features of each source exist once, for all cells.
    files = [*(tmp_path / "one/features").glob("*.safetensors")]
    sources = {json.loads(safe_open(file, "pt").metadata()["about"])["source"] for file in files}
    assert len(sources) >= 4


def test_a_link_in_a_circle(tmp_path):
    faces = tmp_path / "images"
    (faces / "deep").mkdir(parents=True)
    (faces / "deep/one.png").write_bytes(b"one")
    (faces / "deep/up").symlink_to(faces)
    words = ["run", "--encoder", "hybrid", "--task", "pose", "--data", str(faces), "--out", "out"]
    assert list(data_hashes(words)) == [f"data {faces}"]


@pytest.mark.parametrize(
    ("words", "folders"),
    [
        ("run", ["USUAL"]),
        ("run --data rendered:20", []),
        ("run --data tests --test-data configs", ["tests", "configs"]),
        ("run --train tests --test configs", ["tests", "configs"]),
        ("run --train-csv tests/suite/a.csv --test-csv configs/b.csv", ["tests/suite", "configs"]),
        ("run --pairs README.md --images tests", ["README.md", "tests"]),
        ("head", ["USUAL"]),
        ("head --data=tests --test_data=configs", ["tests", "configs"]),
        ("head --data=rendered:30 --before=[{task:\xa0expression,data:\xa0configs}]", ["configs"]),
    ],
)
def test_where_cells_have_their_data_from(words, folders, usual_data, monkeypatch):
    monkeypatch.chdir(ROOT)
    verb, *more = (word.replace("\xa0", " ") for word in words.split(" "))
    of_verb = {
        "run": ["--encoder", "hybrid", "--task", "pose"],
        "head": ["-c", "configs/head/inception_fer.yaml"],
    }
    expected = [usual_data if name == "USUAL" else Path(name) for name in folders]
    assert places([verb, *of_verb[verb], *more, "--out", "out"]) == expected
    # Without real faces cells are scored on rendered ones.
    monkeypatch.setenv("SSL_FACES_DATA", str(usual_data / "none"))
    assert usual_data not in places([verb, *of_verb[verb], *more, "--out", "out"])
