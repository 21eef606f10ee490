"""A job from its file: its stages in turn, its scores, and what is not done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import yaml

from linear_probe.arguments import parser
from ssl_faces.cli import main
from ssl_faces.common import children
from ssl_faces.plan.job.settings import read
from ssl_faces.plan.runs import find_runs
from ssl_faces.training.fit import check
from ssl_faces.training.run_record import claim, read_run, state_of
from tests.compare.conftest import ROOT, stage1
from tests.job.conftest import Write, job

EXPERIMENTS = sorted((ROOT / "configs/experiment").glob("*.yaml"))


def test_stages_then_scores_then_nothing_anew(
    write: Write, tmp_path: Path, in_process: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, path = tmp_path / "out", write()
    assert job(path, out) == 0
    assert [words[0] for words in in_process] == ["fit", "fit", "run", "report"]
    first, second = in_process[:2]
    assert f"--model.motion_checkpoint={out}/motion/checkpoints/last.ckpt" in second
    assert [first[first.index(x) + 1] for x in ("--seed_everything", "--data.seed")] == ["3", "3"]
    assert in_process[2][:3] == ["run", "--encoder", str(out / "identity")]
    assert (out / "report.html").is_file()
    assert (out / "job.yaml").read_bytes() == path.read_bytes()

    # All that is needed to know a run and to repeat it.
    about = read_run(out / "motion")
    assert about is not None
    (session,) = about["sessions"]
    assert session["command"][1:] == first
    assert session["state"] == "finished"
    assert session["step"] == 2
    assert about["packages"]["torch"]
    assert about["seed"] == {"seed_everything": 3, "data": 3}
    assert yaml.safe_load((out / "motion/config.yaml").read_text())["model"]["class_path"]
    for kept in ("csv/version_0/metrics.csv", "panels", "checkpoints/last.ckpt", "encoder"):
        assert (out / "motion" / kept).exists(), kept

    # The list of runs: the job with its scores, and its stages.
    found = {one.folder: one for one in find_runs([tmp_path])}
    assert [found[out / name].state for name in (".", "motion", "identity")] == ["finished"] * 3
    assert found[out / "motion"].method == "FaceCycleMotion"
    assert found[out / "motion"].step == 2
    (record,) = found[out].records
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

    in_process.clear()
    assert job(path, out) == 0
    assert [words[0] for words in in_process] == ["report"]
    # Other scores are no other run; another setting of a stage that was begun is.
    assert job(write(probe=None), out) == 0
    in_process.clear()
    assert job(write(seed=4), out) == 2
    assert "motion was begun with other settings (seed was 3 and is 4 now)" in (
        capsys.readouterr().err
    )
    assert in_process == []
    # What failed before its first checkpoint binds nothing: the next stage is the one that does.
    kept = (out / "motion/checkpoints/last.ckpt").rename(tmp_path / "kept")
    assert job(write(seed=4), out) == 2
    assert "identity was begun with other settings" in capsys.readouterr().err
    kept.rename(out / "motion/checkpoints/last.ckpt")
    # Deleted, a stage is trained anew.
    shutil.rmtree(out / "identity")
    assert job(write(probe=None), out) == 0
    assert [words[0] for words in in_process] == ["fit"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"stage": {}}, "stage: unknown key"),
        ({"stages": {"a": {"configs": ["configs/method/none.yaml"]}}}, "none.yaml: no such file"),
        ({"stages": {}}, "stages: "),
        ({"stages": {"probe": {"configs": ["x"]}}}, "'probe' is the folder of the scores"),
        ({"arguments": {"out": "x"}}, "'out' follows from the job; leave it out"),
        ({"seed": -1}, "seed: "),
        ({"probe": {"tasks": "pose"}}, "probe.tasks: unknown key"),
        ({"arguments": {"x": "{previous}/y"}}, "{previous} in the first stage"),
    ],
)
def test_files_that_are_no_job(
    changed: dict[str, object],
    said: str,
    write: Write,
    tmp_path: Path,
    in_process: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert job(write(**changed), tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert in_process == []


def test_a_wrong_key_of_the_second_stage_is_told_before_the_first(
    write: Write, tmp_path: Path, in_process: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    content = yaml.safe_load(path.read_text())
    content["stages"]["identity"]["arguments"]["model.colour"] = "red"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    assert job(path, tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert f"{path}: stages.identity: configuration" in message
    assert "colour" in message
    content["stages"]["identity"]["arguments"] = {"model": "ssl_faces.methods.none.Nothing"}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    assert job(path, tmp_path / "out") == 2
    assert "Nothing" in capsys.readouterr().err
    assert in_process == []


def test_a_stage_that_fails_is_told_and_kept(
    write: Write, tmp_path: Path, in_process: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    path = write()
    content = yaml.safe_load(path.read_text())
    content["stages"]["identity"]["arguments"]["data.cache"] = "/dev/null/packed"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    assert job(path, out) == 2
    assert "stages.identity: code 2; what was done is kept" in capsys.readouterr().err
    states = [state_of(out / name) for name in (".", "motion", "identity")]
    assert states == ["failed", "finished", "failed"]
    assert "failed: " in _listed(tmp_path, capsys)


@pytest.mark.parametrize(
    ("number", "at", "queued"),
    [
        (signal.SIGINT, "run", False),
        (signal.SIGTERM, "fit", False),  # the stage itself sees to that
        (signal.SIGTERM, "run", True),
        (signal.SIGUSR1, "run", True),  # Slurm's warning before the time limit
    ],
)
def test_a_stopped_job_says_how_to_go_on(
    number: signal.Signals,
    at: str,
    queued: bool,
    write: Write,
    tmp_path: Path,
    in_process: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A real signal, in a stage or while it is scored; Slurm puts it back into its queue."""
    slurm = tmp_path / "slurm"
    slurm.mkdir()
    (slurm / "scontrol").write_text(
        f'#!/bin/sh\necho "$@" JobState=RUNNING | tee -a {slurm}/asked\n'
    )
    (slurm / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{slurm}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    real = children.run

    def stopped(module: str, words: list[str], log: Path, lock: int) -> None:
        if words[0] == at:
            os.kill(os.getpid(), number)
            signal.sigtimedwait([], 0.01)  # it is heard by now
        real(module, words, log, lock)

    def deaf_no_more(_: object, __: object) -> None:
        pass

    inherited = signal.signal(number, deaf_no_more)  # tests may run under `nohup`
    out, path = tmp_path / "out", write(stages={"motion": stage1()})
    with monkeypatch.context() as patch:
        patch.setattr(children, "run", stopped)
        assert job(path, out) == 128 + number
    assert signal.signal(number, inherited) is deaf_no_more
    said = capsys.readouterr().out
    assert f"the same command goes on: ssl-faces job -c {path} --out {out}" in said
    assert ("Slurm job 77 is queued again" in said) is queued
    assert ((slurm / "asked").exists() and "requeue 77" in (slurm / "asked").read_text()) is queued
    about = read_run(out)
    assert about is not None
    assert about["sessions"][-1]["state"] == "stopped"
    assert about["sessions"][-1]["said"] == number.name
    monkeypatch.delenv("SLURM_JOB_ID")
    in_process.clear()
    assert job(path, out) == 0
    assert [words[0] for words in in_process] == [
        *(["fit"] if at == "fit" else []),
        "run",
        "report",
    ]
    assert state_of(out) == "finished"


def _listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["runs", str(folder)]) == 0
    return capsys.readouterr().out


