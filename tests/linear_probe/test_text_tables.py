"""One table in all its forms, the frame that tables are made from, and the summary of all tasks."""

import dataclasses
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from linear_probe.records.frame import frame
from linear_probe.records.record import Record
from linear_probe.reports.summary import BETTER, WORSE, summary
from linear_probe.reports.text_tables import Cell, Table, as_csv, as_text
from linear_probe.stats.intervals import few_people_note
from tests.support.records import ONE

TABLE = Table(
    "a_b & 5 %",
    ["encoder", "accuracy %"],
    [["x|y", Cell("44.12* ± 1.00 [42.50, 45.75] ≈", 44.12, best=True)], ["[z]", "-"]],
    ["a note"],
)


def test_text_and_markdown():
    assert as_text(TABLE).splitlines() == [
        *("a_b & 5 %", ""),
        "  encoder  accuracy %",
        "  -------  ----------------------------------",
        "  x|y      **44.12* ± 1.00 [42.50, 45.75] ≈**",
        "  [z]      -",
        *("", "  a note"),
    ]
    assert "| x\\|y | **44.12* ± 1.00 [42.50, 45.75] ≈** |" in as_text(TABLE, markdown=True)


def test_csv_is_no_formula():
    assert as_csv(["a"], [["=1+1"], [-2.5], ["x,y"]]) == 'a\n\'=1+1\n-2.5\n"x,y"\n'


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("44.12 ± 1 [1, 2], p 0.1", ("44.12 ± 1", "[1, 2], p 0.1")),
        ("44.12", ("44.12", "")),
        ("[1, 2]", ("[1, 2]", "")),
    ],
)
def test_the_interval_of_a_cell(text, parts):
    assert Cell(text).parts == parts


def test_the_frame_has_a_column_for_each_field():
    blur = {"factor": "blur", "level": 2, "unit": "px"}
    records = [ONE, replace(ONE, condition=blur), replace(ONE, condition={"level": "much"})]
    table = frame(records)
    for field in dataclasses.fields(Record):
        assert list(table[field.name]) == [getattr(record, field.name) for record in records]
    assert list(table["record"]) == records
    assert list(table["factor"]) == ["", "blur", ""]
    assert table["level"][1] == 2
    assert math.isnan(table["level"][0])
    assert math.isnan(table["level"][2])


TRAINED = replace(ONE, encoder="a", sample="same")
UNTRAINED = replace(TRAINED, encoder="a, untrained", value=30.0)
RECALL = replace(TRAINED, metric="mean class recall", value=1.0)
YAW = {"task": "pose", "metric": "MAE yaw", "unit": "degrees", "higher_is_better": False}
HOG = replace(TRAINED, encoder="HOG", feature_space="grey 48x48")
HOG_YAW = replace(HOG, **YAW, feature_space="grey 32x32")
MEAN = replace(TRAINED, encoder="predict the mean", feature_space="", **YAW)
RECORDS = [
    *(HOG, HOG_YAW, MEAN, UNTRAINED, replace(UNTRAINED, **YAW)),
    *(TRAINED, RECALL, replace(TRAINED, **YAW)),
]


def cells(text):
    rows = [re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.strip()]
    return {row[0]: row[1:] for row in rows}


def replicates(**means):
    """Of each record in `RECORDS`: 100 draws around the mean that its encoder and task have."""
    noise = np.random.default_rng(0).normal(0, 1, 100)
    found = {}
    for record in RECORDS:
        name = f"{record.task}_{'untrained' if 'untrained' in record.encoder else 'trained'}"
        found[record.key] = means.get(name, 0.0) + noise * (1 + ("untrained" in name))
    return found


def test_a_row_is_an_encoder_and_a_column_the_main_figure_of_a_task():
    found = cells(summary(RECORDS, {}))
    assert found["encoder, features"] == ["expression: accuracy %", "pose: MAE yaw degrees"]
    figure = "[42.50, 45.75]"
    assert found["HOG"] == [f"44.12 {figure}"] * 2, "one row for the sizes of a baseline"
    assert found["a, expression_map"] == [f"44.12 {figure}"] * 2
    assert found["a, untrained, expression_map"] == [f"30.00 {figure}"] * 2
    few = few_people_note(6)
    assert few in summary([replace(record, note=few) for record in RECORDS], {})
    assert not any("predict the mean" in row for row in found)
    assert not any("1.00" in cell for row in found.values() for cell in row), "a second metric"


def test_marks_show_what_differs_significantly_from_the_untrained_network():
    def marks(**means):
        row = cells(summary(RECORDS, replicates(**means)))["a, expression_map"]
        return [cell.rpartition("]")[2].strip() for cell in row]

    assert marks() == ["", ""], "the interval of the difference holds 0"
    assert marks(expression_trained=9, pose_trained=-9) == [BETTER, BETTER], "a low error is better"
    assert marks(expression_untrained=9, pose_trained=9) == [WORSE, WORSE]


def test_no_mark_without_the_same_test_rows():
    other = [replace(r, sample="others") if "untrained" in r.encoder else r for r in RECORDS]
    draws = replicates(expression_trained=9)
    assert BETTER in cells(summary(RECORDS, draws))["a, expression_map"][0]
    assert BETTER not in cells(summary(other, draws))["a, expression_map"][0]
