"""Figures and verdicts in the prose of the pages are those of archived records."""

import json
import re
from pathlib import Path

import pytest

from linear_probe.records.record import read_records

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("", "checkpoints/**/", "configs/**/", "linear_probe/", "ssl_faces/**/")
    for path in ROOT.glob(f"{folder}*.md")
    if "checkpoints/claims" not in path.as_posix()
)
SOURCES = [*PAGES, "configs/claims.yaml"]
FIGURE = re.compile(r"[-+]?(-?\d+\.\d+)[^\d\[\]|]{0,40}\[[-+]?(\d+\.\d+), [-+]?(\d+\.\d+)\]")
"""A value with its interval, without signs: a gain may be told from either side."""

UNARCHIVED = {
    # Paired differences: the replicates that they are made from are not archived.
    "README.md": "2.45 0.27 0.82",
    "checkpoints/README.md": (
        "3.54 0.82 2.22 2.14 1.89 0.22 7.49 2.45 0.27 5.10 1.88 0.99 6.56 3.74"
    ),
    "checkpoints/ablation.md": "4.9 8.6 1.6 2.4 2.7 3.7",
    "checkpoints/audit/audit.md": "0.22 0.36 0.74 0.14",
    "linear_probe/README.md": "2.36 18.61 2.91 21.27 1.90 12.09 6.05 2.98",
    # Runs whose records are not archived.
    "ssl_faces/apps/README.md": "48.15",
    "ssl_faces/data/README.md": "57.95",
}
"""By page the values that no archived record has. Archive records, and take figures out of here."""

VERDICTS = "supported|no effect of interest|inconclusive|contradicted"


def figures(text):
    for line in text.splitlines():
        if not line.lstrip().startswith("|"):  # tables are checked by `linear-probe readme`
            yield from (match.groups() for match in FIGURE.finditer(line))


@pytest.fixture(scope="module")
def archived():
    """Each archived figure with 1 to 3 digits."""
    numbers = []
    for path in ROOT.glob("checkpoints/**/*.jsonl*"):
        numbers += [(r.value, r.low, r.high) for r in read_records(path)]
    for path in ROOT.glob("checkpoints/*/card.json"):
        kept = json.loads(path.read_text()).get("records", [])
        numbers += [(r["value"], r["low"], r["high"]) for r in kept]
    known = {tuple(f"{abs(x):.{d}f}" for x in three) for three in numbers for d in (1, 2, 3)}
    for path in ROOT.glob("checkpoints/claims/**/claims.md"):
        known |= {match.groups() for match in FIGURE.finditer(path.read_text())}
    return known


@pytest.mark.parametrize("page", SOURCES)
def test_figures_in_prose_are_of_records(page, archived):
    unknown = {value for value, *_ in set(figures((ROOT / page).read_text())) - archived}
    assert unknown == {*UNARCHIVED.get(page, "").split()}


def test_verdicts_in_prose_are_those_of_the_table():
    """`NAME, which is VERDICT`; and no page has the words of earlier verdicts."""
    table = (ROOT / "checkpoints/claims/claims.md").read_text()
    stated = []
    for page in SOURCES:
        text = (ROOT / page).read_text()
        assert not re.search("not seen here|contrary is seen", text), page
        stated += re.findall(rf"`?(\w+)`?, which is ({VERDICTS})", text)
    assert stated
    for name, verdict in stated:
        assert re.search(rf"^\| {name} \|[^|]*\| {verdict} \|", table, re.MULTILINE), name


def test_counts_in_prose_are_those_of_the_table():
    """Of the claims page: how many were tested, and how many are left after Holm."""
    table = (ROOT / "checkpoints/claims/claims.md").read_text()
    page = (ROOT / "configs/head/README.md").read_text()
    tested = re.search(r"(\d+) claims were tested.*?(\d+\.\d) verdicts", table)
    assert f"for {tested[1]} claims at once" in page
    assert f"of which {tested[2]} are expected by chance" in page
    after = re.findall(rf"^\| \w+ \|[^|]*\| [^|]+ \| ({VERDICTS}) \|", table, re.MULTILINE)
    assert (after.count("supported"), after.count("contradicted")) == (1, 0)
    assert "After it one claim is supported, `mafer_at_8_px`" in page
