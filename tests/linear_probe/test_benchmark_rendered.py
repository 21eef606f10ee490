"""The bench of how hard rendered faces are, and the sheet to read by eye."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linear_probe.bench.rendered import breakdown, main
from linear_probe.experiments.face_sheet import CLEAR
from ssl_faces import InputError
from ssl_faces.data import EXPRESSIONS
from ssl_faces.rendered import RenderedFaces


def test_the_command_prints_probes_and_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--count", "280", "--people", "70", "--size", "32", "--epochs", "1", "--warm-up", "64")
    main([*few, "--out", str(tmp_path)])
    text = capsys.readouterr().out
    told = "ResNet-18 from scratch, 64 mild ones, then 1 epochs of"
    for row in ("pixels", "HOG", "LBP", told, "occluder mask", "surprise"):
        assert row in text
    assert "expression: rendered faces" in text
    assert "never saw; seed 0" in text


def test_the_breakdown_counts_each_part_by_itself() -> None:
    faces = RenderedFaces(600, 60, "test", 64, 0, "all")
    number = np.arange(len(faces))
    expression, drawn = faces.records.cast(number)[2], faces.records.drawn(number)
    yaw = drawn.factors["yaw"].abs().numpy()
    hits = (yaw < 30).astype(float)
    rows = {row[0]: row[1:] for row in breakdown(faces, expression, hits).body}
    assert rows["yaw below 30°"][:2] == [str((yaw < 30).sum()), "100.0"]
    assert rows["yaw from 60°"][:2] == [str((yaw >= 60).sum()), "0.0"]
    assert rows["all"][1] == f"{100 * hits.mean():.1f}"
    happy = EXPRESSIONS.index("happy")
    assert rows["all"][2 + happy] == f"{100 * hits[expression == happy].mean():.1f}"
    kinds = [int(row[0]) for name, row in rows.items() if name.startswith("occluder")]
    assert sum(kinds) == len(faces)


def test_a_sheet_shows_the_faces_of_its_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    main(["--sheet", str(sheet), "--size", "32", "--seed", "4"])
    with (tmp_path / "sheet.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == list(range(1, 43))
    named = [row["expression"] for row in rows]
    assert sorted(named) == sorted(list(EXPRESSIONS) * 6)
    assert named != sorted(named)

    # Each cell is a clear test face of the expression told, each of another person.
    shown = np.asarray(Image.open(sheet))
    faces = RenderedFaces(1680, 1680, "test", 32, 4, "all")
    number = np.arange(len(faces))
    expression, intensity = faces.records.cast(number)[2], faces.records.drawn(number).intensity
    pictures = faces.render_batch(number).permute(0, 2, 3, 1).numpy()
    found = []
    for i, name in enumerate(named):
        left, bottom = i % 7 * 32, (i // 7 + 1) * (32 + 18)
        cell = shown[bottom - 32 : bottom, left : left + 32]
        found.append(int((pictures == cell).all((1, 2, 3)).nonzero()[0][0]))
        assert EXPRESSIONS[expression[found[-1]]] == name
        assert name == "neutral" or intensity[found[-1]] >= CLEAR
    assert len(set(found)) == 42

    reading = tmp_path / "reading.csv"
    wrong = ["happy" if name == "sad" else name for name in named]
    lines = [f"{i + 1},{name}" for i, name in enumerate(wrong)]
    reading.write_text("\n".join(["number,expression", *lines]))
    capsys.readouterr()
    main(["--sheet", str(sheet), "--read", str(reading)])
    text = capsys.readouterr().out
    assert "36 of 42 named as labelled (85.7 %)" in text
    assert text.count("happy, is sad") == 6


def test_what_can_not_be_compared_is_refused_in_a_sentence(tmp_path: Path) -> None:
    sheet, reading = tmp_path / "s.png", tmp_path / "r.csv"
    (tmp_path / "s.csv").write_text("number,expression\n1,happy\n2,sad\n")
    for text, message in (
        ("number,expression\n1,happy\n", "no row for face 2"),
        ("number,expression\n1,glad\n2,sad\n", "no expression 'glad'"),
        ("face,expression\n1,happy\n", "column number is missing"),
    ):
        reading.write_text(text)
        with pytest.raises(InputError, match=message):
            main(["--sheet", str(sheet), "--read", str(reading)])
    with pytest.raises(InputError, match="can't be read"):
        main(["--sheet", str(sheet), "--read", str(tmp_path / "none.csv")])
    with pytest.raises(InputError, match="with --sheet"):
        main(["--read", str(reading)])
    with pytest.raises(InputError, match=r"ends in \.png"):
        main(["--sheet", str(tmp_path / "t.gif")])
