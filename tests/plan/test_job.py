"""A job from its file: its stages in turn, its scores, and what is not done twice."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from linear_probe.cli import parser
from ssl_faces.cli import main
from ssl_faces.common.run_record import claim, read_run, state_of
from ssl_faces.plan.job import read
from ssl_faces.plan.runs import find_runs
from ssl_faces.training.catalogue import method_entries
from ssl_faces.training.fit import check
from tests.plan.conftest import ROOT, stage1, stage2, write_plan
from tests.support.commands import refusal

EXPERIMENTS = sorted((ROOT / "configs/experiment").glob("*.yaml"))


@pytest.fixture
def write(tmp_path, common):
    """Writes a job of FaceCycle's two stages, two steps each; keys replace its own."""

    def write(**changed):
        length = {"trainer.max_steps": 2, "trainer.log_every_n_steps": 1}
        content = {
            "seed": 3,
            "configs": common["configs"],
            "arguments": {**common["arguments"], **length},
            "stages": {"motion": stage1(), "identity": stage2()},
            "probe": {"task": "pose", "data": "rendered:60", "bootstrap": 20, "device": "cpu"},
            **changed,
        }
        return write_plan(tmp_path / "job.yaml", content)

    return write


def job(path, out):
    return main(["job", "-c", str(path), "--out", str(out)])


def test_stages_then_scores_then_nothing_anew(write, tmp_path, in_process, capsys):
    out, path = tmp_path / "out", write()
    assert job(path, out) == 0
    assert in_process.verbs == ["fit", "fit", "run", "report"]
    first, second, scores, _ = in_process.calls
    assert f"--model.motion_checkpoint={out}/motion/checkpoints/last.ckpt" in second
    assert [first[first.index(x) + 1] for x in ("--seed_everything", "--data.seed")] == ["3", "3"]
    assert scores[:3] == ["run", "--encoder", str(out / "identity")]
    assert (out / "report.html").is_file()
    assert (out / "job.yaml").read_bytes() == path.read_bytes()

    # All that is needed to know a run and to repeat it.
    about = read_run(out / "motion")
    (session,) = about["sessions"]
    assert session["command"][1:] == first
    assert (session["state"], session["step"]) == ("finished", 2)
    assert about["packages"]["torch"]
    assert about["seed"] == {"seed_everything": 3, "data": 3}
    assert yaml.safe_load((out / "motion/config.yaml").read_text())["model"]["class_path"]
    for kept in ("csv/version_0/metrics.csv", "panels", "checkpoints/last.ckpt", "encoder"):
        assert (out / "motion" / kept).exists(), kept

    # The list of runs: the job with its scores, and its stages.
    runs = {run.folder: run for run in find_runs([tmp_path])}
    assert [runs[out / name].state for name in (".", "motion", "identity")] == ["finished"] * 3
    assert (runs[out / "motion"].method, runs[out / "motion"].step) == ("FaceCycleMotion", 2)
    assert runs[out].progress == "4 of 4"
    (record,) = runs[out].records
    rows = [json.loads(x) for x in (out / "probe/records.jsonl").read_text().splitlines()]
    of_encoder = [
        r for r in rows if r["encoder"] == str(out / "identity") and r["metric"] == "MAE yaw"
    ]
    best = min(of_encoder, key=lambda r: r["hyperparameters"]["validation"]["MAE"])
    assert record["feature_space"] == best["feature_space"]
    assert len(of_encoder) > 1
    capsys.readouterr()
    assert main(["runs", str(tmp_path)]) == 0
    assert f"pose MAE yaw {best['value']:.2f}°" in capsys.readouterr().out

    in_process.calls.clear()
    assert job(path, out) == 0
    assert in_process.verbs == ["report"]
    # Other scores don't change a run; another setting of a stage that was begun does.
    assert job(write(probe=None), out) == 0
    in_process.calls.clear()
    for name, kept in (("motion", False), ("identity", True)):
        # A stage that failed before its first checkpoint restricts nothing.
        if kept:
            (out / "motion/checkpoints/last.ckpt").rename(tmp_path / "kept")
        message = f"{name} was begun with other settings (seed was 3 and is 4 now)"
        assert message in refusal(capsys, "job", "-c", write(seed=4), "--out", out)
    (tmp_path / "kept").rename(out / "motion/checkpoints/last.ckpt")
    assert in_process.calls == []
    # A stage that was deleted is trained anew.
    shutil.rmtree(out / "identity")
    assert job(write(probe=None), out) == 0
    assert in_process.verbs == ["fit"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stage": {}}, "stage: unknown key (did you mean stages?)"),
        ({"stages": {"a": {"configs": ["configs/method/none.yaml"]}}}, "none.yaml: no such file"),
        ({"stages": {"probe": {"configs": ["x"]}}}, "'probe' is the folder of the scores"),
        ({"arguments": {"out": "x"}}, "'out' follows from the plan; leave it out"),
        ({"probe": {"tasks": "pose"}}, "probe.tasks: unknown key"),
        ({"arguments": {"x": "{previous}/y"}}, "{previous} in the first stage"),
        # Of a later stage, before the first is trained.
        (
            {"stages": {"a": stage1(), "b": stage2(**{"model.colour": 1})}},
            "stages.b: configuration",
        ),
        ({"stages": {"a": stage1(), "b": stage2(model="ssl_faces.methods.No")}}, "ssl_faces.metho"),
    ],
)
def test_invalid_files(changed, message, write, tmp_path, in_process, capsys):
    path = write(**changed)
    error = refusal(capsys, "job", "-c", path, "--out", tmp_path / "out")
    assert error.startswith(f"{path}: ")
    assert message in error
    assert in_process.calls == []


def test_a_stage_that_fails_ends_the_job(write, tmp_path, in_process, capsys):
    out = tmp_path / "out"
    stages = {"motion": stage1(**{"data.cache": "/dev/null/packed"}), "identity": stage2()}
    assert job(write(stages=stages), out) == 2
    assert "stages.motion: code 2; what was done is kept" in capsys.readouterr().err
    assert in_process.verbs == ["fit"]
    states = [state_of(out / name) for name in (".", "motion", "identity")]
    assert states == ["failed", "failed", None]
    assert main(["runs", str(tmp_path)]) == 0
    assert "failed: " in capsys.readouterr().out
    assert "none: no such folder" in refusal(capsys, "runs", tmp_path / "none")


def test_a_run_in_a_folder_that_another_has(write, tmp_path, monkeypatch, capsys):
    """It is refused before it builds or writes anything."""
    monkeypatch.setattr("ssl_faces.common.run_record.PATIENCE", 0.0)
    out = tmp_path / "out"
    motion, _ = read(write()).steps(out)
    held = claim(out / "motion")
    assert main(list(motion.argv[1:])) == 2
    message = f"{out}/motion: another run is at work in it (process {os.getpid()} on"
    assert message in capsys.readouterr().err
    assert sorted(p.name for p in (out / "motion").iterdir()) == ["run.lock"]
    os.close(held)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_can_be_read(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    experiment = read(path)
    assert experiment.probe is not None
    assert f"ssl-faces job -c configs/experiment/{path.name} --out runs/" in path.read_text()
    for step in experiment.steps(Path("out")):  # `fit` and `linear-probe run` accept all of it
        check(step.argv[1:])
    parser().parse_args(["run", "--encoder", "x", "--out", "y", *experiment.probe.words()])


def test_every_method_has_an_experiment():
    texts = [path.read_text() for path in EXPERIMENTS]
    for entry in method_entries():
        files = [f"configs/method/{name}.yaml" for name in entry.configs]
        assert any(file in text for file in files for text in texts), entry.name
