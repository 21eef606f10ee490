"""Records that are kept for the pages, and comparisons whose tables are made of them again."""

from dataclasses import replace

import numpy as np
import pytest

from linear_probe.cli import main
from linear_probe.records.record import read_records, write_records
from linear_probe.reports.archive import kept_lines, table_beside
from linear_probe.reports.comparison import comparison
from linear_probe.reports.comparison_table import as_table, pivot
from linear_probe.reports.text_tables import markdown_rows
from linear_probe.tasks.identity import WHITENED
from ssl_faces import InputError
from tests.support.comparisons import a_method, a_run, outcome, save, scored
from tests.support.records import ONE


def a_comparison(folder):
    """Two seeds of one method and one of another, one that failed, a baseline, an untrained one;
    one figure is tied with the best, one chosen at the edge of its grid."""
    pairs = {"task": "identity", "data_set": "LFW", "split": "pairs"}
    yaw = {"task": "pose", "metric": "MAE yaw", "unit": "degrees", "higher_is_better": False}
    close = outcome(0.6)
    close[0], close[999] = False, True
    here = f"{folder}/runs"
    rows = [
        scored(f"{here}/a/0", "map", outcome(0.5), validation={"accuracy": 50.0}),
        scored(f"{here}/a/0", "code", outcome(0.4), validation={"accuracy": 40.0}),
        scored(f"{here}/a/1", "map", outcome(0.54), validation={"accuracy": 50.0}),
        scored(f"{here}/a/1", "code", outcome(0.4), validation={"accuracy": 40.0}),
        scored(f"{here}/b/0", "map", outcome(0.6)),
        scored(f"{here}/c/0", "map", close, at_grid_edge=True),
        scored(f"{here}/b/0, untrained", "map", outcome(0.2)),
        scored(f"{here}/b/0", "code", outcome(0.7), probe="cosine similarity", **pairs),
        scored(f"{here}/b/0", "code", outcome(0.71), probe=WHITENED, **pairs),
        scored("HOG", "grey", outcome(0.9)),
        scored(f"{here}/b/0", "map", outcome(0.1), probe="ridge regression", **yaw),
        scored("predict the mean", "", outcome(0.3), probe="none", **yaw),
    ]
    ends = [np.percentile(drawn, (2.5, 97.5)) for _, drawn in rows]
    rows = [
        (replace(record, low=float(low), high=float(high)), drawn)
        for (record, drawn), (low, high) in zip(rows, ends, strict=True)
    ]
    methods = [
        a_method("a", a_run(f"{here}/a/0"), a_run(f"{here}/a/1", seed=1)),
        a_method("b", a_run(f"{here}/b/0", uses_identity_labels=True)),
        a_method("c", a_run(f"{here}/c/0", steps=[1200])),
        a_method("d", error="its loss is not finite"),
    ]
    return save(folder, rows, methods)


def kept(tmp_path):
    file = tmp_path / "kept/some.jsonl.gz"
    words = ["--out", str(file), "--overwrite"]
    assert main(["keep", str(a_comparison(tmp_path)), *words]) == 0
    return file


def test_the_table_of_what_was_kept_is_that_of_the_runs(tmp_path):
    file = kept(tmp_path)
    table = as_table(comparison(a_comparison(tmp_path)))
    assert pivot(kept_lines(file)) == (table.header, table.body)
    text = "\n".join(markdown_rows(table.header, table.body))
    for mark in ("**", "≈", "±", "*", "failed: its loss", "1,200", "0, 1", "map", "predict"):
        assert mark in text
    assert "*" in next(row for row in table.body if row[0] == "c")[3]


def test_it_tells_of_no_place(tmp_path):
    file = kept(tmp_path)
    records = read_records(file)
    assert {r.encoder for r in records if r.task == "expression"} == {
        *("a/seed0", "a/seed1", "b/seed0", "b/seed0, untrained", "c/seed0", "HOG")
    }
    assert str(tmp_path) not in "".join(r.to_json() for r in records)
    assert str(tmp_path) not in table_beside(file).read_text()
    before = file.read_bytes()
    kept(tmp_path)
    assert file.read_bytes() == before  # no time in it


def test_a_table_that_can_not_be_used(tmp_path):
    path = table_beside(tmp_path / "some.jsonl.gz")
    with pytest.raises(InputError, match=r"some\.csv: can't be read"):
        kept_lines(tmp_path / "some.jsonl.gz")
    path.write_text("method,value\n")
    with pytest.raises(InputError, match=r"some\.csv: has other columns"):
        kept_lines(tmp_path / "some.jsonl.gz")


def test_keeping_runs(tmp_path, capsys):
    for name in "ab":
        write_records(tmp_path / name / "records.jsonl", [replace(ONE, encoder=name)])
    file = tmp_path / "kept.jsonl.gz"
    words = ["keep", str(tmp_path / "a"), str(tmp_path / "b"), "--out"]
    assert main([*words, str(file)]) == 0
    assert capsys.readouterr().out == f"2 records kept: {file}\n"
    assert [r.encoder for r in read_records(file)] == ["a", "b"]
    assert main([*words, str(tmp_path / "kept.csv")]) == 2
    assert "kept.csv: give a file that ends in .jsonl.gz" in capsys.readouterr().err
    folder = str(a_comparison(tmp_path))
    words = ["--out", str(file), "--overwrite"]
    assert main(["keep", folder, str(tmp_path / "a"), *words]) == 2
    assert "a comparison; keep it alone" in capsys.readouterr().err
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match="not a text file"):
        read_records(file)
