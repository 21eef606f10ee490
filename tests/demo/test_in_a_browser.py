"""The real command, and headless Chromium that uploads, clicks and reads; without any network."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.images import rendered, write_all

for package in ("fastapi", "prometheus_client"):
    pytest.importorskip(package)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here (Debian's package is `chromium`)"
)

ROOT = Path(__file__).parents[2]
PATIENCE = 240_000  # milliseconds; of a machine with other work
WATCH = """
import os, socket
def watched(name, address_of):
    real = getattr(socket.socket if name == "connect" else socket, name)
    def call(*given, **more):
        address = address_of(given)
        if str(address) not in ("127.0.0.1", "localhost", "::1", "None", ""):
            with open(os.environ["WATCHED"], "a") as file:
                file.write(f"{name} {address}\\n")
        return real(*given, **more)
    setattr(socket.socket if name == "connect" else socket, name, call)
watched("connect", lambda given: given[1][0] if isinstance(given[1], tuple) else None)
watched("getaddrinfo", lambda given: given[0])
"""
"""A `sitecustomize` that notes what a process would reach beyond this machine."""


class Served:
    """The serving command: its process, the URL of the page, and the lines that it printed."""

    def __init__(self, process):
        self.process, self.url = process, ""
        self.lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.strip())
            if line.startswith("http"):
                self.url = line.split()[0]
                return
        raise AssertionError(f"it ended: {self.lines}")


@pytest.fixture
def served(run_of, tmp_path):
    """`ssl-faces demo` of the hybrid's encoder and a stage 2, at most 0.1 MB a picture."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(WATCH)
    (tmp_path / "temporary").mkdir()
    paths = (tmp_path / "site", ROOT, os.environ.get("PYTHONPATH", ""))
    words = ["demo", "--encoder", "hybrid", "--with", str(run_of("facecycle_identity"))]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_faces.cli", *words, "--port", "0", "--max-mb", "0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(tmp_path / "temporary"),
            "WATCHED": str(tmp_path / "reached"),
        },
    )
    try:
        yield Served(process)
    finally:
        process.kill()
        process.wait()


def give(page, who, path):
    face = page.locator(f"#face-{who}")
    before = face.locator("img").get_attribute("src")
    face.locator("input[type=file]").set_input_files(str(path))
    page.wait_for_function(
        "([who, before]) => document.querySelector(`#face-${who} img`).src !== (before || '')",
        arg=[who, before],
    )


def answered(page):
    """Click; what stands on the page when the answer has come."""
    page.evaluate("document.querySelector('#result .result')?.setAttribute('data-old', '')")
    page.get_by_role("button", name="Compare").click()
    page.locator("#result .result:not([data-old])").wait_for()
    return page.locator("#result .result")


def test_two_faces_are_uploaded_and_compared(served, run_of, tmp_path):
    pictures = rendered(2)
    paths = write_all(tmp_path / "faces", pictures)
    (tmp_path / "notes.png").write_text("no picture")
    Image.new("RGB", (400, 300)).save(tmp_path / "nobody.png")
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    elsewhere = []
    errors = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        ours = (served.url, "data:", f"blob:{served.url}")
        page.on("request", lambda asked: asked.url.startswith(ours) or elsewhere.append(asked.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda line: "Content Security Policy" in line.text and errors.append(line.text),
        )
        page.goto(served.url, timeout=PATIENCE)
        page.get_by_role("button", name="Compare").wait_for()
        assert page.get_by_role("group", name="Face A").count() == 1
        assert "Face A: no picture yet" in answered(page).get_by_role("alert").inner_text()

        give(page, "a", paths[0])
        give(page, "b", paths[1])
        result = answered(page)
        similarity = result.locator("#similarity").inner_text()
        captions = result.locator("figcaption").all_inner_texts()
        rows = result.locator("#expressions tbody tr").all_inner_texts()
        meaning = result.locator("#meaning").inner_text()
        notes = result.locator(".note").all_inner_texts()
        widths = result.locator("img").evaluate_all("all => all.map(image => image.naturalWidth)")

        give(page, "a", tmp_path / "notes.png")
        wrong = answered(page).get_by_role("alert").inner_text()
        give(page, "a", tmp_path / "nobody.png")
        alert = answered(page).get_by_role("alert").inner_text()
        give(page, "a", tmp_path / "large.png")
        large = answered(page).get_by_role("alert").inner_text()
        browser.close()

    assert re.fullmatch(r"-?\d\.\d{3}", similarity)
    assert captions[:2] == [f"picture {who}: taken whole, as a face crop" for who in "AB"]
    assert captions[2:] == [
        caption
        for who, partner in ("AB", "BA")
        for caption in (
            *(f"face {who}", f"neutral face of {who}", f"mean face of {who}", f"flow of {who}"),
            f"translation: {partner} moved like {who}",
        )
    ]
    assert widths == [32, 32, *[128] * 10]
    assert all(re.search(r"[\d.]+ %.*[\d.]+ %", row, re.DOTALL) for row in rows)
    assert len(rows) == 7
    assert "of 2,700 pairs of LFW" in meaning
    assert any("of 3,589 test pictures of FER-2013" in note for note in notes)
    assert "no picture or video of a known kind" in wrong
    assert "more than the 0.1 MB allowed" in large
    assert alert.startswith("Face A: no face found; give a photograph")
    assert elsewhere == []
    assert errors == []

    # A closed terminal ends it without remaining files. It has connected to no other machine.
    served.process.send_signal(signal.SIGHUP)
    rest, _ = served.process.communicate(timeout=PATIENCE / 1000)
    assert "Traceback" not in rest
    assert not [path for path in (tmp_path / "temporary").rglob("*") if path.is_file()]
    assert not (tmp_path / "reached").exists(), (tmp_path / "reached").read_text()
