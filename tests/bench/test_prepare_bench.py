"""`ssl-faces bench prepare` on a few real faces, with the real detector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssl_faces.bench import prepare
from ssl_faces.cli import main


def test_faces_are_found_aligned_and_told_apart(
    real_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepare, "_FRAMES", 3)
    monkeypatch.setattr(prepare, "_SHOTS", 1)
    out = tmp_path / "prepare.json"
    assert (
        main(["bench", "prepare", "--faces", "6", "--data", str(real_data), "--out", str(out)]) == 0
    )
    assert "| one of YouTube's frames | 6 | 100 |" in capsys.readouterr().out
    rows = {row["what"]: row for row in json.loads(out.read_text())["rows"]}
    for what in ("one of YouTube's frames", "groups of YouTube's frames"):
        assert rows[what]["found %"] == 100
        assert 0.01 < rows[what]["eyes, mean"] < 0.1
    assert rows["groups of LFW's crops"]["found %"] == 100
    assert all(not row["not faces"] for row in rows.values())
    film = rows["a film of pairs"]
    assert film["people"] == 2
    assert 2 <= film["clips"] <= 6
    assert film["clips of one person %"] == 100


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "prepare", "--faces", "1"]) == 2
    assert "--faces: 1; give a whole number from 6" in capsys.readouterr().err
