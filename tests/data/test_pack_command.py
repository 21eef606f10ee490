"""`ssl-faces pack`, and a run that trains from what it made."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from ssl_faces.cli import main
from ssl_faces.pairs.module import FaceData
from tests.support.fits import settings


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def album(tmp_path):
    """Two pictures of each of six people, and a broken one."""
    draw = np.random.default_rng(0)
    for person in range(6):
        for n in range(2):
            path = tmp_path / "album" / f"p{person}" / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    (tmp_path / "album" / "p0" / "broken.png").write_text("no picture")
    return tmp_path / "album"


def output_of(capsys, *arguments, code=0):
    """What the command printed; of a refused one the error, in one line."""
    assert main(["pack", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    if code:
        (line,) = [x for x in err.splitlines() if x.startswith("ssl-faces: error:")]
        return line
    return out


def test_packing_adding_and_verifying(album, tmp_path, capsys):
    out = tmp_path / "pack"
    text = output_of(capsys, album, "--out", out, "--size", 32)
    assert f"{out}: 12 pictures to train on, 12 of them new" in text
    assert f"skipped 1 picture that can't be used; {out / 'index.json'} lists them" in text
    (album / "p1" / "1.png").unlink()
    Image.new("RGB", (40, 40)).save(album / "p1" / "2.png")
    text = output_of(capsys, album, "--out", out)  # the size is the pack's
    assert "12 pictures to train on, 1 of them new" in text
    assert "gone, not trained on any more: p1/1.png" in text
    assert "their pixels stay in the shards" in text
    assert "2 shards are whole, with 12 pictures" in output_of(capsys, "--verify", out)
    shard = out / "shard-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    text = output_of(capsys, "--verify", out, code=2)
    assert f"{shard}: its SHA-256 is not the index's" in text


def test_people_from_folders(album, tmp_path, capsys):
    output_of(capsys, album, "--out", tmp_path / "plain")
    output_of(capsys, album, "--out", tmp_path / "people", "--people-from-folders")
    known = [
        json.loads((tmp_path / name / "index.json").read_text())["sets"][0]["people"]
        for name in ("plain", "people")
    ]
    assert known == [False, True]


def test_what_a_folder_was_recognised_as(tmp_path, capsys):
    faces = tmp_path / "faces"
    draw = np.random.default_rng(0)
    for n in range(30):
        path = faces / ("happy", "sad")[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    text = output_of(capsys, faces, "--out", tmp_path / "pack", "--size", 16)
    (line,) = [x for x in text.splitlines() if "recognised" in x]
    found = re.fullmatch(
        re.escape(str(faces)) + r": recognised as folders of expressions; (\d+) images to train "
        r"on; kept back: (\d+) as its test part \(by the pictures' bytes, a fifth for the test\); "
        r"--include-tests packs them too",
        line,
    )
    trained, kept = map(int, found.groups())
    assert 0 < kept < trained
    assert trained + kept == 30
    text = output_of(capsys, faces, "--out", tmp_path / "all", "--size", 16, "--include-tests")
    assert f"{faces}: recognised as folders of expressions; 30 images to train on\n" in text
    data = FaceData(packs=str(tmp_path / "all"), size=16)
    data.setup()
    assert not data.leaves_tests_out
    text = output_of(capsys, faces, "--out", tmp_path / "pack", "--include-tests", code=2)
    assert "was packed without tests; give another --out" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a SOURCE folder and --out PACK, or --verify PACK"),
        (["{album}"], "give a SOURCE folder and --out PACK"),
        (["{album}", "--verify", "{out}"], "--verify takes no SOURCE"),
        (["{none}", "--out", "{out}"], "none: No such file or directory; check the path"),
        (["{album}", "--out", "{album}/p0/0.png"], "can't be written"),
        (["--verify", "{none}"], "no such folder"),
        (["--verify", "s3://bucket/pack"], "give a folder on this machine"),
        (["{album}", "--out", "s3://bucket/pack"], "copy a pack to an object store when it is"),
    ],
)
def test_bad_input(arguments, message, album, tmp_path, capsys):
    places = {"album": album, "out": tmp_path / "pack", "none": tmp_path / "none"}
    text = output_of(capsys, *(one.format(**places) for one in arguments), code=2)
    assert message in text
    assert not (tmp_path / "pack").exists()


def test_a_run_from_a_pack(album, tmp_path, capsys):
    """Its encoder's card says what it was trained on."""
    output_of(capsys, album, "--out", tmp_path / "pack", "--size", 32, "--people-from-folders")
    arguments = settings("motion", album, tmp_path / "run", "--data.packs", str(tmp_path / "pack"))
    at = arguments.index("--data.root")
    del arguments[at : at + 2]
    arguments[arguments.index("--trainer.max_steps") + 1] = "1"
    assert main(arguments) == 0
    card = json.loads((tmp_path / "run" / "encoder" / "card.json").read_text())
    (about,) = card["data"]
    assert about["name"] == "album"
    assert about["pictures"] == 12
    assert about["skipped"] == 1
    assert card["uses_identity_labels"] is True
    assert "broken.png" in (tmp_path / "run" / "skipped.csv").read_text()
