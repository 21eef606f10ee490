"""What is found in runs' folders, and what is made of broken ones."""

from pathlib import Path

import pytest

from ssl_faces.apps.dashboard.gather import SweepOf, gather, varied
from ssl_faces.apps.dashboard.importance import importances
from ssl_faces.common.errors import InputError
from ssl_faces.training.logged import read_logged
from tests.dashboard.conftest import PROBE, write_records, write_run


def write_csv(run, version, text):
    path = run / f"csv/version_{version}/metrics.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_figures_of_a_run_that_was_stopped(tmp_path):
    """Killed at step 5, it went on from its checkpoint at step 3: later figures are right."""
    write_csv(tmp_path, 0, "loss,step\n1,1\n2,2\n3,3\n4,4\n5,5\n")
    write_csv(tmp_path, 10, "loss,step,rank\n40,4,7\n")
    assert read_logged(tmp_path) == {"loss": {1: 1, 2: 2, 3: 3, 4: 40}, "rank": {4: 7}}


def test_figures_that_are_none(tmp_path):
    """Empty, not finite or half-written ones are passed over, and lines of another shape."""
    write_csv(tmp_path, 0, "loss,epoch,step\n1,0,1\n,0,2\nnan,0,3\ninf,0,4\nx,0,5\n2,0,6\n9,0,1")
    assert read_logged(tmp_path) == {"loss": {1: 1, 6: 2}}
    write_csv(tmp_path, 0, "loss,epoch,step\n1,0\n2,0,7,8,9\n3,0,abc\n")
    assert read_logged(tmp_path) == {}
    assert read_logged(tmp_path / "none") == {}


def test_a_comparison(comparison):
    found = gather([comparison])
    assert [run.method for run in found.runs] == ["hybrid", "simclr"]
    assert [run.name for run in found.runs] == ["hybrid/seed0/stage1", "simclr/seed0/stage1"]
    assert found.runs[0].curves[PROBE] == {100: 39.0, 200: 44.0}
    assert list(found.runs[0].panels) == [100, 200]
    assert [(one["encoder"].rpartition("/")[2], one["run"]) for one in found.probes] == [
        ("stage1", "hybrid/seed0/stage1"),
        ("stage1", "simclr/seed0/stage1"),
        ("HOG", None),
    ]
    assert found.objective == PROBE
    assert varied(found.runs) == ["model.class_path"]


def test_a_sweep(swept):
    found = gather([swept])
    assert [run.name for run in found.runs] == [f"trials/{i:04d}" for i in range(6)]
    assert found.runs[4].settings["model.temperature"] == 0.1
    assert found.objective == PROBE
    shares, why = importances(found.sweeps[0])
    assert why == ""
    assert list(shares) == ["model.independence_weight", "model.temperature"]
    # Only the one has anything to do with the figure.
    assert shares["model.independence_weight"] > 0.95
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(found.sweeps[0]) == (shares, "")
    found.sweeps[0].notes[:] = found.sweeps[0].notes[:3]
    assert importances(found.sweeps[0]) == (
        {},
        "3 trials are complete; 4 are needed for importances",
    )


def test_runs_by_themselves(tmp_path):
    """Equal names are prefixed by their folders; a run given twice is there once."""
    first, second = write_run(tmp_path / "a/run", 1.0), write_run(tmp_path / "b/run", 2.0)
    write_records(first / "probe/records.jsonl", "runs/run", 45.0)
    found = gather([first, second, first])
    assert [run.name for run in found.runs] == ["a/run", "b/run"]
    assert varied(found.runs) == ["model.independence_weight"]
    assert [one["run"] for one in found.probes] == ["a/run"]


def test_what_is_broken_is_left_out(swept, tmp_path):
    (swept / "trials/0000/config.yaml").write_text("a: [")
    (swept / "trials/0001.json").write_text("{")
    write_records(swept / "trials/0002/records.jsonl", "x", 1.0)
    with (swept / "trials/0002/records.jsonl").open("a") as file:
        file.write("{broken\n")
    found = gather([swept])
    assert len(found.runs) == 6
    assert len(found.problems) == 2
    assert found.runs[1].trial == {}
    (swept / "sweep.json").write_text('{"metric": 3}')
    assert gather([swept]).sweeps == []
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none: no run in it; give the --out of"):
        gather([tmp_path / "none"])
    with pytest.raises(InputError, match="nowhere: no such folder"):
        gather([tmp_path / "nowhere"])


def test_settings_of_one_value_are_no_axes():
    of = {
        "a": {"value": 1},
        "b": {"values": [0]},
        "c": {"values": [0, 1]},
        "d": {"min": 0, "max": 1},
    }
    assert SweepOf(Path(), {"parameters": of}, []).parameters == ["c", "d"]
