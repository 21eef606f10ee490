"""`ssl-faces expressions`: each face of each frame, smoothed by track, as table, plot and film."""

import csv
import shutil

import numpy as np
import pyarrow.parquet
import pytest
import torch

from ssl_faces import embed, load_encoder
from ssl_faces.apps.face_finder import FaceFinder
from ssl_faces.apps.faces import Face, FaceReader
from ssl_faces.apps.predictions import Output, Targets, annotated, smoothed, write_predictions
from ssl_faces.encoders.saved_probe import load_probe, probe_file
from tests.support.apps import add_probe
from tests.support.commands import refusal, run
from tests.support.images import bad_folder, photo, rendered, write_all, write_video

CLASSES = ("angry", "happy", "sad")


@pytest.fixture
def probed(encoder_folder, tmp_path):
    return add_probe(shutil.copytree(encoder_folder, tmp_path / "encoder"), CLASSES)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def shares_in(rows):
    return np.array([[float(row[f"expression_{name}"]) for name in CLASSES] for row in rows])


def test_images_have_the_probes_probabilities(probed, tmp_path, capsys):
    reasons = bad_folder(tmp_path / "in")
    paths = write_all(tmp_path / "in/faces", rendered(5))
    out = tmp_path / "out.csv"
    assert run("expressions", tmp_path / "in", "--probe", probed, "--out", out) == 0
    printed = capsys.readouterr().out
    assert f"{out}: 7 faces of 16 files" in printed
    assert "right for 48.1 % [46.5, 49.8] of 3,589 test faces of a test" in printed
    rows = rows_of(out)
    probe = load_probe(probed)
    expected = probe(embed(load_encoder(probed), list(paths))["expression"])
    faces = [row for row in rows if "/faces/" in row["key"]]
    torch.testing.assert_close(torch.tensor(shares_in(faces)), expected.double(), atol=1e-5, rtol=0)
    for row, shares in zip(faces, expected, strict=True):
        assert row["expression"] == CLASSES[int(shares.argmax())]
        assert float(row["expression_probability"]) == pytest.approx(float(shares.max()), abs=1e-5)
        assert row["track"] == row["time"] == row["left"] == ""
    skipped = rows_of(tmp_path / "out.csv.skipped.csv")
    assert len(skipped) == len(reasons)
    table = tmp_path / "out.parquet"
    assert run("expressions", tmp_path / "in", "--probe", probed, "--out", table) == 0
    (column,) = pyarrow.parquet.read_table(table, columns=["expression_sad"]).columns
    assert column.to_pylist() == [float(row["expression_sad"]) for row in rows]


def a_film(path):
    """12 frames, 10 a second: one face, and another in the first half; none in frame 8."""
    frames = []
    for i in range(12):
        places = [(26, 40, 80), *([(200, 60, 60)] if i < 6 else [])]
        frames.append(photo(*places) if i != 8 else photo())
        frames[-1][70:90, 60:80] = 60 + 12 * i
    return write_video(path, frames, 10, "ffv1")


def test_a_film_has_tracks_a_plot_and_labels(probed, stub, tmp_path, capsys):
    film, out = a_film(tmp_path / "film.mkv"), tmp_path / "out.csv"
    words = ["expressions", film, "--probe", probed, "--out", out, "--overwrite"]
    more = ["--plot", tmp_path / "plot.html", "--film", tmp_path / "labels.mp4"]
    assert run(*words, *more) == 0
    assert "1 of 12 frames have no usable face" in capsys.readouterr().out
    rows = rows_of(out)
    assert len(rows) == 11 + 6
    assert rows[0]["key"] == "film.mkv#frame0"
    by_track = {}
    for row in rows:
        by_track.setdefault(row["track"], []).append(int(row["frame"]))
        assert float(row["time"]) == pytest.approx(int(row["frame"]) / 10, abs=1e-3)
    assert by_track == {"0": [*range(8), 9, 10, 11], "1": [*range(6)]}
    page = (tmp_path / "plot.html").read_text(encoding="utf-8")
    assert "film.mkv, track 1" in page
    assert "cdn" not in page.partition("Plotly.newPlot")[2]
    from tests.support.images import frames_of

    shown, times = frames_of(tmp_path / "labels.mp4")
    assert shown.shape == (12, 240, 320, 3)
    assert times == pytest.approx([i / 10 for i in range(12)], abs=1e-3)
    # A yellow box around the face where it is, and none in the frame without a face.
    frame = shown.astype(int)
    yellow = (frame[..., 0] > 180) & (frame[..., 1] > 140) & (frame[..., 2] < 110)
    assert yellow[3, 40:120, 26].mean() > 0.8
    assert yellow[8, 40:120, 26].mean() < 0.1

    assert run(*words, "--smooth", "0.4") == 0
    raw, smooth = shares_in(rows), shares_in(rows_of(out))
    for i, row in enumerate(rows):
        near = [
            j
            for j, other in enumerate(rows)
            if other["track"] == row["track"]
            and abs(float(other["time"]) - float(row["time"])) < 0.201
        ]
        assert smooth[i] == pytest.approx(raw[near].mean(0), abs=2e-5)
    assert not np.allclose(raw, smooth, atol=1e-4)


def test_smoothing_waits_for_no_more_than_its_window():
    read = 0

    def rows():
        nonlocal read
        for i in range(1000):
            read += 1
            face = Face(f"{i}", "film", np.zeros(0), None, 1.0, i / 10, i, 0)
            yield face, np.array([float(i)])

    for count, (face, values) in enumerate(smoothed(rows(), 2.0), start=1):
        assert read <= count + 12
        low, high = max(0, face.frame - 10), min(999, face.frame + 10)
        assert values[0] == pytest.approx((low + high) / 2)
    assert count == 1000


def test_numbers_beside_classes(stub, tmp_path):
    film = write_video(tmp_path / "film.mkv", [photo((26, 40, 80))] * 3, 10, "ffv1")
    reader = FaceReader([film], FaceFinder(16), fps=1000, tracked=True, quiet=True)
    outputs = [Output("age"), Output("race", ("a", "b"))]
    targets = Targets(tmp_path / "o.csv", tmp_path / "o.html", tmp_path / "o.mp4")
    lines = write_predictions(
        reader, lambda crops: np.tile([31.4, 0.2, 0.8], (len(crops), 1)), outputs, targets
    )
    assert "race: b 100%" in lines
    assert "age:" not in lines
    for row in rows_of(targets.table):
        assert [row[name] for name in ("age", "race", "race_probability", "race_a")] == [
            *("31.4", "b", "0.8", "0.2")
        ]
    assert '"age"' in (tmp_path / "o.html").read_text(encoding="utf-8")


def test_own_classes_and_labels_at_the_edge(encoder_folder, tmp_path, capsys):
    own = shutil.copytree(encoder_folder, tmp_path / "own")
    add_probe(own, ("=1+1", "über"), "classes")
    paths = write_all(tmp_path / "in", rendered(2))
    out = tmp_path / "out.csv"
    assert run("expressions", *paths, "--probe", own, "--out", out) == 0
    assert {"class", "class_probability", "class_über"} <= set(rows_of(out)[0])
    add_probe(own, ("a", "b"), "glasses")
    words = ("expressions", *paths, "--probe", own, "--out", tmp_path / "x.csv")
    assert "probes of classes, glasses but none of expression" in refusal(capsys, *words)
    (own / probe_file("glasses")).unlink()
    whole = annotated(
        np.zeros((48, 64, 3), np.uint8), [(None, "happy 93%"), ((50, -9, 70, 9), "x")]
    )
    assert whole.shape == (48, 64, 3)
    assert whole.any()
