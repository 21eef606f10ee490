"""Pages whose tables are made from kept records, and the records that are kept for them."""

import dataclasses
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from linear_probe.cli import main
from linear_probe.records.record import read_records, write_records
from linear_probe.reports.archive import kept_lines, table_beside
from linear_probe.reports.comparison import comparison
from linear_probe.reports.comparison_table import as_table, pivot
from linear_probe.reports.readme import fill
from linear_probe.reports.text_tables import markdown_rows
from linear_probe.tasks.identity import WHITENED
from ssl_faces import InputError
from tests.support.comparisons import a_method, a_run, outcome, save, scored
from tests.support.records import ONE

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "checkpoints/tables.yaml"
PAGES = (
    *("README.md", "linear_probe/README.md", "ssl_faces/data/README.md"),
    "configs/method/README.md",
)
"""Outside `checkpoints`."""


def test_the_projects_pages_are_as_their_records_say():
    """Where this fails: `make readme`."""
    assert fill(TABLES, check=True) == []


def test_every_page_of_figures_is_looked_at():
    """Those that have tables with intervals are in the file."""
    settings = yaml.safe_load(TABLES.read_text())
    interval = re.compile(r"^\|.*\[-?\d+\.\d+, -?\d+\.\d+\]", re.MULTILINE)
    found = {
        str(path.relative_to(ROOT))
        for path in [*(ROOT / page for page in PAGES), *(ROOT / "checkpoints").glob("*.md")]
        if interval.search(path.read_text())
    }
    assert found == {*settings["pages"], *settings["reports"]}


OURS = {
    "README.md": "results",
    "checkpoints/README.md": "expression",
    "linear_probe/README.md": "truth",
    "checkpoints/ablation.md": "ablation",
}
"""Pages, and a marked table of each."""


def change_a_figure(path, table=""):
    """Change the last figure of a table, or of a page."""
    text = path.read_text()
    begin = text.index(f"<!-- table: {table} -->") if table else 0
    end = text.index("<!-- end of table -->", begin) if table else len(text)
    lines = text[begin:end].split("\n")
    rows = [i for i, line in enumerate(lines) if re.search(r"\d\.\d\d\*? \[.*\]", line)]
    rows = [i for i in rows if "†" not in lines[i].split("|")[1]]
    changed = re.sub(r"(\d)(\*? \[[^\]]*\][^\[\]]*)$", _another, lines[rows[-1]])
    assert changed != lines[rows[-1]]
    lines[rows[-1]] = changed
    path.write_text(text[:begin] + "\n".join(lines) + text[end:])


def test_changed_figures_of_ours_are_found(tmp_path):
    """In any row and column: here in the last figure of the table."""
    copied(tmp_path)
    config = tmp_path / "checkpoints/tables.yaml"
    for page, table in OURS.items():
        change_a_figure(tmp_path / page, table)
    assert set(fill(config, check=True)) == {tmp_path / page for page in OURS}
    page = tmp_path / "checkpoints/results_hybrid.md"
    change_a_figure(page)
    with pytest.raises(InputError, match=f"^{page}.*which no archived record has"):
        fill(config, check=True)


def _another(found):
    return f"{(int(found[1]) + 1) % 10}{found[2]}"


def copied(folder):
    """The project's pages and records; the pictures of faces are left out, as drawing takes
    seconds."""
    for page in PAGES:
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page, folder / page)
    kept = shutil.ignore_patterns("*.png", "*.safetensors", "arms")
    shutil.copytree(ROOT / "checkpoints", folder / "checkpoints", ignore=kept)
    path = folder / "checkpoints/tables.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "rendered": []}))


@pytest.fixture
def project(tmp_path):
    """A project of one page with a table of two rows, one of which has a record."""
    folder = tmp_path / "kept"
    folder.mkdir()
    write_records(folder / "some.jsonl.gz", [ONE, dataclasses.replace(ONE, metric="other")])
    table = {
        "records": ["kept/some.jsonl.gz"],
        "first": "encoder",
        "columns": [{"heading": "accuracy %", "metric": "accuracy"}],
        "rows": [
            {"label": "theirs †", "cells": ["12.00 [11.00, 13.00]"]},
            {"label": "ours", "encoder": "runs/a", "feature_space": "expression_map"},
        ],
        "note": "†: of a run that was lost",
    }
    settings = {"pages": ["page.md"], "tables": {"one": table}}
    (folder / "tables.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "page.md").write_text(
        "Before.\n\n<!-- table: one -->\n\n| encoder | accuracy % |\n| --- | --- |\n"
        "| theirs † | 12.00 [11.00, 13.00] |\n| ours | 99.00 [98.00, 99.50] |\n\n"
        "†: of a run that was lost\n\n<!-- end of table -->\n\nBehind.\n"
    )
    return tmp_path


def readme(project, *more):
    return main(["readme", "-c", str(project / "kept/tables.yaml"), *more])


