"""`ssl-faces bench render`: a row for each level and number of threads, memory, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ssl_faces.cli import main


def test_the_bench_counts_the_faces_it_renders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    out = tmp_path / "render.json"
    try:
        arguments = ["--count", "24", "--size", "16", "--rounds", "2", "--threads", "2"]
        arguments += ["--set-size", "20000"]
        assert main(["bench", "render", *arguments, "--device", "cpu", "--out", str(out)]) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads(out.read_text())
    assert {(row["nuisances"], row["threads"]) for row in found["rows"]} == {
        (level, n) for level in ("none", "mild", "all") for n in (1, 2)
    }
    seconds = found["details"]["seconds"]
    for row in found["rows"]:
        taken = sorted(seconds[f"{row['nuisances']}, {row['threads']} threads"])
        assert row["faces/s"] == pytest.approx(24 / (sum(taken) / 2))
        assert row["best round faces/s"] == pytest.approx(24 / taken[0])
    # A hundred times the faces, for next to no memory.
    held = [float(note.split("holds ")[1].split(" ")[0]) for note in found["notes"][2:]]
    assert held[1] < held[0] + 4  # MiB
    assert "faces/s" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--count", "--rounds", "--threads", "--set-size"])
def test_numbers_below_one_are_told(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "render", option, "0"]) == 2
    assert f"{option}: 0" in capsys.readouterr().err


def test_a_size_of_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "render", "--size", "0"]) == 2
    assert "size" in capsys.readouterr().err
