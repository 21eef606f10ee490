"""The page: by its data always, and in headless Chromium where there is one."""

import json
import re
import subprocess

import pytest

from ssl_faces.cli import main
from tests.dashboard.conftest import PROBE, write_run
from tests.support.pages import CHROMIUM

pytest.importorskip("plotly")
EVIL = '<script>console.error("evil")</script>'


def made(out, *folders, more=()):
    assert main(["dashboard", *map(str, folders), "--out", str(out), *more]) == 0
    return out.read_text(encoding="utf-8")


def data_of(html):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_what_the_page_holds(comparison, swept, tmp_path):
    html = made(tmp_path / "page.html", swept)
    data = data_of(html)
    assert [one["key"] for one in data["settings"]] == [
        "model.independence_weight",
        "model.temperature",
    ]
    assert data["objective"] == PROBE
    assert data["metrics"]["Losses"] == ["loss", "loss/cycle"]
    assert data["metrics"]["Collapse"] == ["online/rank/expression"]
    run = data["runs"][2]
    assert run["curves"][PROBE] == [[100, 200], [45.0, 50.0]]
    assert run["last"][PROBE] == 50.0
    assert [one["step"] for one in run["panels"]] == [100, 200]
    assert data["importances"][0]["shares"]["model.independence_weight"] > 0.95
    html = made(tmp_path / "other.html", comparison, more=("--panels", "0"))
    assert "46.00" in html
    assert 'id="step"' not in html
    assert data_of(html)["methods"] == ["hybrid", "simclr"]


def test_nothing_comes_from_elsewhere(swept, tmp_path):
    html = made(tmp_path / "page.html", swept)
    ours = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert "://" not in ours
    assert "default-src 'none'" in ours
    assert not re.search(r'(src|href)="(?!data:)', ours)


def test_names_are_no_code(tmp_path):
    run = write_run(tmp_path / "runs" / EVIL.replace("/", "_"), name="A")
    html = made(tmp_path / "page.html", run.parent)
    assert "<script>console.error" not in html
    assert data_of(html)["runs"][0]["name"].startswith("<script>")


def test_long_curves_are_thinned_and_broken_pictures_left_out(tmp_path):
    run = write_run(tmp_path / "run")
    rows = "\n".join(f"{step},{step}" for step in range(5001))
    (run / "csv/version_0/metrics.csv").write_text(f"loss,step\n{rows}\n")
    (run / "panels/step_0000200.png").write_bytes(b"no picture")
    html = made(tmp_path / "page.html", run)
    steps, values = data_of(html)["runs"][0]["curves"]["loss"]
    assert len(steps) <= 601
    assert (steps[0], steps[-1], values[-1]) == (0, 5000, 5000)
    assert [one["step"] for one in data_of(html)["runs"][0]["panels"]] == [100]
    assert "step_0000200.png can&#39;t be read, and is left out" in html


def test_wrong_input(swept, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for arguments, expected in (
        ([str(swept)], "give --out FILE.html, or --wandb"),
        ([str(swept), "--out", "x.pdf"], "x.pdf: the output is a page"),
        ([str(swept), "--out", "x.html", "--panels", "-1"], "--panels"),
        ([str(swept), "--out", str(tmp_path / "file/x.html")], "file/x.html"),
        ([str(tmp_path / "nowhere"), "--out", "x.html"], "no such folder"),
    ):
        assert main(["dashboard", *arguments]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1


CLICKS = """
<script>
{
const lines = () => document.querySelector("#curves .plot").data.map((one) => one.name);
const rows = () => [...document.querySelectorAll("#runs tbody tr")]
  .filter((row) => row.offsetHeight > 0).map((row) => row.cells[0].textContent);
const shownPictures = () => [...document.querySelectorAll("#gallery figcaption")]
  .map((one) => one.textContent);
const type = (id, text) => { $(id).value = text; $(id).dispatchEvent(new Event("input")); };
const result = { all: lines(), rows: rows(), pictures: shownPictures(),
  wide: document.documentElement.scrollWidth };
type("filter-name", "0 02");
result.named = [lines(), rows(), shownPictures(), $("shown").textContent];
type("filter-name", "");
result.again = lines();
const button = document.querySelector('button[data-method="simclr"]');
if (button) {
  button.click();
  result.method = [lines(), rows()];
  button.click();
}
type("step", "0");
result.first = shownPictures();
const chart = document.querySelectorAll("#curves .plot")[1];
result.before = chart.data[0].y.slice();
type("smoothing", "0.5");
result.smoothed = chart.data[0].y.slice();
const select = document.querySelector('select[data-group="Losses"]');
select.value = "loss/cycle";
select.dispatchEvent(new Event("change"));
result.cycle = document.querySelector("#curves .plot").data[0].y[0];
const parallel = $("parallel").data;
result.axes = parallel ? parallel[0].dimensions.map((one) => one.label) : null;
const bars = document.getElementById("importance-0");
result.bars = bars && bars.data ? bars.data[0].y : null;
document.body.dataset.result = JSON.stringify(result);
}
</script></body>"""


def browsed(path, profile):
    """What the clicks found, and the lines of the console, but for 3D drivers."""
    assert CHROMIUM is not None
    # fmt: off
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
        "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}",
        "--enable-logging=stderr", "--window-size=1200,900", "--dump-dom", path.as_uri(),
    ]
    # fmt: on
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r'data-result="([^"]*)"', done.stdout)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    console = [line for line in console if "GL Driver" not in line and "WebGL" not in line]
    return json.loads(found[1].replace("&quot;", '"')) if found else {}, console


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian's package is `chromium`)")
def test_in_a_browser(comparison, swept, tmp_path):
    path = tmp_path / "page.html"
    html = made(path, swept)
    path.write_text(html.replace("</body>", CLICKS), encoding="utf-8")
    result, console = browsed(path, tmp_path / "profile")
    assert console == []
    names = [f"trials/{i:04d}" for i in range(6)]
    assert result["all"] == result["rows"] == result["again"] == names
    assert result["wide"] <= 1200
    # Both words have to be in the name.
    assert result["named"] == [
        *([["trials/0002"]] * 2),
        ["trials/0002FaceCycleContrast, step 200"],
        "1 of 6 runs",
    ]
    assert result["pictures"][0] == "trials/0000FaceCycleContrast, step 200"
    assert result["first"][0] == "trials/0000FaceCycleContrast, step 100"
    # An average without the pull of its beginning: (25/4 + 30/2) / (3/4).
    assert result["before"] == [25, 30]
    assert result["smoothed"] == pytest.approx([25, (25 / 4 + 30 / 2) / (3 / 4)])
    assert result["cycle"] == pytest.approx(1 / 20)
    assert result["axes"] == ["independence_weight", "temperature", PROBE.removeprefix("online/")]
    assert result["bars"] == ["model.temperature", "model.independence_weight"]

    path = tmp_path / "broken.html"
    html = made(path, comparison)
    broken = "<script>undefined_name()</script>" + CLICKS
    path.write_text(html.replace("</body>", broken), encoding="utf-8")
    result, console = browsed(path, tmp_path / "profile")
    assert result["method"] == [["hybrid/seed0/stage1"]] * 2
    # The console is heard: a page with an error says so.
    assert len(console) == 1
    assert "undefined_name" in console[0]
