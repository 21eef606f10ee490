"""Bad input of every command: one sentence, exit code 2, and no file written."""

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


@pytest.mark.parametrize(
    "argv",
    [
        *("ssl-faces embed NO --out c.npz", "ssl-faces expressions NO --out e.csv"),
        *("ssl-faces verify NO NO", "ssl-faces swap-identity . --person NO --out s"),
        *("ssl-faces search query NO . --out m.csv", "linear-probe predict hybrid NO --out p.csv"),
        *(
            "linear-probe export NO --out h.onnx",
            "linear-probe run --encoder e --pairs NO --images . --out r",
        ),
    ],
)
def test_a_missing_input_is_refused_before_slow_imports(argv, tmp_path):
    program, *words = argv.split()
    code = (
        f"import sys; from {program.replace('-', '_')}.cli import main; "
        "print(main(sys.argv[1:]), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "2 False\n", done.stderr
    assert "error: NO: no" in done.stderr.replace("NO: No", "NO: no")
