"""`ssl-faces render`: sets on disk that are whole, resumable and true, and sheets."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from linear_probe.tasks.own_table import table_faces
from ssl_faces.data.faces import EXPRESSIONS, in_test_share
from ssl_faces.data.sets.youtube_keypoints import COLUMNS as YOUTUBE_COLUMNS
from ssl_faces.rendered import GROUPS, RenderedFaces, writing
from tests.support.commands import run

COUNT, PEOPLE, SIZE = 90, 30, 24
SETTINGS = ["--count", str(COUNT), "--people", str(PEOPLE), "--size", str(SIZE), "--seed", "2"]


def render(out, *more):
    return run("render", "--out", out, *SETTINGS, *more)


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("rendered") / "set"
    assert render(out, "--nuisances", "all", "--counterparts", "neutral,frontal") == 0
    return out


def expected():
    return RenderedFaces(COUNT, PEOPLE, "all", SIZE, 2, "all", ("neutral", "frontal"))


def test_pictures_and_counterparts_are_those_of_the_set(written):
    faces = expected()
    with (written / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == COUNT
    pictures = faces.render_batch(range(COUNT))
    others = faces.counterparts(range(COUNT), ["neutral", "frontal"])
    for i, row in enumerate(rows):
        for column, wanted in (("image", pictures), *others.items()):
            found = np.asarray(Image.open(written / row[column]))
            assert np.array_equal(found, wanted[i].permute(1, 2, 0).numpy())
        sample = faces[i]
        assert row["person"] == faces.records[i].person
        assert row["expression"] == EXPRESSIONS[sample["expression"]]
        assert float(row["intensity"]) == pytest.approx(sample["intensity"], abs=1e-4)
        assert row["skin_tone"] == GROUPS["skin_tone"][sample["skin_tone"]]
        marks = [[float(row[f"landmark{k}_{axis}"]) for axis in "xy"] for k in range(68)]
        assert torch.allclose(torch.tensor(marks), sample["landmarks"], atol=1e-3)
        assert [c == "1" for c in row["visible"]] == sample["visible"].tolist()
        assert torch.equal(sample["counterparts"]["neutral"], others["neutral"][i])
    # The layout differs from that of the YouTube keypoints.
    assert not {"x0", "reprojection_px"} & set(rows[0])
    assert {"x0", "reprojection_px"} <= set(YOUTUBE_COLUMNS)


def test_the_tables_serve_the_probes_and_share_no_person(written):
    train, test = table_faces(written / "train.csv", written / "test.csv")
    assert len(train) + len(test) == COUNT
    assert not set(train.people) & set(test.people)
    assert all(in_test_share(person) for person in test.people)
    record = {r.key: r for r in expected().records}
    for faces in (train, test):
        for found in faces.records:
            truth = record[found.key.removeprefix("images/").removesuffix(".png")]
            assert found.person == truth.person
            assert found.labels["expression"] == truth.labels["expression"]
            assert torch.allclose(found.labels["pose"], truth.labels["pose"], atol=1e-3)
            assert found.labels["valence"] == pytest.approx(truth.labels["valence"], abs=1e-4)
            gender = faces.class_names["gender"][found.labels["gender"]]
            assert gender == GROUPS["gender"][truth.labels["gender"]]


def test_an_interrupted_run_leaves_no_table_and_resumes(written, tmp_path, monkeypatch, capsys):
    out, more = tmp_path / "set", ("--nuisances", "all", "--counterparts", "neutral,frontal")
    write, left = writing.replace_file, 50

    def stop_after_some(path, data, durable=True):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        write(path, data, durable)

    monkeypatch.setattr(writing, "replace_file", stop_after_some)
    assert render(out, *more) == 130
    monkeypatch.undo()
    half = contents(out)
    assert not any(name.endswith(".csv") or "/." in name for name in half)
    whole = contents(written)
    assert len(half) == 50
    assert half.items() < whole.items()
    capsys.readouterr()
    assert render(out, *more) == 0
    assert contents(out) == whole
    assert f"{3 * COUNT - 49:,} pictures written now" in capsys.readouterr().out
    assert render(out, *more) == 0
    assert " 0 pictures written now" in capsys.readouterr().out


def test_a_sheet_shows_the_faces_in_rows(tmp_path):
    file = tmp_path / "sheet.png"
    assert run("render", "--sheet", file, "--count", 10, "--size", 20) == 0
    sheet = np.asarray(Image.open(file))
    assert sheet.shape == (40, 160, 3)
    faces = RenderedFaces(10, 10, "all", 20)
    assert np.array_equal(sheet[20:, 20:40], faces.read(9))
    assert not sheet[20:, 40:].any()
