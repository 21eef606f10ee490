"""The page: by a parser always, and in headless Chromium where there is one."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from linear_probe.cli import main
from linear_probe.records.collect import find_records
from linear_probe.records.predictions import Predictions, predictions_path, write_predictions
from linear_probe.records.record import RECORDS_FILE, read_records, write_records
from linear_probe.records.replicates import REPLICATES_FILE, write_replicates
from linear_probe.reports.page import page
from tests.support.pages import CHROMIUM, Page
from tests.support.records import ONE
from tests.support.small_sets import write_fer2013

EVIL = '<img src=x onerror=console.error("evil")>"\'&'


def predictions(n=40, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(2), n)
    keys = [f"PublicTest/angry/PublicTest_{i % 4}.png" for i in range(4)] + [
        f"k{i}" for i in range(n - 4)
    ]
    groups = {"skin": ["dark" if i < 8 else "light" for i in range(n)]}
    return Predictions(
        *("classification", keys, rng.integers(0, 2, n), scores.argmax(axis=1), scores),
        *(["angry", "happy"], groups),
    )


@pytest.fixture
def folder(tmp_path):
    """Three encoders on two tasks, with curves, predictions and replicates."""
    a = replace(ONE, n=40, sample="s", hardware="A CPU", versions={"python": "3.11.2"})
    records = [
        replace(a, encoder=name, value=value)
        for name, value in (("pixels", 38.25), ("runs/a", 44.5), (EVIL, 9.75))
    ]
    pair = replace(
        a,
        task="identity",
        data_set="LFW",
        split="pairs",
        metric="AUC",
        value=61.25,
        encoder="pixels",
    )
    blur = [
        replace(records[1], condition={"factor": "blur", "level": level, "unit": "px"}, value=value)
        for level, value in ((1, 40.5), (2.5, 30.25))
    ]
    seeds = [replace(pair, encoder="runs/a", seed=seed, value=60 + seed) for seed in (0, 1)]
    write_records(tmp_path / RECORDS_FILE, [*records, pair, *seeds, *blur])
    write_predictions(predictions_path(tmp_path, records[1]), predictions())
    rng = np.random.default_rng(0)
    draws = rng.normal(size=100)
    write_replicates(tmp_path / REPLICATES_FILE, {r.name: r.value + draws for r in records})
    (tmp_path / "commands.txt").write_text("linear-probe run --encoder 'runs/a'\n")
    return tmp_path


def written(folder, *more):
    page = folder / "report.html"
    assert main(["report", str(folder), "--out", str(page), "--overwrite", *more]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


def test_tables_hold_the_records_numbers(folder):
    found = Page(written(folder))
    rows = found.tables["expression: FER-2013, Training -> PublicTest"]
    assert [re.sub(" [↕↑↓]", "", head) for head in rows[0]] == [
        *("encoder", "features", "accuracy %", "n", "published †")
    ]
    assert [row[:4] for row in rows[1:4]] == [
        ["pixels", "expression_map", "38.25 [42.50, 45.75]", "40"],
        ["a", "expression_map", "44.50 [42.50, 45.75]", "40"],
        [EVIL, "expression_map", "9.75 [42.50, 45.75]", "40"],
    ]
    theirs = {row[0]: row[-1] for row in rows[4:]}
    assert theirs["FaceCycle (Chang et al., ICCV 2021)"] == "accuracy 48.76"
    assert theirs["TCAE, as reported by Chang et al., ICCV 2021"] == "accuracy 45.05"
    identity = found.tables["identity: LFW, pairs"]
    (row,) = [row for row in identity if row[0] == "a"]
    assert row[2] == "60.50 ± 0.71"  # without replicates there is no interval
    curve = found.tables["accuracy % by blur (px)"]
    assert curve[0] == ["blur (px)", "1", "2.5", "as it is"]
    assert [cell.split()[0] for cell in curve[1][1:]] == ["40.50", "30.25", "44.50"]
    name = "a · expression_map: accuracy"
    counts = found.tables[f"{name}: confusions, with shares of each true class"]
    one = predictions()
    for i, name in enumerate(one.classes):
        rows_of = one.targets == i
        assert counts[i + 1][0] == name
        for j in range(2):
            count = int((rows_of & (one.predicted == j)).sum())
            assert counts[i + 1][j + 1] == f"{count}{100 * count / rows_of.sum():.0f} %"
    assert "skin" in str(list(found.tables))
    for expected in ("the protocol", "A CPU", "python 3.11.2", "linear-probe run --encoder"):
        assert expected in found.text
    assert "has no features of these test rows" in found.text
    assert "--data FOLDER shows the images too" in found.text
    assert "PublicTest/angry/" in found.text or "k1" in found.text


def test_best_is_bold_and_what_is_tied_is_marked(folder):
    def bold(html):
        return re.findall(r'<td class="number best"[^>]*>([\d.]+)', html)

    html = written(folder)
    assert bold(html) == ["44.50"]
    assert "] ≈</span>" not in html
    records = read_records(folder / RECORDS_FILE)
    wide = np.random.default_rng(1).normal(0, 50, (3, 100))
    alike = {r.name: r.value + w for r, w in zip(records, wide, strict=False)}
    write_replicates(folder / REPLICATES_FILE, alike)
    html = written(folder)
    assert bold(html) == ["44.50"]
    assert "] ≈</span>" in html
    (folder / REPLICATES_FILE).write_bytes(b"broken")
    html = written(folder)
    assert bold(html) == []
    assert "nothing is set in bold" in html


def test_nothing_comes_from_elsewhere_and_nothing_from_outside_is_run(folder):
    html = written(folder)
    found = Page(html)
    assert [tag for tag, _ in found.tags].count("script") == 1
    for tag, attributes in found.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg" and "aria-hidden" not in attributes:
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
    assert "url(" not in html
    assert "@import" not in html
    assert EVIL not in html
    assert EVIL in found.text


def test_the_same_records_give_the_same_page(folder):
    assert page(find_records([folder])) == page(find_records([folder]))


def test_pictures_of_galleries(folder, tmp_path):
    records = read_records(folder / RECORDS_FILE)
    write_fer2013(tmp_path / "data", train=2)
    one = predictions(4)
    write_records(folder / RECORDS_FILE, [replace(records[1], n=4)])
    path = predictions_path(folder, records[1])
    write_predictions(path, replace(one, predicted=1 - one.targets))
    html = written(folder, "--data", str(tmp_path / "data"))
    pictures = [a for tag, a in Page(html).tags if tag == "img"]
    assert len(pictures) == 4
    assert all("predicted as" in str(a["alt"]) for a in pictures)
    # Keys that are not all there are of another set.
    write_predictions(path, replace(one, predicted=1 - one.targets, keys=list("abcd")))
    html = written(folder, "--data", str(tmp_path / "data"))
    assert "<img" not in html
    assert "does not have the images" in html


def test_wrong_input(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "none").mkdir()
    for arguments, expected in (
        ([str(folder), "--out", "report.pdf"], "report.pdf: the suffix sets the format"),
        ([str(folder), "--out", str(tmp_path / "file/r.html")], "file/r.html"),
        ([str(folder), "--out", str(tmp_path / "file/r.csv")], "file/r.csv"),
        ([str(tmp_path / "none"), "--out", "r.md"], "linear-probe run"),
        ([str(folder), "--data", "x"], "--data is for an .html report"),
        ([str(folder), "--out", "r.html", "--data", str(tmp_path / "nowhere")], "nowhere"),
        ([str(folder), "--out", "r.html", "--maps", "-1"], "--maps"),
        ([str(folder), "--out", "r.html", "--validation"], "--validation"),
        ([str(folder), "--wandb", "a/b/c"], "PROJECT/RUN"),
    ):
        capsys.readouterr()
        assert main(["report", *arguments]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


def test_broken_predictions_are_told_on_the_page(folder):
    record = read_records(folder / RECORDS_FILE)[1]
    path = predictions_path(folder, record)
    path.write_bytes(b"broken")
    assert "predictions left out" in Page(written(folder)).text
    write_predictions(path, predictions(39))
    text = Page(written(folder)).text
    assert "holds 39 rows, and the record is of 40" in text
    assert "no predictions are kept beside these figures" in text
    path.unlink()
    assert "predictions left out" not in Page(written(folder)).text


def test_a_run_and_its_page(small_data, tmp_path, save_tiny, monkeypatch):
    """Cards, commands and the map come from what a run leaves."""
    out, tiny = tmp_path / "out", save_tiny(tmp_path / "tiny")
    # fmt: off
    given = [
        "run", "--encoder", str(tiny), "--data", str(small_data), "--out", str(out), "--task",
        "expression", "--features", "expression", "--bootstrap", "20", "--device", "cpu",
        "--no-baselines",
    ]
    # fmt: on
    assert main(given) == 0
    record = next(r for r in read_records(out / RECORDS_FILE) if r.metric == "accuracy")
    keys = [
        f"PublicTest/{p.parent.name}/{p.name}"
        for p in sorted((small_data / "fer2013/PublicTest").rglob("*.png"))
    ]
    assert len(keys) == record.n
    targets = np.arange(record.n) % 2
    path = predictions_path(out, record)
    scores = np.eye(2)[1 - targets]
    write_predictions(
        path, Predictions("classification", keys, targets, 1 - targets, scores, ["a", "b"])
    )
    html = written(out, "--data", str(small_data))
    found = Page(html)
    assert "Map of the features" in found.text
    assert "28 test rows" in found.text
    assert "facecycle" not in found.text  # this card names no such method
    assert "expression 8, expression_map" in found.text
    assert f"linear-probe run --encoder {tiny}" in found.text
    assert len([1 for tag, _ in found.tags if tag == "img"]) == 12
    # Another encoder at that path now: its card says nothing of these figures.
    save_tiny(tiny, seed=1)
    assert "differs from the one that was scored" in Page(written(out)).text
    shutil.rmtree(tiny)
    text = Page(written(out, "--maps", "0")).text
    assert "no card found at this path" in text
    assert "the maximum number of maps" in text
    shutil.rmtree(out / "features")
    assert "has no features of these test rows" in Page(written(out)).text
    monkeypatch.undo()


def browsed(path, profile, fragment=""):
    """The page's DOM after its scripts ran, and the console's lines."""
    assert CHROMIUM is not None
    # fmt: off
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={profile}", "--enable-logging=stderr",
        "--window-size=1200,900", "--dump-dom", path.as_uri() + fragment,
    ]
    # fmt: on
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


CLICKS = """
<script>
const seen = () => [...document.querySelectorAll("section[data-task]")]
  .filter((section) => section.offsetHeight > 0).map((section) => section.dataset.task);