def changed(project, **more):
    path = project / "kept/tables.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["tables"]["one"] |= more
    path.write_text(yaml.safe_dump(settings))


def test_a_stale_figure_is_told_and_mended(project, capsys):
    page = project / "page.md"
    before = page.read_text()
    assert readme(project, "--check") == 1
    assert capsys.readouterr().out == f"stale: {page.resolve()}\n"
    assert page.read_text() == before
    assert readme(project) == 0
    after = page.read_text()
    # Its own row is as the record says; the rest is as it was.
    assert after == before.replace("99.00 [98.00, 99.50]", "44.12 [42.50, 45.75]")
    assert readme(project, "--check") == 0
    capsys.readouterr()
    assert readme(project) == 0
    assert capsys.readouterr().out == "all pages are as their records say\n"


ROW = {"label": "ours", "encoder": "runs/a", "feature_space": "expression_map"}
PUBLISHED = {"label": "paper", "published": "FaceCycle (Chang et al., ICCV 2021)"}
COLUMN = {"heading": "accuracy %", "metric": "accuracy"}


def test_what_others_published_and_what_there_is_not(project):
    columns = [{**COLUMN, "data_set": "FER-2013"}, {"heading": "x", "metric": "none"}]
    rows = [{**row, "empty": ["x"]} for row in (ROW, PUBLISHED)]
    page = project / "page.md"
    page.write_text("<!-- table: one -->\n<!-- end of table -->\n")
    changed(project, columns=columns, rows=rows, note="")
    assert readme(project) == 0
    assert "| ours | 44.12 [42.50, 45.75] |  |\n| paper | 48.76 |  |\n" in page.read_text()


def test_of_two_files_with_the_same_figure_the_first_counts(project):
    again = dataclasses.replace(ONE, value=44.0)
    write_records(project / "kept/again.jsonl", [again])
    for files, value in ((["some.jsonl.gz", "again.jsonl"], "44.12"), (["again.jsonl"], "44.00")):
        changed(project, records=[f"kept/{file}" for file in files])
        assert readme(project) == 0
        assert f"| ours | {value} [" in (project / "page.md").read_text()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"records": ["kept/none.jsonl"]}, "none.jsonl: can't be read"),
        ({"records": ["kept/tables.yaml.gz"]}, "tables.yaml.gz: not a text file"),
        ({"records": ["page.json"]}, "page.json: no card with records"),
        ({"columns": [{"heading": "x", "metric": "none"}]}, "ours, x: 0 records"),
        ({"column": []}, "tables.one.column: unknown key"),
        ({"columns": [COLUMN, COLUMN]}, "theirs †: give 2 cells"),
        ({"rows": [{**ROW, "label": "theirs", "empty": ["y"]}]}, "theirs: no column is called 'y'"),
        ({"rows": [{**ROW, "empty": ["accuracy %"]}]}, "ours, accuracy %: has a record; not empty"),
        ({"rows": [{"label": "a"}]}, "give one of encoder, method, published and cells"),
        ({"comparison": "kept/some.jsonl.gz"}, "give either records or a comparison"),
        ({"rows": [{"label": "theirs", "method": "a"}]}, "of records name encoders"),
    ],
)
def test_tables_that_can_not_be(more, expected, project, capsys):
    (project / "kept/tables.yaml.gz").write_bytes(b"no gzip")
    before = (project / "page.md").read_text()
    changed(project, **more)
    assert readme(project) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1
    assert (project / "page.md").read_text() == before


def test_marks_and_tables_belong_together(project, capsys):
    page = project / "page.md"
    text = page.read_text()
    page.write_text(text.replace("table: one", "table: two"))
    assert readme(project) == 2
    assert "table 'two' is not in" in capsys.readouterr().err
    page.write_text("No table.\n")
    assert readme(project) == 2
    assert "table 'one' is marked in none of page.md" in capsys.readouterr().err
    # A figure in a table without marks is nobody's.
    page.write_text(f"{text}\n| more | 44.12* [42.50, 45.75] |\n")
    assert readme(project) == 2
    assert "a table has the figure 44.12* [42.50, 45.75], which no archived record has" in (
        capsys.readouterr().err
    )


def test_a_picture_that_is_another_is_drawn_anew(tmp_path):
    sheet = tmp_path / "checkpoints/figures/rendered_faces.png"
    sheet.parent.mkdir(parents=True)
    sheet.write_bytes(b"no picture")
    config = tmp_path / "checkpoints/tables.yaml"
    (tmp_path / "page.md").write_text("No table.\n")
    rendered = [str(sheet.relative_to(tmp_path))]
    config.write_text(yaml.safe_dump({"pages": ["page.md"], "rendered": rendered}))
    assert fill(config, check=True) == [sheet]
    assert sheet.read_bytes() == b"no picture"
    assert fill(config) == [sheet]
    assert fill(config) == []


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
