"""The W&B workspace, by what it would send: its panels name what our runs log."""

import json

import pytest

from ssl_faces.apps.dashboard.gather import gather
from ssl_faces.cli import main
from tests.dashboard.conftest import PROBE, write_run

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style")


def sections(folder):
    from ssl_faces.apps.dashboard.workspace import workspace

    built = workspace(gather([folder]), "me", "faces")._to_model()
    sent = json.loads(built.model_dump_json(by_alias=True))
    assert (sent["entity"], sent["project"]) == ("me", "faces")
    banks = sent["spec"]["section"]["panelBankConfig"]["sections"]
    return {one["name"]: one["panels"] for one in banks}


def test_panels_of_a_sweep(swept):
    found = sections(swept)
    assert list(found) == [
        "Online probe (held-out training faces, never test)",
        "Settings",
        "Images",
        "Methods compared",
        "Losses",
        "Collapse",
    ]
    (probe,) = found["Online probe (held-out training faces, never test)"]
    assert probe["viewType"] == "Run History Line Plot"
    assert probe["config"]["metrics"] == [PROBE]
    assert probe["config"]["xAxis"] == "trainer/global_step"
    parallel, importance = found["Settings"]
    assert [one["accessor"] for one in parallel["config"]["columns"]] == [
        "config:independence_weight.value",
        "config:temperature.value",
        f"summary:{PROBE}",
    ]
    assert importance["config"]["targetKey"] == PROBE
    (pictures,) = found["Images"]
    assert pictures["config"]["mediaKeys"] == ["panels"]
    assert [one["viewType"] for one in found["Methods compared"]] == ["Bar Chart", "Run Comparer"]
    assert [one["config"]["metrics"] for one in found["Losses"]] == [["loss"], ["loss/cycle"]]
    (rank,) = found["Collapse"]
    assert rank["config"]["metrics"] == ["online/rank/expression"]


def test_it_is_sent_once(comparison, monkeypatch, capsys):
    """An unreachable or refusing W&B is a one-sentence error."""
    from wandb_workspaces.workspaces import interface, internal

    monkeypatch.setattr(interface.wandb, "Api", lambda: None)
    monkeypatch.setattr(interface, "get_app_url", lambda api: "https://wandb.example")
    sent = []

    def upsert(view):
        sent.append(view)
        return {"upsertView": {"view": {"name": "nw-x", "id": "1"}}}

    monkeypatch.setattr(internal, "upsert_view2", upsert)
    assert main(["dashboard", str(comparison), "--wandb", "me/faces"]) == 0
    assert "workspace: https://wandb.example/me/faces?nw=" in capsys.readouterr().out
    assert len(sent) == 1

    def refuse(view):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(internal, "upsert_view2", refuse)
    assert main(["dashboard", str(comparison), "--wandb", "me/faces"]) == 2
    error = capsys.readouterr().err
    assert "W&B did not take the workspace (no route to host)" in error
    assert error.count("\n") == 1
    assert main(["dashboard", str(comparison), "--wandb", "faces"]) == 2
    assert "give ENTITY/PROJECT" in capsys.readouterr().err


def test_runs_that_have_logged_nothing(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    (run / "csv/version_0/metrics.csv").write_text("loss,step\n")
    assert main(["dashboard", str(run), "--wandb", "me/faces"]) == 2
    assert "logged nothing yet" in capsys.readouterr().err
