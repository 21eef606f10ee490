"""The tutorial notebook runs from the first cell to the last, outside the project's folder."""

import pytest

from ssl_faces import load_encoder
from tests.support.fits import ROOT

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
