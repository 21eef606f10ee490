"""Tables from records."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from linear_probe.record import RECORDS_FILE, write_records
from linear_probe.report import read_folders, table
from ssl_faces import InputError
from tests.linear_probe.conftest import ONE

ACCURACY = ONE
RECALL = replace(ACCURACY, metric="mean class recall", value=40.0, low=38.0, high=42.0)
PIXELS = replace(ACCURACY, encoder="pixels", feature_space="grey 48x48", value=38.2)
LFW = replace(ACCURACY, task="identity", data_set="LFW", split="pairs in 5 folds", value=66.0)
RENDERED = replace(ACCURACY, data_set="rendered faces")


def test_one_row_an_encoder_with_its_metrics_beside_each_other() -> None:
    text = table([PIXELS, ACCURACY, RECALL])
    (row,) = [line for line in text.splitlines() if line.strip().startswith("runs/a")]
    assert re.split(r" {2,}", row.strip()) == [
        "runs/a",
        "expression_map",
        "44.12 [42.50, 45.75]",
        "40.00 [38.00, 42.00]",
        "3,589",
    ]
    (row,) = [line for line in text.splitlines() if line.strip().startswith("pixels")]
    assert "38.20 [42.50, 45.75]" in row
    assert text.index("pixels") < text.index("runs/a")
    assert "accuracy %" in text
    assert text.count("the protocol") == 1
    assert "2 left out" in text


def test_tasks_and_data_sets_have_tables_of_their_own() -> None:
    text = table([LFW, ACCURACY, RENDERED])
    assert text.count("encoder ") == 3
    assert text.index("expression: rendered faces") < text.index("identity: LFW")


def test_published_figures_have_their_own_column_and_protocol() -> None:
    lines = table([ACCURACY]).splitlines()
    (header,) = [line for line in lines if line.strip().startswith("encoder")]
    (theirs,) = [line for line in lines if line.strip().startswith("FaceCycle")]
    (ours,) = [line for line in lines if line.strip().startswith("runs/a")]
    column = header.index("published")
    assert theirs[column:] == "accuracy 48.76"
    assert theirs[:column].split("  ", 1)[1].strip().endswith("2021)")
    assert len(ours) < column
    (protocol,) = [line for line in lines if "another protocol" in line]
    assert "VoxCeleb" in protocol
    assert "73.72" in table([LFW])
    assert "FaceCycle" not in table([RENDERED])


def test_seed_and_hardware_are_told() -> None:
    text = table([replace(ACCURACY, hardware="A CPU, 2 threads")])
    assert "seed 0; A CPU, 2 threads" in text


def test_a_choice_at_the_grids_edge_is_marked() -> None:
    assert "*" not in table([ACCURACY])
    text = table([replace(ACCURACY, at_grid_edge=True)])
    assert "44.12* [42.50, 45.75]" in text
    assert "* the L2 chosen is at the edge of the grid" in text


def test_validation_figures_show_no_test_figure() -> None:
    chosen = {"l2": 0.1, "validation": {"accuracy": 43.21}}
    text = table([replace(ACCURACY, hyperparameters=chosen), LFW], validation=True)
    assert "43.21" in text
    assert "44.12" not in text
    assert "66.00" not in text
    assert "identity: LFW, validation split" in text
    assert "nothing is chosen" in text


def test_markdown() -> None:
    lines = table([ACCURACY, replace(ACCURACY, encoder="a|b")], markdown=True).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows[0] == "| encoder | features | accuracy % | n | published † |"
    assert rows[1] == "| --- | --- | --- | --- | --- |"
    assert rows[3].startswith("| a\\|b |")
    assert lines[0].startswith("### expression")


def test_seeds_are_told_apart_where_a_choice_rests_on_them() -> None:
    chosen = {"l2": 0.1, "validation": {"accuracy": 43.21}}
    both = [replace(ACCURACY, seed=seed, hyperparameters=chosen) for seed in (0, 1)]
    (row, other) = [line for line in table(both, validation=True).splitlines() if "43.21" in line]
    assert (row.split()[2], other.split()[2]) == ("0", "1")


def test_folders_are_joined(tmp_path: Path) -> None:
    other = replace(ACCURACY, value=50.0)
    write_records(tmp_path / "a" / RECORDS_FILE, [PIXELS, ACCURACY])
    write_records(tmp_path / "b" / RECORDS_FILE, [replace(PIXELS, seconds=3.0), other])
    found = read_folders([tmp_path / "a", tmp_path / "b"])
    assert found == [PIXELS, ACCURACY, replace(other, encoder=f"runs/a ({tmp_path / 'b'})")]


def test_folders_without_records(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        read_folders([tmp_path / "none"])
    (tmp_path / RECORDS_FILE).write_text("\n")
    with pytest.raises(InputError, match="no record"):
        read_folders([tmp_path])
