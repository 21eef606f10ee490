"""The commands that the README gives, run as a reader would run them."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linear_probe.cli import main as probe_main
from linear_probe.records.record import write_records
from ssl_faces.cli import main
from tests.support.in_process import MAIN
from tests.support.pages import README, ROOT, commands
from tests.support.records import ONE

METHODS = (ROOT / "configs/method/README.md").read_text()
HEADS = (ROOT / "configs/head/README.md").read_text()
FACES = (ROOT / "ssl_faces/data/README.md").read_text()
SCORES = (ROOT / "linear_probe/README.md").read_text()
TRAINING = (ROOT / "ssl_faces/training/README.md").read_text()
BIN = Path(sys.executable).parent


def run(command, folder):
    path = f"{BIN}:{os.environ['PATH']}"
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PATH": path}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200
    )


def make(*arguments):
    # `-o`: the environment that runs this test is the installed one.
    installed = f"{Path(sys.prefix)}/installed"
    return run(
        ["make", "--no-print-directory", "-o", installed, f"VENV={sys.prefix}", *arguments], ROOT
    )


def test_the_readme_names_both_commands():
    assert "make quickstart" in commands()
    assert "make test" in commands()


@pytest.mark.parametrize(
    "page",
    [
        *("README.md", "CONTRIBUTING.md", "configs/method/README.md", "configs/head/README.md"),
        *("ssl_faces/bench/README.md", "configs/sweep/README.md", "configs/launch/README.md"),
        *("ssl_faces/data/README.md", "linear_probe/README.md", "checkpoints/README.md"),
        *("ssl_faces/training/README.md", "ssl_faces/apps/README.md"),
    ],
)
def test_every_file_that_a_page_names_exists(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text):
        assert ((ROOT / page).parent / link).exists(), link


@pytest.mark.parametrize("config", sorted((ROOT / "configs/method").glob("*.yaml")))
def test_every_method_stands_in_the_methods_page(config):
    name = config.stem.removesuffix("_small")
    assert f"`{name}`" in METHODS


@pytest.mark.parametrize("config", sorted((ROOT / "configs/head").glob("*.yaml")))
def test_every_head_stands_in_the_heads_page(config):
    assert config.stem == "claims" or f"`{config.stem}`" in HEADS


@pytest.mark.parametrize(
    "command",
    [
        command
        for command in commands(README + METHODS + FACES + SCORES + TRAINING)
        if command.startswith("ssl-faces fit") and "NAME" not in command
    ],
)
def test_the_readmes_fit_commands_have_settings_that_exist(command, tmp_path, monkeypatch, capsys):
    """`--print_config` goes through every key and type, and trains nothing."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)[2:]
    for i, word in enumerate(words):
        if word == "-c" and (ROOT / words[i + 1]).exists():  # else the name of a config
            words[i + 1] = str(ROOT / words[i + 1])
    with pytest.raises(SystemExit) as over:
        main(["fit", *words, "--print_config"])
    printed = capsys.readouterr()
    assert over.value.code == 0, printed.err
    assert "class_path: ssl_faces.methods." in printed.out


@pytest.mark.parametrize(
    "command", [c for c in commands(SCORES) if c.startswith("linear-probe report")]
)
def test_reports_of_the_scores_page(command, tmp_path, monkeypatch):
    write_records(tmp_path / "runs/probe/records.jsonl", [ONE])
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command.replace("~/.cache/ssl-faces/data", "rendered:8"))[1:]
    if "--pdf" in words:
        pytest.importorskip("cairosvg")
    assert probe_main(words) == 0
    written = words[words.index("--figures" if "--figures" in words else "--out") + 1]
    assert (tmp_path / written).exists()


def test_make_quickstart_on_a_readers_own_faces(tmp_path, monkeypatch, capsys):
    """The commands that make would start, each in this process: imports take most of the time."""
    draw = np.random.default_rng(0)
    for person in range(4):
        for number in range(8):
            path = tmp_path / "faces" / f"person{person}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (70, 64, 3), dtype=np.uint8)).save(path)
    out = tmp_path / "run"

    done = make(
        *("--dry-run", "quickstart"),
        f"DATA={tmp_path / 'faces'}",
        f"OUT={out}",
        "MOTION_STEPS=2",
        "IDENTITY_STEPS=2",
        # The fits of expression and of many images take most of the time.
        "TASKS=pose",
        "MAX_TRAIN=100",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "cache"))
    *started, images, encoder = done.stdout.replace("\\\n", " ").splitlines()
    for line in started:
        program, *words = shlex.split(line)
        assert Path(program).is_file()
        assert MAIN[Path(program).name](words) == 0, line
    assert images.startswith("echo ")
    assert str(out / "motion" / "panels") in images
    assert str(out / "identity" / "encoder") in encoder
    printed = capsys.readouterr().out
    assert list((out / "motion" / "panels").glob("*.png"))
    assert list((out / "identity" / "panels").glob("*.png"))
    card = json.loads((out / "identity" / "encoder" / "card.json").read_text())
    assert card["data"][0]["pictures"] == 32
    for row in ("summary", "pose: MAE yaw degrees", "pixels", "HOG", "untrained"):
        assert row in printed
    assert "LBP" not in printed
    records = [json.loads(x) for x in (out / "probe" / "records.jsonl").read_text().splitlines()]
    assert {r["task"] for r in records} == {"pose"}


def test_make_tells_of_an_old_python(tmp_path):
    old = tmp_path / "python3"
    old.write_text(
        "#!/bin/sh\n"
        f'exec "{sys.executable}" -c "import sys; sys.version_info = (3, 9, 0); '
        'exec(sys.argv[2])" "$@"\n'
    )
    old.chmod(0o755)
    done = run(["make", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", "test"], ROOT)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed, 3.9 found" in done.stdout + done.stderr
    assert not (tmp_path / "venv").exists()
