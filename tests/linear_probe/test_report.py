"""Tables from records."""

import re
from dataclasses import replace

import numpy as np
import pytest

from linear_probe.records.collect import read_folders
from linear_probe.records.record import RECORDS_FILE, write_records
from linear_probe.reports.command import table
from linear_probe.reports.tables import task_figures
from ssl_faces import InputError
from tests.support.records import ONE

ACCURACY = ONE
RECALL = replace(ACCURACY, metric="mean class recall", value=40.0, low=38.0, high=42.0)
PIXELS = replace(ACCURACY, encoder="pixels", feature_space="grey 48x48", value=38.2)
LFW = replace(ACCURACY, task="identity", data_set="LFW", split="pairs in 5 folds", value=66.0)
RENDERED = replace(ACCURACY, data_set="rendered faces")


def test_one_row_an_encoder_with_its_metrics_beside_each_other():
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


def test_tasks_and_data_sets_have_tables_of_their_own():
    text = table([LFW, ACCURACY, RENDERED])
    assert text.count("encoder ") == 3
    assert text.index("expression: rendered faces") < text.index("identity: LFW")


def test_published_figures_have_their_own_column_and_protocol():
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


def test_published_figures_are_those_of_the_tables_metrics():
    affect = replace(ACCURACY, task="affect", data_set="AffectNet", metric="CCC valence", unit="")
    text = table([affect])
    assert "CCC valence 0.59" in text
    assert "57.7" not in text
    assert "59.30" in table([replace(ACCURACY, data_set="AffectNet")])
    assert "published" not in table([replace(ACCURACY, metric="kNN accuracy")])
    assert "FaceCycle" not in table([RENDERED])


def test_published_figures_are_of_the_rows_kind():
    head = replace(ACCURACY, hyperparameters={"epochs": 12}, encoder="inception_fer")
    probes, heads, both = (table(rows) for rows in ([ACCURACY], [head], [ACCURACY, head]))
    assert ("48.76" in probes, "66.40" in probes) == (True, False)
    assert ("48.76" in heads, "66.40" in heads) == (False, True)
    assert ("48.76" in both, "66.40" in both) == (True, True)


def test_seed_and_hardware_are_told():
    text = table([replace(ACCURACY, hardware="A CPU, 2 threads")])
    assert "seed 0; A CPU, 2 threads" in text


def test_a_choice_at_the_grids_edge_is_marked():
    assert "*" not in table([ACCURACY])
    text = table([replace(ACCURACY, at_grid_edge=True)])
    assert "44.12* [42.50, 45.75]" in text
    assert "* the chosen value (L2, or directions) lies at the edge of its grid" in text


def test_validation_figures_show_no_test_figure():
    chosen = {"l2": 0.1, "validation": {"accuracy": 43.21}}
    text = table([replace(ACCURACY, hyperparameters=chosen), LFW], validation=True)
    assert "43.21" in text
    assert "44.12" not in text
    assert "66.00" not in text
    assert "identity: LFW, validation split" in text
    assert "nothing is chosen" in text


def test_markdown():
    lines = table([ACCURACY, replace(ACCURACY, encoder="a|b")], markdown=True).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows[0] == "| encoder | features | accuracy % | n | published † |"
    assert rows[1] == "| --- | --- | --- | --- | --- |"
    assert rows[3].startswith("| a\\|b |")
    assert lines[0].startswith("### expression")


def test_several_seeds_are_one_row():
    values = [44.0, 43.0, 45.5]
    records = [replace(ACCURACY, seed=i, value=v, low=v - 1 - i) for i, v in enumerate(values)]
    (row,) = [line for line in table([*records, PIXELS]).splitlines() if "runs/a" in line]
    # Mean and standard deviation of 44, 43, 45.5.
    assert "44.17 ± 1.26 " in row
    assert "[" not in row
    assert "no interval: the bootstrap's replicates" in table(records)
    draws = {r.key: r.value + np.linspace(-1, 1, 200) for r in records}
    assert re.search(
        r"44\.17 ± 1\.26 \[4[0-2]\.\d\d, 4[5-8]\.\d\d\]", table(records, replicates=draws)
    )
    assert re.split(r" {2,}", row.strip())[-2:] == ["0, 1, 2", "3,589"]
    (row,) = [line for line in table([*records, PIXELS]).splitlines() if "pixels" in line]
    assert "±" not in row
    edge = table([records[0], replace(records[1], at_grid_edge=True)])
    assert "43.50* ± 0.71" in edge
    assert "standard deviation over seeds" in edge
    assert "±" not in table([ACCURACY])
    text = table(
        [replace(r, hyperparameters={"validation": {"acc": r.value}}) for r in records],
        validation=True,
    )
    assert "44.17 ± 1.26" in text


def test_probes_are_told_apart_where_a_metric_has_several():
    knn = replace(ACCURACY, probe="kNN", metric="kNN accuracy")
    text = table([ACCURACY, knn])
    assert text.count("runs/a") == 1
    assert "logistic regression: accuracy; kNN: kNN accuracy" in text
    white = replace(ACCURACY, probe="whitened", value=50.0)
    rows = [line for line in table([ACCURACY, white]).splitlines() if "runs/a" in line]
    assert [re.split(r" {2,}", row.strip())[2:4] for row in rows] == [
        ["logistic regression", "44.12 [42.50, 45.75]"],
        ["whitened", "50.00 [42.50, 45.75]"],
    ]
    # What only one probe gives stands in the first row of its space.
    rows = [line for line in table([knn, white, ACCURACY]).splitlines() if "runs/a" in line]
    assert [re.split(r" {2,}", row.strip())[2:5] for row in rows] == [
        ["whitened", "44.12 [42.50, 45.75]", "50.00 [42.50, 45.75]"],
        ["logistic regression", "-", "44.12 [42.50, 45.75]"],
    ]


