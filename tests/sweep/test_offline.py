"""Sweeps without a server: every trial once, judged by its figure, whatever is killed."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest

from ssl_faces.common.run_record import claim
from ssl_faces.plan import engine
from ssl_faces.plan.processes import Command
from ssl_faces.plan.sweep import search, trials
from ssl_faces.plan.sweep.search import sampler, suggest
from ssl_faces.plan.sweep.settings import read
from ssl_faces.plan.sweep.study import Place, SweepStudy, read_notes
from tests.support.waiting import eventually
from tests.sweep.conftest import METRIC, ROOT, begun, sweep

UNIFORM = {"x": {"min": -10.0, "max": 10.0}}


def table(out):
    with (out / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def drawn(out):
    return {note["folder"]: note["settings"]["x"] for note in read_notes(out)}


def test_a_grid_runs_each_point_once(write, tmp_path, capsys):
    out, path = tmp_path / "out", write()
    assert sweep(path, out, "--trials", "2") == 0
    assert [(one["folder"], one["given"]["x"]) for one in begun(out)] == [
        ("0000", "1"),
        ("0001", "2"),
    ]
    # With more trials it continues, and with no more it does nothing.
    for _ in range(2):
        assert sweep(path, out) == 0
        assert [one["given"]["x"] for one in begun(out)] == ["1", "2", "3", "4"]
    assert [(row["trial"], row["state"], row[METRIC], row["x"]) for row in table(out)] == [
        ("0002", "complete", "102.0", "3"),
        ("0001", "complete", "101.0", "2"),
        ("0003", "complete", "101.0", "4"),
        ("0000", "complete", "98.0", "1"),
    ]
    assert f"best: {out}/trials/0002" in capsys.readouterr().out
    assert {one["WANDB_RUN_GROUP"] for one in begun(out)} == {"sweep"}


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_numbers_are_drawn_by_the_seed(method, write, tmp_path):
    """Of chance the same for one worker as for three, and after a stop; TPE looks at the trials
    before, and is the same where those are."""
    path = write(("--steps=1",), method=method, parameters=UNIFORM, run_cap=3)
    assert sweep(path, tmp_path / "one") == 0
    found = drawn(tmp_path / "one")
    assert len(set(found.values())) == 3
    assert all(-10 <= value <= 10 for value in found.values())
    assert sweep(path, tmp_path / "halves", "--trials", "1") == 0
    workers = ("--workers", "3") if method == "random" else ()
    assert sweep(path, tmp_path / "halves", *workers) == 0
    assert drawn(tmp_path / "halves") == found
    assert sweep(path, tmp_path / "other", "--seed", "1") == 0
    assert not set(drawn(tmp_path / "other").values()) & set(found.values())


def test_bayes_looks_where_earlier_trials_were_good(write):
    """Once it has some; before, and by chance, everywhere."""
    import optuna

    near = {}
    for method in ("bayes", "random"):
        path = write(method=method, parameters=UNIFORM, run_cap=60)
        found = read(path)
        study = optuna.create_study(direction="maximize")
        for number in range(60):
            study.sampler = sampler(found, 0, number)
            trial = study.ask()
            x = suggest(trial, found.parameters)["x"]
            study.tell(trial, -((x - 3) ** 2))
        distances = [abs(trial.params["x"] - 3) for trial in study.trials[30:]]
        near[method] = sum(distance < 2 for distance in distances) / len(distances)
    assert near["random"] < 0.4
    assert near["bayes"] > 0.5


@pytest.mark.parametrize(
    ("pruner", "executor"), [("file", "local"), ("median", "local"), ("file", "ray")]
)
def test_by_the_pruner_that_is_asked_for(pruner, executor, write, tmp_path, monkeypatch, workers):
    """Trials of x below 0 hang after their first figure unless they are ended for it."""
    monkeypatch.setattr(search, "WARM_UP", 1)
    path = write(
        ("--steps=3", f"--wait={tmp_path / 'never'}"),
        parameters={"x": {"values": [3, -5]}},
        early_terminate={"type": "hyperband", "max_iter": 4, "s": 2, "eta": 2},
    )
    # The first is over before anybody looks at it.
    with monkeypatch.context() as patch:
        patch.setattr(trials, "LOOK", 60)
        (tmp_path / "never").touch()
        assert sweep(path, tmp_path / "out", "--trials", "1") == 0
        (tmp_path / "never").unlink()
    more = ("--pruner", pruner, "--executor", executor)
    assert sweep(path, tmp_path / "out", *more) == 0
    assert len(workers.jobs) == (executor != "local")
    good, bad = table(tmp_path / "out")
    assert (good["state"], bad["state"], bad[METRIC]) == ("complete", "pruned", "36.0")
    assert (tmp_path / "out/trials/0001/checkpoints/last.ckpt").read_text() == "1"


def test_a_killed_run_resumes_from_its_checkpoint(write, tmp_path, capsys):
    path = write(("--kill=2",), parameters={"x": {"values": [3]}})
    assert sweep(path, tmp_path / "out") == 0
    assert [(one["folder"], one["from"]) for one in begun(tmp_path / "out")] == [
        ("0000", 0),
        ("0000", 2),
    ]
    assert [row[METRIC] for row in table(tmp_path / "out")] == ["102.0"]
    assert "killed by signal 9" in capsys.readouterr().out


def test_a_run_that_is_always_killed_fails(write, tmp_path):
    path = write(("--kill=0",), parameters={"x": {"values": [3]}})
    # Nothing was saved before it.
    assert sweep(path, tmp_path / "out") == 2
    assert len(begun(tmp_path / "out")) == 4


def command(path, out, *more):
    return [sys.executable, "-m", "ssl_faces.cli", "sweep", str(path), "--out", str(out), *more]


def test_killed_workers_lose_no_trial_and_run_none_twice(write, tmp_path, capsys):
    """`kill -9` of a command with two workers: one of the runs is killed with it, and one goes on
    as an orphan. A second command does the rest meanwhile, and then both."""
    out, gate = tmp_path / "out", tmp_path / "gate"
    path = write((f"--wait={gate}",), parameters={"x": {"values": [1, 2, 3, 4, 5]}})
    first = subprocess.Popen(command(path, out, "--workers", "2"), stdout=subprocess.DEVNULL)
    checkpoints = [out / f"trials/000{i}/checkpoints/last.ckpt" for i in (0, 1)]
    eventually(lambda: all(one.exists() for one in checkpoints))
    processes = [int((out / f"trials/000{i}.lock").read_text().split()[1]) for i in (0, 1)]
    first.kill()
    first.wait()
    os.kill(processes[0], signal.SIGKILL)

    def open_the_gate():
        eventually(lambda: len(begun(out)) >= 4)
        gate.touch()

    opener = threading.Thread(target=open_the_gate)
    opener.start()
    assert sweep(path, out, "--workers", "2") == 0
    opener.join()
    starts = Counter(one["folder"] for one in begun(out))
    # The orphan ended by itself; queued again it had nothing left to do.
    assert starts == {"0000": 2, "0001": 2, "0002": 1, "0003": 1, "0004": 1}
    assert [one["from"] for one in begun(out) if one["folder"] == "0001"] == [0, 3]
    assert sorted(row[METRIC] for row in table(out)) == ["101.0", "101.0", "102.0", "98.0", "98.0"]
    assert "trial 0000: resumes: x=1" in capsys.readouterr().out


def test_two_commands_share_one_study(write, tmp_path):
    out = tmp_path / "out"
    path = write(("--steps=1", "--sleep=0.1"), method="random", parameters=UNIFORM, run_cap=8)
    other = subprocess.Popen(command(path, out, "--workers", "2"), stdout=subprocess.PIPE)
    eventually(lambda: len(begun(out)) > 0)
    assert sweep(path, out, "--workers", "2") == 0
    output = other.communicate()[0].decode()
    assert other.returncode == 0
    assert Counter(one["folder"] for one in begun(out)) == {f"{i:04d}": 1 for i in range(8)}
    assert 0 < len(re.findall(r"^trial \d+: x=", output, re.MULTILINE)) < 8  # both had some


def test_a_trial_that_another_has_continued_is_left_to_it(write, tmp_path, monkeypatch, capsys):
    """As after a machine was suspended: its worker's result does not count."""
    out = tmp_path / "out"
    path = write(("--steps=1",), parameters={"x": {"values": [3]}})

    def start(*arguments):
        study = SweepStudy(read(path), path, Place(out, None, "sweep"), 0, 1)
        if len(study.trials()) == 1:
            study.retry(0)
        return Command(*arguments)

    monkeypatch.setattr(engine, "executor", start)
    assert sweep(path, out) == 0
    assert "trial 0000: another worker has it now" in capsys.readouterr().out
    assert [row["state"] for row in table(out)] == ["complete"]
    assert len(begun(out)) == 2


