"""A sweep of real training runs: the command that its page names, and the dashboard of it."""

import json
import re

import pytest
import yaml

from ssl_faces.cli import main
from ssl_faces.plan import engine
from ssl_faces.plan.sweep.study import read_notes
from tests.support.in_process import InProcess
from tests.sweep.conftest import METRIC, ROOT, sweep

METHOD = str(ROOT / "configs/method/facecycle_contrast.yaml")


def test_a_sweep_of_training_runs(tmp_path, monkeypatch, capsys):
    """The metric of our files is what the run really logs, and its settings are the trial's."""
    monkeypatch.setattr(engine, "executor", InProcess())
    faces = {"count": 1200, "people": 600, "size": 32, "nuisances": "none"}
    data = {"class_path": "ssl_faces.rendered.RenderedFaces", "init_args": faces}
    (tmp_path / "few.yaml").write_text(yaml.safe_dump({"data": {"sets": [data]}}))
    of_ours = yaml.safe_load((ROOT / "configs/sweep/hybrid_independence.yaml").read_text())
    # fmt: off
    command = [
        "ssl-faces", "fit", "-c", METHOD, "-c", str(tmp_path / "few.yaml"),
        "--data.size=32", "--data.batch_size=4", f"--data.cache={tmp_path / 'packed'}",
        "--model.encoder.name=resnet18", "--model.encoder.input_size=32",
        "--model.encoder.width=0.0625", "--model.code_dim=16", "--trainer.accelerator=cpu",
        "--trainer.devices=1", "--trainer.precision=32-true", "--trainer.max_steps=2",
        "--trainer.max_epochs=-1", "--trainer.enable_model_summary=false", "--probe_every=1",
        "--panels_every=1", "${args}",
    ]
    # fmt: on
    path = tmp_path / "sweep.yaml"
    parameters = {"model.independence_weight": {"values": [0.0, 2.5]}}
    content = {**of_ours, "command": command, "parameters": parameters}
    path.write_text(yaml.safe_dump(content))
    assert content["metric"]["name"] == METRIC
    out = tmp_path / "out"
    assert sweep(path, out) == 0
    assert capsys.readouterr().out.count("kept back from training") == 2
    notes = read_notes(out)
    assert [note["state"] for note in notes] == ["complete", "complete"]
    for note, weight in zip(notes, (0.0, 2.5), strict=True):
        run = out / "trials" / note["folder"]
        settings = yaml.safe_load((run / "config.yaml").read_text())
        assert settings["model"]["init_args"]["independence_weight"] == weight
        card = json.loads((run / "encoder/card.json").read_text())
        assert note["value"] == pytest.approx(card["online"]["figures"][METRIC], abs=1e-3)
        assert 0 <= note["value"] <= 100
        assert len(note["values"]) == 2
    page = tmp_path / "page.html"
    assert main(["dashboard", str(out), "--out", str(page)]) == 0
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    data_of = json.loads(found[1])
    assert data_of["objective"] == METRIC
    assert [run["settings"]["model.independence_weight"] for run in data_of["runs"]] == [0.0, 2.5]
    assert all([one["step"] for one in run["panels"]] == [1, 2] for run in data_of["runs"])
    assert any(name.startswith("online/rank/") for name in data_of["metrics"]["Collapse"])
