"""One table in all its forms, and the frame of records that tables are made from."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import replace

import pytest

from linear_probe.cli import main
from linear_probe.records.frame import frame
from linear_probe.records.record import Record, write_records
from linear_probe.reports.text_tables import Cell, Table, as_csv, as_latex, as_text
from tests.linear_probe.conftest import ONE

TABLE = Table(
    "a_b & 5 %",
    ["encoder", "accuracy %"],
    [["x|y", Cell("44.12* ± 1.00 [42.50, 45.75] ≈", 44.12, best=True)], ["[z]", "-"]],
    ["a note"],
)


def test_text_and_markdown() -> None:
    assert as_text(TABLE).splitlines() == [
        *("a_b & 5 %", ""),
        "  encoder  accuracy %",
        "  -------  ----------------------------------",
        "  x|y      **44.12* ± 1.00 [42.50, 45.75] ≈**",
        "  [z]      -",
        *("", "  a note"),
    ]
    assert "| x\\|y | **44.12* ± 1.00 [42.50, 45.75] ≈** |" in as_text(TABLE, markdown=True)


def test_latex_is_escaped_and_has_numbers_on_the_right() -> None:
    lines = as_latex(TABLE).splitlines()
    assert r"\caption{a\_b \& 5 \%}" in lines
    assert r"\begin{tabular}{lr}" in lines
    assert r"x|y & \textbf{44.12* $\pm$ 1.00 {[}42.50, 45.75] $\approx$} \\" in lines
    # A row that begins with a bracket would be read as an argument of the line break before it.
    assert r"{[}z] & - \\" in lines
    assert [line for line in lines if "rule" in line] == [r"\toprule", r"\midrule", r"\bottomrule"]


def test_csv_is_no_formula() -> None:
    assert as_csv(["a"], [["=1+1"], [-2.5], ["x,y"]]) == 'a\n\'=1+1\n-2.5\n"x,y"\n'


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("44.12 ± 1 [1, 2], p 0.1", ("44.12 ± 1", "[1, 2], p 0.1")),
        ("44.12", ("44.12", "")),
        ("[1, 2]", ("[1, 2]", "")),
    ],
)
def test_the_interval_of_a_cell(text: str, parts: tuple[str, str]) -> None:
    assert Cell(text).parts == parts


def test_the_frame_has_a_column_for_each_field() -> None:
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


def test_reports_as_latex(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    write_records(tmp_path / "records.jsonl", [ONE])
    assert main(["report", str(tmp_path), "--latex"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\ba & expression\\_map & 44\.12 \{\[\}42\.50, 45\.75\] & 3,589 &", printed)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r.tex")]) == 0
    assert (tmp_path / "r.tex").read_text() == printed
    assert main(["report", str(tmp_path), "--latex", "--markdown"]) == 2
    assert "exclude each other" in capsys.readouterr().err
