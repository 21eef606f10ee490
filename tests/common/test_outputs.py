"""Outputs never replace an input, and other files only with `--overwrite`."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linear_probe.cli import main as linear_probe
from ssl_faces.cli import main as ssl_faces
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import check_output
from ssl_faces.common.safe_path import protect, python, unprotect
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.steps import Step
from ssl_faces.training.fit import check_run_folder
from tests.support.apps import a_run, encoder_folder
from tests.support.images import rendered, write_all, write_video

__all__ = ["encoder_folder"]

# Every command that writes one file: the command, its words, and the file's ending.
COMMANDS = {
    "embed": (ssl_faces, "embed {photo} --out", ".npz"),
    "embed's list": (ssl_faces, "embed {photo} --out", ".npz.skipped.csv"),
    "gallery": (ssl_faces, "gallery {photo} --out", ".html"),
    "expressions": (ssl_faces, "expressions {photo} --out", ".csv"),
    "verify": (ssl_faces, "verify {photo} {photo} --out", ".csv"),
    "cluster": (ssl_faces, "cluster {photo} --out", ".csv"),
    "search": (ssl_faces, "search query {index} {photo} --out", ".html"),
    "translate": (ssl_faces, "translate --motion-of {film} --person {photo} --out", ".mp4"),
    "export": (ssl_faces, "export {encoder} --out", ".onnx"),
    "export's table": (ssl_faces, "export {encoder} --int8 --out", ".onnx.md"),
    "dashboard": (ssl_faces, "dashboard {photo} --out", ".html"),
    "bench": (ssl_faces, "bench cost -c simclr_small --out", ".json"),
    "bench's page": (ssl_faces, "bench embed --page", ".md"),
    "render": (ssl_faces, "render --sheet", ".png"),
    "report": (linear_probe, "report {encoder} --out", ".md"),
    "predict": (linear_probe, "predict {encoder} {photo} --out", ".csv"),
    "export of heads": (linear_probe, "export {encoder} --out", ".onnx"),
    "keep": (linear_probe, "keep {encoder} --out", ".jsonl.gz"),
}


@pytest.fixture
def places(tmp_path, encoder_folder):
    (photo,) = write_all(tmp_path / "in", rendered(1))
    film = write_video(tmp_path / "film.mp4", [np.zeros((16, 16, 3), np.uint8)] * 2)
    (tmp_path / "in/about.json").write_text("{}")  # of an index
    places = {"photo": photo, "film": film, "encoder": encoder_folder}
    return places | {"index": tmp_path / "in"}


@pytest.mark.parametrize("name", COMMANDS)
def test_existing_files_need_overwrite(name, places, tmp_path, capsys):
    command, words, ending = COMMANDS[name]
    there = tmp_path / f"mine{ending}"
    there.write_text("mine")
    *before, option = (word.format(**places) for word in words.split())
    out = str(there).removesuffix(".skipped.csv")
    out = out.removesuffix(".md") if name == "export's table" else out
    assert command([*before, option, out]) == 2
    error = capsys.readouterr().err
    assert f"{option} {there}: exists already; give another name, or --overwrite" in error
    assert there.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"in", "film.mp4", there.name}


@pytest.mark.parametrize("alias", ["itself", "symbolic link", "hard link", "way round"])
@pytest.mark.parametrize("given", ["--motion-of", "--person"])
def test_a_film_is_never_replaced_by_what_is_made_of_it(alias, given, places, tmp_path, capsys):
    other = write_video(tmp_path / "other.mp4", [np.zeros((16, 16, 3), np.uint8)] * 2)
    film = places["film"]
    before = film.read_bytes()
    out = {"itself": film, "way round": film.parent / "in/.." / film.name}.get(
        alias, tmp_path / "link.mp4"
    )
    if alias == "symbolic link":
        out.symlink_to(film)
    elif alias == "hard link":
        out.hardlink_to(film)
    words = {"--motion-of": other, "--person": places["photo"], given: film, "--out": out}
    flat = [str(word) for pair in words.items() for word in pair]
    assert ssl_faces(["translate", *flat, "--overwrite"]) == 2
    assert f"--out {out}: is the input {film}, which would be replaced" in capsys.readouterr().err
    assert film.read_bytes() == before


def test_a_picture_in_a_folder_is_an_input(places, encoder_folder, capsys):
    photo = places["photo"]
    disguised = photo.rename(photo.with_name("x.npz"))
    write_all(photo.parent, rendered(1))
    words = ["embed", str(photo.parent), "--encoder", str(encoder_folder)]
    assert ssl_faces([*words, "--out", str(disguised), "--overwrite"]) == 2
    assert f"{disguised}: is the input" in capsys.readouterr().err
    Image.open(disguised).verify()
    # What was written before is none.
    table = str(photo.parent / "codes.npz")
    assert ssl_faces([*words, "--out", table]) == 0
    assert ssl_faces([*words, "--out", table, "--overwrite"]) == 0


@pytest.mark.parametrize("asked", [False, True])
def test_folders_links_and_devices_are_no_files(asked, tmp_path):
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        check_output(tmp_path, asked)
    with pytest.raises(InputError, match="is no regular file"):
        check_output(Path(os.devnull), asked)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    if asked:
        check_output(link, asked)
    else:
        with pytest.raises(InputError, match="exists already"):
            check_output(link, asked)


def test_a_folder_of_faces_is_replaced_as_a_whole(tmp_path, capsys):
    run = a_run("facecycle_identity", tmp_path / "run")
    first, second = write_all(tmp_path / "in", rendered(2))
    out, words = (
        tmp_path / "out",
        ["neutralise", "--with", str(run), "--out", str(tmp_path / "out")],
    )
    assert ssl_faces([*words, str(first)]) == 0
    (out / "pictures" / "mine.png").write_text("mine")
    before = sorted(path.name for path in out.rglob("*"))
    assert ssl_faces([*words, str(second)]) == 2
    assert f"{out / 'faces.csv'}: exists already" in capsys.readouterr().err
    assert ssl_faces([*words, "--overwrite", str(out / "pictures" / f"{first.name}.png")]) == 2
    assert "holds the input" in capsys.readouterr().err
    assert sorted(path.name for path in out.rglob("*")) == before
    assert ssl_faces([*words, "--overwrite", str(second)]) == 0
    pictures = {path.name for path in (out / "pictures").iterdir()}
    assert pictures == {f"{second.name}.png", "mine.png"}


def test_a_run_replaces_neither_its_configuration_nor_an_encoder(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("mine")
    with pytest.raises(InputError, match=r"is the input .*config\.yaml, which would be replaced"):
        check_run_folder(tmp_path, [config])
    check_run_folder(tmp_path, [tmp_path / "other.yaml"])
    # What a run wrote there itself, it writes again.
    (tmp_path / "run.json").write_text("{}")
    check_run_folder(tmp_path, [config])
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "card.json").write_text("{}")
    with pytest.raises(InputError, match="holds an encoder, which would be replaced"):
        check_run_folder(tmp_path, [])


def test_a_sweep_does_not_replace_its_file(tmp_path, capsys):
    pytest.importorskip("optuna")
    (tmp_path / "sweep.json").write_text("mine")
    assert ssl_faces(["sweep", str(tmp_path / "sweep.json"), "--out", str(tmp_path)]) == 2
    assert "sweep.json, which would be replaced" in capsys.readouterr().err
    assert (tmp_path / "sweep.json").read_text() == "mine"


def test_prepare_does_not_replace_files_of_a_folder(places, tmp_path, capsys):
    pytest.importorskip("imagehash")
    table = tmp_path / "pack" / "manifest.csv"
    table.parent.mkdir()
    table.write_text("mine")
    assert ssl_faces(["prepare", str(places["photo"]), "--out", str(table.parent)]) == 2
    assert f"{table}: not written by prepare; give another --out" in capsys.readouterr().err
    assert table.read_text() == "mine"


ROOT = Path(__file__).parents[2]
# Modules that any process imports, also before it has read its own program.
SHADOWS = ("argparse", "random", "signal", "struct", "torch")


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Written by the modules of the current folder, when they are imported."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("open('ran', 'a').write(__name__); raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "ran"


def test_commands_run_no_code_of_the_current_folder(ran):
    out = ran.parent / "out"
    with (ran.parent / "lock").open("w") as lock:
        engine = Engine(ran.parent, lock.fileno())
        ours = Step("ours", ["linear-probe", "--help"], ran.parent / "log", out, always=True)
        # What a user runs has its own folder on the path, as without us.
        program = ran.parent / "program"
        program.mkdir()
        (program / "beside.py").write_text("")
        (program / "train.py").write_text("import beside; print('trained')")
        argv = [sys.executable, str(program / "train.py")]
        engine.run([ours, Step("own", argv, ran.parent / "own", out, always=True)])
    assert "usage: linear-probe" in (ran.parent / "log").read_text()
    assert "trained" in (ran.parent / "own").read_text()
    assert not ran.exists()


PARENT = """
import multiprocessing, os, subprocess, sys
from ssl_faces import cli
cli.main()
subprocess.run([sys.executable, "-m", "colorsys"], check=True)
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


