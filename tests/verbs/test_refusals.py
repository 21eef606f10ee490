"""Bad input of every command: one sentence, exit code 2, and no file written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import refusal
from tests.support.images import rendered, write_all

MOTION = f"-c {Path(__file__).parents[2]}/configs/method/facecycle_motion_small.yaml"
TO = "--out {new}"

REFUSALS = {
    f"swap-identity {{face}} --person {{face}} --with {{run}} {TO}": "makes no identity swap",
    f"neutralise {{face}} --with hybrid {TO}": "released as an encoder alone",
    f"neutralise {{face}} --with {{none}} {TO}": "no such file",
    f"neutralise {{empty}} --with {{run}} {TO}": "no file in it",
    f"neutralise {{zero}} --with {{run}} {TO}": "empty (0 bytes)",
    "embed {drawing} --encoder {encoder} --out {new}.npz": "a drawing (SVG), no photograph",
    "embed {drawing} --encoder {encoder} --out {new}.txt": "a name that ends in .npz or .parquet",
    "embed {none} --encoder {encoder} --out {new}.npz": "none: No such file",
    "embed {face}": "see `ssl-faces embed --help`",
    "verify {face} {drawing} --encoder {encoder}": "drawing/a.svg: a drawing (SVG)",
    "gallery {face} --encoder {encoder} --out {new}.html": "one face has no neighbours",
    "gallery {face} --encoder {encoder} --out {new}.html --spaces colour": "no space 'colour'",
    "expressions {face} --probe {encoder} --out {new}.csv": "no saved probe; make one by",
    "expressions {face} --out {new}.txt": "a name that ends in .csv or .parquet",
    "expressions {face} --out {new}.csv --plot {new}.html": "--plot: no video among the files",
    "expressions {drawing} --out {new}.csv --film {new}.mp4": "annotates one video",
    "expressions {drawing} --out {new}.csv": "a drawing (SVG), no photograph",
    "cluster {face} --encoder {encoder} --out {new}.csv": "no distance for groups; measure one",
    "cluster {face} --encoder {encoder} --out {new}.csv --distance 1": "nothing to be grouped",
    "cluster {face} --out {new}.txt": "a name that ends in .csv, .parquet or .html",
    "search find": "(choose from 'index', 'query')",
    "search index {drawing} --encoder {encoder} --out {new}": "a drawing (SVG), no photograph",
    "search index {face} --out {folder}.onnx/x --encoder {none}": "no card.json there",
    "search query {none} {face} --out {new}.csv": "none: no index of faces there; make one with",
    "search query {index} {face} --out {new}.csv": "no whole index",
    "search query {index} {face} --out {new}.npz": "ends in .csv, .parquet or .html",
    "demo --encoder {none}": "no card.json there",
    "demo --encoder {encoder} --with {encoder}": "as an encoder alone",
    "demo --max-pixels 100000001": "--max-pixels: 100000001",
    "export {encoder} --out {new}.tflite": "its ending sets the format; give FILE.onnx or FILE.pt2",
    "export {encoder} --out {new}.onnx --spaces pooled,smile": "has no feature space 'smile'",
    "export {empty} --out {new}.onnx": "no card.json there",
    "export {encoder} --out {new}.pt2 --int8": "--int8 is only valid for .onnx output",
    "export {encoder} --out {new}.pt2 --pipeline": "--pipeline is only valid for .onnx output",
    "export {encoder} --out {new}.pt2 --opset 17": "--opset is only valid for .onnx output",
    "export {encoder} --out {folder}.onnx": "is a folder",
    "export {encoder}": "see `ssl-faces export --help`",
    "export {encoder} --out {new}.onnx --data {none}": "none",
    "serve --encoder {none}": "no card.json there",
    "serve --encoder {encoder} --index {none}": "none: no index of faces there",
    "serve --encoder {encoder} --token-file {empty}": "--token-file",
    "serve --encoder {encoder} --detector dlib": "--detector dlib: not known",
    "release {encoder} --name a/b --out {new}": "--name: 'a/b'; give letters",
    "release {empty} --name a --out {new}": "no card.json there",
    "release {encoder}": "see `ssl-faces release --help`",
    "render": "--out DIR",
    "render --out {new} --sheet x.png": "--out DIR",
    "render --out {new} --count 8 --people 9": "people=9",
    "render --out {new} --nuisances lots": "none, mild, all",
    "render --out {new} --counterparts neutral,smile": "'smile'",
    "render --out {set}": "a set of other settings",
    "render --out {drawing}": "something else",
    "render --out {broken}": "broken",
    "render --out {face}": "can't be written",
    "render --sheet {new}.txt": ".png",
    f"prepare {{none}} {TO}": "none: No such file or directory; check the path",
    f"prepare {{face}} {TO} --detector x": "--detector x: not known; give mtcnn",
    "prepare {face} --out s3://b/p": "--out s3://b/p: give a folder on this machine",
    "prepare {face} --out {face}": "can't be written",
    f"bench cost {MOTION} --model.sizes 1": "sizes",
    f"bench cost {MOTION} --model.input_size 30": "model.input_size: 30",
    "bench cost": "no method; give its config",
    f"bench plan {MOTION} --pictures-per-second 9 --no-such 1": "no-such",
    f"bench plan {MOTION} --step {{none}}": "not of `ssl-faces bench step",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory, run_of, encoder_folder):
    root = tmp_path_factory.mktemp("refusals")
    places = {name: root / name for name in ("new", "none", "folder", "empty", "drawing")}
    places |= {name: root / name for name in ("set", "broken", "index")}
    for folder in (root / "folder.onnx", *list(places.values())[3:]):
        folder.mkdir()
    (places["drawing"] / "a.svg").write_text("<svg/>")
    (places["index"] / "about.json").write_text("{}")
    (places["set"] / "set.json").write_text("{}")
    (places["broken"] / "set.json").write_text("{")
    (root / "zero.png").touch()
    (face,) = write_all(root / "face", rendered(1))
    runs = {"run": run_of("facecycle_motion"), "encoder": encoder_folder}
    return places | runs | {"zero": root / "zero.png", "face": face}


@pytest.mark.parametrize("argv", REFUSALS)
def test_refusals(argv, places, capsys):
    root = places["new"].parent
    before = set(root.rglob("*"))
    words = [word.format(**places) for word in argv.split()]
    assert REFUSALS[argv] in refusal(capsys, *words)
    assert set(root.rglob("*")) == before


MISSING = """
ssl_faces embed NO --out c.npz
ssl_faces embed . --out c.npz --encoder NO
ssl_faces expressions NO --out e.csv
ssl_faces expressions . --out e.csv --probe NO
ssl_faces verify NO NO
ssl_faces verify . . --encoder NO
ssl_faces serve --encoder NO
ssl_faces fit -c simclr_small --data.root NO
ssl_faces fit -c simclr_small --data.root=NO
ssl_faces neutralise . --out s --with NO
ssl_faces swap-identity . --person NO --out s
ssl_faces search query NO . --out m.csv
linear_probe run --encoder NO --out r
linear_probe run --encoder mine=NO --out r
linear_probe run --encoder NO.onnx --out r
linear_probe run --encoder hybrid --out r --data NO
linear_probe run --encoder hybrid --out r --test-data NO
linear_probe run --encoder e --pairs NO --images . --out r
linear_probe threshold hybrid --data NO
linear_probe card NO .
linear_probe save-probe --encoder NO --out r
linear_probe predict hybrid NO --out p.csv
linear_probe export NO --out h.onnx
"""


def test_a_missing_input_is_refused_before_slow_imports(tmp_path):
    """In one process without torch, which each would import for good."""
    lines = MISSING.strip().splitlines()
    code = (
        "import sys; from importlib import import_module\n"
        "for program, *words in map(str.split, sys.argv[1:]):\n"
        "    code = import_module(f'{program}.cli').main(words)\n"
        "    print(program, *words, code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *lines], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.splitlines() == [f"{line} 2 False" for line in lines], done.stderr
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(errors) == len(lines)
    assert all(re.search(r"NO(\.onnx)?:? ([Nn]o|does not exist)", line) for line in errors), errors
    assert not list(tmp_path.iterdir())
