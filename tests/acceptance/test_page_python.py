"""The Python of the pages and the notebook as it is written there, with fewer steps and faces."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from ssl_faces import load_encoder, save_encoder
from ssl_faces.networks.backbone import EncoderSettings, new_encoder
from tests.support.fits import ROOT, SIZE
from tests.support.hub import hub
from tests.support.images import astronaut, rendered, write_all

__all__ = ["hub"]
SMALLER = {
    r"steps=5000": "steps=2",
    r'data={"batch_size": 64}': 'data={"batch_size": 8}, trainer={"log_every_n_steps": 1}',
    r"batch_size=64": "batch_size=8",
    r'"rendered"': '"rendered:160"',
    r"label_shares=\[10, 100\]": "label_shares=[50, 100], max_train=100, replicates=20",
    r"runs/dataset\", steps=2": r'runs/dataset", steps=2, data={"batch_size": 8}',
    r'runs/simclr", steps=2\)': 'runs/simclr", steps=2, data={"batch_size": 8})',
}


def blocks(page, heading):
    """The Python of a section."""
    section = (ROOT / page).read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    for usual, smaller in SMALLER.items():
        found = [re.sub(usual, smaller, block) for block in found]
    return found


@pytest.fixture
def shown(tmp_path, monkeypatch, faces):
    """The figures that are shown; the current folder is one that a reader may have."""
    import plotly.graph_objects as go

    figures = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: figures.append(figure))
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "cache"))
    (tmp_path / "FOLDER").symlink_to(faces)
    write_all(tmp_path / "PHOTOS", rendered(2))
    (tmp_path / "PHOTOS/notes.txt").write_text("no image")
    torch.manual_seed(0)
    encoder = new_encoder(EncoderSettings("resnet18", SIZE, 0.125))
    save_encoder(encoder, tmp_path / "runs/identity/encoder", {})
    monkeypatch.chdir(tmp_path)
    return figures


def test_the_readmes_way(shown, capsys):
    (block,) = blocks("README.md", "From Python")
    exec(block, {})
    printed = capsys.readouterr().out
    assert printed.startswith("barlow_twins byol ")
    assert re.search(r"simclr=\w+ .* p = \d", printed)


def test_training_from_python(shown, tmp_path):
    pytest.importorskip("datasets")
    for block in blocks("ssl_faces/training/README.md", "From Python"):
        exec(block, {})
    assert len(shown) == 1
    for run in ("simclr", "dataset", "plain"):
        card = load_encoder(tmp_path / "runs" / run).card
        assert (card["method"], card["steps"], card["data"][0]["pictures"]) == ("simclr", 2, 24)
        assert card["positives"] == "picture"


def test_probes_from_python(shown, capsys):
    (block,) = blocks("linear_probe/README.md", "From Python")
    names = {}
    exec(block, names)
    assert len(shown) == 3
    assert set(names["frame"].task) == {"expression", "pose"}
    assert re.search(r"HOG=grey 48x48.* p = \d", capsys.readouterr().out)


def test_embedding_from_python(shown, capsys):
    (block,) = blocks("ssl_faces/apps/README.md", "Embed, verify, edit")
    names = {}
    exec(block, names)
    assert len(names["frame"]) == 2
    assert capsys.readouterr().out.startswith("PHOTOS/notes.txt ")


def test_the_hub_from_python(shown, hub):
    (block,) = blocks("ssl_faces/apps/README.md", "Hugging Face hub")
    names = {}
    exec(block, names)
    assert hub.private == {"OWNER/hybrid": True}
    assert names["encoder"].card == load_encoder("hybrid").card


README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_three_lines(tmp_path, monkeypatch, capsys):
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "embed" in b)
    lines = [line for line in block.splitlines() if line and "import" not in line]
    assert len(lines) == 3
    for name, pixels in (("one.jpg", astronaut()), ("other.jpg", astronaut()[:, ::-1])):
        Image.fromarray(pixels).save(tmp_path / name, quality=95)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(block, found)
    printed = re.search(r"-?\d\.\d+", capsys.readouterr().out)
    # A person's mirror image.
    assert 0.5 < float(printed[0]) < 1
    codes = found["codes"]
    assert codes["expression"].shape == (2, 512)


NOTEBOOK = ROOT / "ssl_faces/tutorial.ipynb"


def test_the_tutorial_runs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "clear the notebook's outputs"
    metadata = {"metadata": {"path": str(tmp_path)}}
    client.NotebookClient(book, timeout=500, kernel_name="python3", resources=metadata).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    figures = [o for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert len(figures) == 5
    text = "".join(output.get("text", "") for output in outputs)
    assert "simclr" in text
    assert "p = " in text
    assert load_encoder(tmp_path / "runs/tutorial").card["steps"] == 60