def point(factor, level, value, **more):
    condition = {"factor": factor, "level": level, "unit": "px"}
    return replace(ACCURACY, condition=condition, value=value, **more)


def test_points_of_curves_are_in_no_table_but_their_own():
    blur = [point("blur", 2, 30.0), point("blur", 1.5, 35.0), point("blur", 2, 20.0, encoder="b")]
    text = table([ACCURACY, *blur])
    assert text.startswith(table([ACCURACY]) + "\n\n")
    lines = text[len(table([ACCURACY])) :].strip().splitlines()
    assert lines[0] == "expression: FER-2013, accuracy by blur, Training -> PublicTest, %"
    assert re.split(r" {2,}", lines[2].strip()) == ["blur (px)", "1.5", "2", "as it is"]
    assert re.split(r" {2,}", lines[4].strip()) == [
        *("runs/a · expression_map", "35.00 [42.50, 45.75]"),
        *("30.00 [42.50, 45.75]", "44.12 [42.50, 45.75]"),
    ]
    assert re.split(r" {2,}", lines[5].strip())[1:] == ["-", "20.00 [42.50, 45.75]", "-"]
    seeds = table([*blur, point("blur", 2, 32.0, seed=1)])
    assert "31.00 ± 1.41" in seeds
    assert "35.00" not in table([ACCURACY, *blur], validation=True)
    # A level that is no number has no place on a curve.
    assert "blur" not in table([ACCURACY, point("blur", "much", 1.0)])


def test_the_best_is_bold_and_what_is_tied_with_it_is_marked():
    draws = np.random.default_rng(0).normal(size=500)
    a = replace(ACCURACY, sample="s")
    b = replace(a, encoder="b", value=43.0)
    close = {a.key: 44.1 + draws, b.key: 43.0 + draws[::-1]}
    apart = {a.key: 44.1 + draws, b.key: 43.0 + draws}
    tied = table([a, b], markdown=True, replicates=close)
    assert "| **44.12 [" in tied
    assert "| 43.00 [42.50, 45.75] ≈ |" in tied
    alone = table([b, a], markdown=True, replicates=apart)
    assert "| **44.12 [" in alone
    assert "≈ |" not in alone
    assert "**" not in table([a, b], markdown=True)
    # Another sample: not to be compared, whatever the replicates are.
    other = replace(b, sample="t")
    assert "**" not in table([a, other], markdown=True, replicates=apart)
    # Of an error the lower is better.
    a, b = (replace(r, higher_is_better=False) for r in (a, b))
    assert "**43.00" in table([a, b], markdown=True, replicates=apart)
    # Over seeds it is the difference of the means that counts.
    again = [replace(r, seed=1, value=v) for r, v in ((a, 44.3), (b, 43.2))]
    both = {**apart, again[0].key: 44.3 + draws, again[1].key: 43.2 + draws}
    assert "≈ |" not in table([a, b, *again], markdown=True, replicates=both)
    again[1] = replace(again[1], value=50.0)
    assert "≈ |" in table([a, b, *again], markdown=True, replicates=both)


def test_ties_are_corrected_for_the_number_of_rows():
    """p = 0.02 alone is significant, among five rows it is not."""
    draws = np.zeros(500)
    a = replace(ACCURACY, sample="s", value=44.0)
    rows = [replace(a, encoder=f"b{i}", value=43.0) for i in range(5)]
    unsure = np.where(np.arange(500) < 5, 44.5, 43.0)  # above the best in 1 % of the draws
    replicates = {a.key: 44.0 + draws} | {row.key: unsure for row in rows}
    assert "≈" not in table([a, rows[0]], markdown=True, replicates=replicates).split("- bold")[0]
    assert table([a, *rows], markdown=True, replicates=replicates).count("≈ |") == 5


def test_folders_are_joined(tmp_path):
    other = replace(ACCURACY, value=50.0)
    write_records(tmp_path / "a" / RECORDS_FILE, [PIXELS, ACCURACY])
    write_records(tmp_path / "b" / RECORDS_FILE, [replace(PIXELS, seconds=3.0), other])
    found = read_folders([tmp_path / "a", tmp_path / "b"])
    assert found == [PIXELS, ACCURACY, replace(other, encoder=f"runs/a ({tmp_path / 'b'})")]


def test_folders_without_records(tmp_path):
    with pytest.raises(InputError, match="none"):
        read_folders([tmp_path / "none"])
    (tmp_path / RECORDS_FILE).write_text("\n")
    with pytest.raises(InputError, match="no record"):
        read_folders([tmp_path])


def test_probes_that_columns_name_need_no_note_of_their_own():
    """Two probes, each in a row of its own: nothing is left to say, and no empty line says it."""
    two = [replace(ONE, probe=probe, metric="accuracy") for probe in ("cosine", "whitened")]
    for made in task_figures(two):
        assert all(note.strip() for note in made.notes)