def test_a_trial_waits_for_an_orphaned_run_of_it(write, tmp_path, capsys):
    out, held = tmp_path / "out", threading.Event()

    def orphan():
        lock = claim(out / "trials", "0000.lock")
        held.set()
        eventually(lambda: len(begun(out)) == 2)
        os.close(lock)

    thread = threading.Thread(target=orphan)
    thread.start()
    held.wait()
    assert sweep(write(parameters={"x": {"values": [1, 2, 3]}}), out) == 0
    thread.join()
    assert [one["folder"] for one in begun(out)] == ["0001", "0002", "0000"]
    assert "trial 0000: waiting, as " in capsys.readouterr().out


def test_machines_share_a_database(write, tmp_path):
    """A trial of another machine that has stopped sending heartbeats is continued here."""
    import optuna

    url = f"sqlite:///{tmp_path / 'shared.db'}"
    path = write(("--steps=1",), method="random", parameters=UNIFORM, run_cap=3, name="s.yaml")
    there = Place(tmp_path / "there", url, "s")
    study = SweepStudy(read(path), path, there, 0, 3)
    study.add({})
    trial = study.study.ask()
    study.storage.record_heartbeat(trial._trial_id)
    optuna.storages.fail_stale_trials(study.study)
    assert study.trials()[0].state.name == "RUNNING"
    assert sweep(path, tmp_path / "here", "--storage", url) == 0
    found = optuna.load_study(study_name="s", storage=url).get_trials()
    assert [one.state.name for one in found] == ["FAIL", *["COMPLETE"] * 3]
    assert sorted(one["folder"] for one in begun(tmp_path / "here")) == ["0000", "0001", "0002"]


def test_notes_are_whole(write, tmp_path):
    """What a dashboard, or a study begun anew, has of a trial."""
    values = [[0.6, 1.0], "a b", True]
    path = write(("--steps=1",), parameters={"y": {"values": [*values, "a b"]}, "x": {"value": 2}})
    assert sweep(path, tmp_path / "out") == 0
    notes = read_notes(tmp_path / "out")
    assert [note["settings"] for note in notes] == [{"y": y, "x": 2} for y in values]
    assert [one["given"]["y"] for one in begun(tmp_path / "out")] == ["[0.6, 1.0]", "a b", "True"]
    assert all(note["values"] == [99.0] and note["state"] == "complete" for note in notes)
    about = json.loads((tmp_path / "out/sweep.json").read_text())
    assert about["metric"] == {"name": METRIC, "goal": "maximize"}
    assert str(ROOT) not in json.dumps(about["parameters"])
