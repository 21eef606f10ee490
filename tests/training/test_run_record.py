"""`run.json` of a run's folder, and the list of runs."""

import json
import shutil
import subprocess
from contextlib import suppress

from ssl_faces.cli import main
from ssl_faces.common import run_record
from ssl_faces.common.errors import InputError
from ssl_faces.common.run_record import RunRecord, git_state, read_run, state_of
from ssl_faces.plan.runs import as_text, find_runs
from tests.support.records import ONE


def git(folder, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_codes_commit_and_what_differs_from_it(tmp_path, monkeypatch):
    code = tmp_path / "ssl_faces" / "run_record.py"
    code.parent.mkdir()
    code.write_text("one\n")
    monkeypatch.setattr(run_record, "__file__", str(code))
    assert git_state() == (None, b"")
    git(tmp_path, "init", "-q")
    # Installed within another project's checkout it is not that project's code.
    assert git_state() == (None, b"")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    state, patch = git_state()
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert state == {"commit": commit, "dirty": False, "changed": []}
    assert patch == b""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/x").write_text("no code")
    state, _ = git_state()
    assert not state["dirty"]
    code.write_text("two\n")
    state, patch = git_state()
    assert (state["commit"], state["dirty"]) == (commit, True)
    assert b"-one\n+two\n" in patch

    with RunRecord(["ssl-faces", "fit"]) as record:
        record.begin(tmp_path / "run")
    about = read_run(tmp_path / "run")
    kept = tmp_path / "run" / about["sessions"][0]["uncommitted"]
    # It makes the code of the run from its commit.
    git(tmp_path, "checkout", "-q", "--", ".")
    git(tmp_path, "apply", str(kept))
    assert code.read_text() == "two\n"


def test_how_sessions_end(tmp_path, monkeypatch):
    def session(error):
        with (
            suppress(InputError, KeyboardInterrupt),
            RunRecord(["ssl-faces", "fit", "--out", "x"]) as record,
        ):
            record.begin(tmp_path, seed=5)
            assert state_of(tmp_path) == "running"
            if error is not None:
                raise error
        return state_of(tmp_path)

    assert session(None) == "finished"
    assert session(InputError("no faces;\ngive some")) == "failed"
    assert session(KeyboardInterrupt()) == "stopped"
    about = read_run(tmp_path)
    assert [s["state"] for s in about["sessions"]] == ["finished", "failed", "stopped"]
    assert about["sessions"][1]["said"] == "no faces; give some"
    assert about["seed"] == 5
    # Changed packages are recorded in the later session.
    versions = {**about["packages"], "torch": "0.1"}
    monkeypatch.setattr(run_record, "package_versions", lambda: versions)
    assert session(None) == "finished"
    about = read_run(tmp_path)
    assert about["sessions"][3]["packages"] == {"torch": "0.1"}
    assert about["packages"]["torch"] != "0.1"
    # A killed run: its lock is free.
    about["sessions"][3]["state"] = "running"
    (tmp_path / "run.json").write_text(json.dumps(about))
    assert state_of(tmp_path) == "stopped"
    (tmp_path / "run.json").write_text("{")
    assert state_of(tmp_path) is None


def test_the_list_of_runs(tmp_path, capsys):
    run = tmp_path / "some" / "run"
    with RunRecord(["ssl-faces", "fit"]) as record:
        record.begin(run, method="ssl_faces.methods.simclr.SimCLR")
        for version, rows in (
            (0, "0,10.0,20.5,\n50,31.5,11.25,\n"),
            (1, "100,29.0,14.0,7\nbroken,nan,,\n"),
        ):
            csv = run / f"csv/version_{version}/metrics.csv"
            csv.parent.mkdir(parents=True)
            names = "step,online/expression_knn/pooled,online/yaw_mae/pooled,online/rank/pooled\n"
            csv.write_text(names + rows)
        (result,) = find_runs([tmp_path])
        assert (result.state, result.method, result.step) == ("running", "SimCLR", 100)
        # The best of all steps: the most of an accuracy, the least of an error.
        assert result.online == {"expression_knn": 31.5, "yaw_mae": 11.25}
    job = tmp_path / "job"
    with RunRecord(["ssl-faces", "job"], "job") as record:
        record.begin(job)
    (job / "probe").mkdir()
    own = str(job / "last")
    rows = [
        {"encoder": "pixels", "value": 90.0, "fingerprint": ""},
        {"encoder": f"{own}, untrained", "value": 80.0, "validation": 99.0},
        {"encoder": own, "value": 60.0, "validation": 41.0, "feature_space": "worse"},
        {"encoder": own, "value": 50.0, "validation": 42.0, "feature_space": "chosen"},
        {"encoder": own, "value": 70.0, "metric": "other", "validation": 50.0},
        {"encoder": own, "value": 65.0, "task": "identity", "feature_space": "map"},
        {"encoder": own, "value": 64.0, "task": "identity", "feature_space": "identity"},
    ]
    lines = []
    for row in rows:
        chosen = {"validation": {"accuracy": row["validation"]}} if "validation" in row else {}
        about = json.loads(ONE.to_json()) | {"fingerprint": "abc", "hyperparameters": chosen}
        row.pop("validation", None)
        lines.append(json.dumps(about | row))
    (job / "probe/records.jsonl").write_text("\n".join(lines) + "\n")
    by_folder = {one.folder: one for one in find_runs([tmp_path])}
    assert by_folder[run].state == "finished"
    # Chosen by validation, and where nothing is, by the code's name: never by the test.
    assert [r["value"] for r in by_folder[job].records] == [50.0, 64.0]
    assert main(["runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "expression kNN 31.5 %, yaw 11.2°" in text
    assert "expression accuracy 50.00 %" in text
    assert as_text([]) == "no runs"
    shutil.rmtree(run)
    assert len(find_runs([tmp_path])) == 1
