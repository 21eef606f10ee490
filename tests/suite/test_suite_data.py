"""Cells whose pictures or labels have changed are scored again, and no others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from linear_probe.plans.suite import data
from linear_probe.plans.suite.data import DataPrints, places
from linear_probe.plans.suite.settings import Cell
from ssl_faces import InputError
from tests.suite.test_suite import ROOT, Write, calls, encoders, stand_in, suite, usual_data, write

__all__ = ["encoders", "stand_in", "usual_data", "write"]  # fixtures


def cell(*words: str) -> Cell:
    return Cell("a cell", Path("out"), [*words, "--out", "out"], {}, False)


def test_a_cell_whose_data_have_changed_is_done_again(
    write: Write, stand_in: Path, tmp_path: Path, usual_data: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "labels.csv").write_text("a,1")
    arguments = {"bootstrap": 20, "data": str(other)}
    path = write(
        tasks=["expression"],
        probes={"usual": {}, "other": {"arguments": arguments}},
    )
    out = tmp_path / "out"
    assert suite(path, out) == 0
    assert suite(path, out) == 0
    assert len(calls(stand_in)) == 4
    # A label, in a file of the same size.
    (other / "labels.csv").write_text("a,2")
    assert suite(path, out) == 0
    assert sorted(name.partition("-")[0] for name in calls(stand_in)[:6]) == ["other"] * 4 + [
        *("usual", "usual")
    ]
    (usual_data / "two.png").write_bytes(b"two")
    assert suite(path, out) == 0
    assert len(calls(stand_in)) == 8
    # Another name, or the same files elsewhere, with other times: what is in them counts.
    shutil.copytree(usual_data, tmp_path / "copy")
    shutil.rmtree(usual_data)
    shutil.copytree(tmp_path / "copy", usual_data)
    assert suite(path, out) == 0
    assert len(calls(stand_in)) == 8
    (usual_data / "two.png").rename(usual_data / "three.png")
    assert suite(path, out) == 0
    assert len(calls(stand_in)) == 10


def test_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = tmp_path / "pictures"
    (faces / "deep").mkdir(parents=True)
    (faces / "deep/one.png").write_bytes(b"one")
    (faces / "deep/up").symlink_to(faces)  # in a circle
    read: list[list[str]] = []
    real = data._content
    monkeypatch.setattr(
        data, "_content", lambda place, files: read.append(files) or real(place, files)
    )
    asked = cell("run", "--encoder", "hybrid", "--task", "pose", "--data", str(faces))
    first = DataPrints(tmp_path).of(asked)
    assert list(first) == [f"data {faces}"]
    assert DataPrints(tmp_path).of(asked) == first
    assert read == [["deep/one.png"]]
    # A spoilt memory is none.
    for text in ("[1]", '{"a": 3}', "no JSON"):
        (tmp_path / data.MEMORY).write_text(text)
        assert DataPrints(tmp_path).of(asked) == first
    assert len(read) == 4
    if os.geteuid():  # root may read all
        (faces / "deep/one.png").chmod(0)
        (tmp_path / data.MEMORY).unlink()
        with pytest.raises(InputError, match=r"can't be read \(.*one.png\)"):
            DataPrints(tmp_path).of(asked)


def test_where_cells_have_their_data_from(
    tmp_path: Path, usual_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    run = ("run", "--encoder", "hybrid", "--task", "pose")
    assert places(cell(*run)) == [usual_data]
    assert places(cell(*run, "--data", "rendered:20")) == []
    assert places(cell(*run, "--data", "tests", "--test-data", "configs")) == [
        Path("tests"),
        Path("configs"),
    ]
    assert places(cell(*run, "--train", "tests", "--test", "configs")) == [
        Path("tests"),
        Path("configs"),
    ]
    tables = ("--train-csv", "tests/suite/a.csv", "--test-csv", "configs/b.csv")
    assert places(cell(*run, *tables)) == [Path("tests/suite"), Path("configs")]
    pairs = ("--pairs", "README.md", "--images", "tests")
    assert places(cell(*run, *pairs)) == [Path("README.md"), Path("tests")]
    head = ("head", "-c", "configs/head/inception_fer.yaml")
    assert places(cell(*head)) == [usual_data]
    assert places(cell(*head, "--data=tests", "--test_data=configs")) == [
        Path("tests"),
        Path("configs"),
    ]
    before = "[{task: expression, data: configs}]"
    assert places(cell(*head, "--data=rendered:30", f"--before={before}")) == [Path("configs")]
    # Without real faces cells are scored on rendered ones.
    monkeypatch.setenv("SSL_FACES_DATA", str(tmp_path / "none"))
    assert places(cell(*run)) == []