def test_nor_do_the_processes_that_a_command_starts(ran):
    """Workers of `multiprocessing` and processes of processes."""
    program = ran.parent / "bin" / "command.py"
    program.parent.mkdir()
    program.write_text(PARENT)
    subprocess.run([sys.executable, str(program), "--help"], check=True)
    assert not ran.exists()


def test_a_checkout_that_is_not_installed_stays_importable(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", *(one for one in sys.path if one != str(ROOT))])
    monkeypatch.chdir(ROOT)
    environment = {"PYTHONPATH": "/mine"}
    protect(environment)
    assert environment["PYTHONSAFEPATH"] == "1"
    assert environment["PYTHONPATH"].split(os.pathsep) == ["/mine", str(ROOT)]
    unprotect(environment)
    assert "PYTHONSAFEPATH" not in environment


def test_every_process_is_started_in_safe_path_mode():
    assert python("-m", "x")[1:] == ["-P", "-m", "x"]
    # `processes.py` runs the user's own program by it; `seat.py` runs where this package may be
    # missing, with -P.
    known = {
        *("ssl_faces/common/safe_path.py", "ssl_faces/plan/processes.py"),
        "ssl_faces/plan/cluster/seat.py",
    }
    result = {
        str(path.relative_to(ROOT))
        for package in ("ssl_faces", "linear_probe")
        for path in (ROOT / package).rglob("*.py")
        if "sys.executable" in path.read_text(encoding="utf-8")
    }
    assert result == known
