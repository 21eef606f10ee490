"""One table in all its forms, and the frame of records that tables are made from."""

import dataclasses
import math
from dataclasses import replace

import pytest

from linear_probe.records.frame import frame
from linear_probe.records.record import Record
from linear_probe.reports.text_tables import Cell, Table, as_csv, as_text
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