const table = document.querySelector("table.sortable");
const column = () => [...table.querySelectorAll("tbody tr")]
  .map((row) => row.cells[0].textContent);
const result = { all: seen(), wide: document.documentElement.scrollWidth };
document.querySelector('nav button[data-task="identity"]').click();
result.identity = seen();
document.querySelector('nav button[data-task=""]').click();
result.again = seen();
const sort = table.querySelectorAll("thead button")[2];
sort.click();
result.down = column();
sort.click();
result.up = column();
result.sorted = sort.closest("th").getAttribute("aria-sort");
document.body.dataset.result = JSON.stringify(result);
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian's package is `chromium`)")
def test_in_a_browser(folder):
    html = written(folder)
    path = folder / "clicked.html"
    path.write_text(html.replace("</body>", CLICKS), encoding="utf-8")
    dom, console = browsed(path, folder / "profile")
    assert console == []
    found = Page(html).tables
    shown = Page(re.sub(r' data-result="[^"]*"', "", dom)).tables
    (attributes,) = [a for tag, a in Page(dom).tags if tag == "body"]
    result = json.loads(str(attributes["data-result"]))
    assert result["all"] == result["again"] == ["expression", "identity"]
    assert result["identity"] == ["identity"]
    # By the numbers, 9.75 below 38.25; published figures stay below all.
    names = [row[0] for row in found["expression: FER-2013, Training -> PublicTest"][1:]]
    assert result["down"] == ["a", "pixels", EVIL, *names[3:]]
    assert result["up"] == [EVIL, "pixels", "a", *names[3:]]
    assert result["sorted"] == "ascending"
    assert result["wide"] <= 1200
    assert {k: sorted(v) for k, v in shown.items()} == {k: sorted(v) for k, v in found.items()}

    # The console is heard: a page with an error says so. And the address filters, too.
    broken = html.replace("</body>", "<script>undefined_name()</script></body>")
    path.write_text(broken, encoding="utf-8")
    dom, console = browsed(path, folder / "profile", "#task=identity")
    assert len(console) == 1
    assert "undefined_name" in console[0]
    hidden = [a for tag, a in Page(dom).tags if tag == "section" and "hidden" in a]
    assert [a["data-task"] for a in hidden] == ["expression"]