def test_a_folder_that_another_has_or_nobody_may_write(
    write: Write,
    tmp_path: Path,
    in_process: list[list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, path = tmp_path / "out", write()
    monkeypatch.setattr("ssl_faces.training.run_record.PATIENCE", 0.0)
    # A run alone, too: before it builds or writes anything.
    words = read(path).words("motion", out)
    held = claim(out)
    assert job(path, out) == 2
    assert "a job, or a run that one has started, is still at work in it" in capsys.readouterr().err
    (out / "motion").mkdir()
    other = claim(out / "motion")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"{out}/motion: another run is at work in it (process {os.getpid()} on" in said
    assert sorted(p.name for p in (out / "motion").iterdir()) == ["run.lock"]
    for handle in (held, other):
        os.close(handle)
    (tmp_path / "file").write_text("")
    assert job(path, tmp_path / "file" / "out") == 2
    assert "file/out: can't be written" in capsys.readouterr().err
    assert main(["runs", str(tmp_path / "none")]) == 2
    assert "none: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_can_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    experiment = read(path)
    assert experiment.probe is not None
    assert f"ssl-faces job -c configs/experiment/{path.name} --out runs/" in path.read_text()
    for stage in experiment.stages:  # `fit` and `linear-probe run` take all of it
        check(experiment.words(stage, Path("out")))
    parser().parse_args(["run", "--encoder", "x", "--out", "y", *experiment.probe.words()])


def test_every_method_has_an_experiment() -> None:
    named = {c for path in EXPERIMENTS for s in read_names(path) for c in s}
    methods = {f"configs/method/{p.name}" for p in (ROOT / "configs/method").glob("*.yaml")}
    assert methods - named <= {"configs/method/facecycle_contrast.yaml"}


def read_names(path: Path) -> list[list[str]]:
    return [stage["configs"] for stage in yaml.safe_load(path.read_text())["stages"].values()]
