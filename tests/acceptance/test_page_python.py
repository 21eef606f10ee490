"""The Python of the pages, as it is written there, but with fewer steps and faces."""

import re

import pytest
import torch

from ssl_faces import load_encoder, save_encoder
from ssl_faces.networks.backbone import EncoderSettings, new_encoder
from tests.support.fits import ROOT, SIZE
from tests.support.hub import hub
from tests.support.images import rendered, write_all

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
    pytest.importorskip("huggingface_hub")
    (block,) = blocks("ssl_faces/apps/README.md", "Hugging Face hub")
    names = {}
    exec(block, names)
    assert hub.private == {"OWNER/hybrid": True}
    assert names["encoder"].card == load_encoder("hybrid").card
