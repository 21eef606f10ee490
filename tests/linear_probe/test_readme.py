"""Pages whose tables are made from kept records, and that are as those records say."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from linear_probe.cli import main
from linear_probe.readme import fill
from linear_probe.record import write_records
from tests.linear_probe.conftest import ONE

ROOT = Path(__file__).parents[2]


def test_the_projects_pages_are_as_their_records_say() -> None:
    """Where this fails: `make readme`."""
    assert fill(ROOT / "checkpoints/tables.yaml", check=True) == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one page with a table of two rows, one of which has a record."""
    folder = tmp_path / "kept"
    folder.mkdir()
    write_records(folder / "some.jsonl", [ONE, dataclasses.replace(ONE, seed=0, metric="other")])
    table = {
        "records": ["kept/some.jsonl"],
        "first": "encoder",
        "columns": [{"heading": "accuracy %", "metric": "accuracy"}],
        "rows": [{"label": "ours", "encoder": "runs/a", "feature_space": "expression_map"}],
    }
    settings = {"pages": ["page.md"], "tables": {"one": table}}
    (folder / "tables.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "page.md").write_text(
        "Before.\n\n<!-- table: one -->\n\n| encoder | accuracy % |\n| --- | --- |\n"
        "| theirs | 12.00 [11.00, 13.00] |\n| ours | 99.00 [98.00, 99.50] |\n\n"
        "<!-- end of table -->\n\nBehind.\n"
    )
    return tmp_path


def readme(project: Path, *more: str) -> int:
    return main(["readme", "-c", str(project / "kept/tables.yaml"), *more])


def changed(project: Path, **more: Any) -> None:
    path = project / "kept/tables.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["tables"]["one"] |= more
    path.write_text(yaml.safe_dump(settings))


def test_a_stale_figure_is_told_and_mended(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = project / "page.md"
    before = page.read_text()
    assert readme(project, "--check") == 1
    assert capsys.readouterr().out == f"stale: {page.resolve()}\n"
    assert page.read_text() == before
    assert readme(project) == 0
    after = page.read_text()
    # Its own row is as the record says; the other, the rest and the order are as they were.
    assert after == before.replace("99.00 [98.00, 99.50]", "44.12 [42.50, 45.75]")
    assert readme(project, "--check") == 0
    capsys.readouterr()
    assert readme(project) == 0
    assert capsys.readouterr().out == "all pages are as their records say\n"
    row = {"label": "new", "encoder": "runs/a", "feature_space": "expression_map"}
    changed(project, rows=[row])
    assert readme(project) == 0
    assert "| ours | 44.12 [42.50, 45.75] |\n| new | 44.12 [42.50, 45.75] |" in page.read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"records": ["kept/none.jsonl"]}, "none.jsonl: can't be read"),
        ({"records": ["page.json"]}, "page.json: no card with records"),
        ({"columns": [{"heading": "x", "metric": "none"}]}, "ours, x: 0 records"),
        ({"column": []}, "tables.one.column: unknown key"),
        (
            {"first": "a", "columns": [{"heading": h, "metric": "accuracy"} for h in "ab"]},
            "2|3 col",
        ),
    ],
)
def test_tables_that_can_not_be(
    more: dict[str, Any], said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (project / "page.md").read_text()
    changed(project, **more)
    assert readme(project) == 2
    message = capsys.readouterr().err
    assert any(part in message for part in said.split("|"))
    assert message.count("\n") == 1
    assert (project / "page.md").read_text() == before


def test_marks_and_tables_belong_together(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = project / "page.md"
    text = page.read_text()
    page.write_text(text.replace("table: one", "table: two"))
    assert readme(project) == 2
    assert "table 'two' is not in" in capsys.readouterr().err
    page.write_text("No table.\n")
    assert readme(project) == 2
    assert "table 'one' is marked in none of page.md" in capsys.readouterr().err


def test_a_picture_that_is_another_is_drawn_anew(tmp_path: Path) -> None:
    for name in ("README.md", "checkpoints/README.md", "checkpoints/tables.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("hybrid", "facecycle"):
        (tmp_path / "checkpoints" / name).mkdir()
        shutil.copy(ROOT / f"checkpoints/{name}/card.json", tmp_path / "checkpoints" / name)
    sheet = tmp_path / "checkpoints/figures/rendered_faces.png"
    sheet.parent.mkdir()
    sheet.write_bytes(b"no picture")
    config = tmp_path / "checkpoints/tables.yaml"
    assert fill(config, check=True) == [sheet]
    assert sheet.read_bytes() == b"no picture"
    assert fill(config) == [sheet]
    assert fill(config) == []
