"""Runs stopped by Ctrl-C, SIGTERM or Slurm resume as if they had not been stopped."""

import os
import signal

import pytest

from ssl_faces.common.run_record import read_run, state_of
from tests.support.fits import (
    assert_close,
    assert_same_weights,
    fit,
    run,
    start,
    step_of,
    twins,
    weights,
)
from tests.support.waiting import eventually

SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


@pytest.fixture
def scontrol(tmp_path):
    """A folder for PATH with a fake `scontrol`: it logs its arguments to `asked`, prints the
    contents of `state`, and refuses to requeue if `refuse` exists."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    script = folder / "scontrol"
    script.write_text(
        "#!/bin/sh\n"
        f'cd "{folder}" || exit 9\n'
        'echo "$@" >> asked\n'
        'if [ "$1" = show ]; then echo "JobId=77 JobState=$(cat state) Reason=None"; fi\n'
        'if [ "$1" = requeue ] && [ -e refuse ]; then echo "Requeue disabled" >&2; exit 1; fi\n'
    )
    script.chmod(0o755)
    (folder / "state").write_text("RUNNING")
    return folder


def under_slurm(monkeypatch, scontrol):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{scontrol}:{os.environ['PATH']}")


def asked(scontrol):
    file = scontrol / "asked"
    return file.read_text().splitlines() if file.exists() else []


@pytest.fixture(autouse=True)
def _ctrl_c():
    """Tests in the background may ignore it."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


def stopped(faces, out, number, *more):
    """The exit code of a run that gets a signal in step 7, without earlier checkpoints."""
    sent = ["--model.init_args.signal", str(int(number)), "--model.init_args.signal_at", "7"]
    usual = twins(faces, out, "--checkpoint_every", "999", *sent, *more)
    with pytest.raises(SystemExit) as ended:
        run(*usual)
    return ended.value.code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_its_step_and_the_run_resumes_as_if_uninterrupted(
    number, faces, tmp_path, capsys
):
    def handler(_, __):
        pass

    inherited = signal.signal(number, handler)  # tests may run under `nohup`
    out = tmp_path / "out"
    assert stopped(faces, out, number) == 128 + number
    assert signal.signal(number, inherited) is handler
    assert f"{number.name}: step 7 is saved, the run ends here" in capsys.readouterr().out
    assert step_of(out) == 7
    assert not (out / "encoder").exists()
    about = read_run(out)
    session = about["sessions"][-1]
    assert (session["state"], session["said"]) == ("stopped", f"{number.name} at step 7")
    assert session["step"] == 7
    fit(*twins(faces, out, "--ckpt_path", "last"))
    about = read_run(out)
    assert [one["state"] for one in about["sessions"]] == ["stopped", "finished"]
    if number == signal.SIGINT:
        whole = tmp_path / "whole"
        fit(*twins(faces, whole))
        assert_same_weights(out, whole, atol=0)
        # Resumed again, a finished run saves a damaged encoder again.
        encoder = out / "encoder/encoder.safetensors"
        encoder.write_bytes(encoder.read_bytes()[:-1] + b"x")
        fit(*twins(faces, out, "--ckpt_path", "last"))
        assert_same_weights(out, whole, atol=0)


@pytest.mark.parametrize(
    ("number", "state", "queued"),
    [
        (signal.SIGUSR1, "RUNNING", True),  # Slurm's warning before the time limit
        (signal.SIGTERM, "RUNNING", True),  # pre-empted, in its grace time
        (signal.SIGTERM, "COMPLETING", False),  # by scancel
        (signal.SIGINT, "RUNNING", False),
    ],
)
def test_slurm_queues_again_what_it_stops_itself(
    number, state, queued, faces, tmp_path, scontrol, monkeypatch, capsys
):
    under_slurm(monkeypatch, scontrol)
    (scontrol / "state").write_text(state)
    out = tmp_path / "out"
    assert stopped(faces, out, number) == 128 + number
    assert step_of(out) == 7
    assert ("requeue 77" in asked(scontrol)) is queued
    assert ("Slurm job 77 is queued again" in capsys.readouterr().out) is queued
    # Lightning's file, which it would prefer to newer checkpoints.
    assert not list(out.glob("hpc_ckpt*"))


def test_a_warned_run_that_is_not_requeued_uses_its_time(
    faces, tmp_path, scontrol, monkeypatch, capsys
):
    under_slurm(monkeypatch, scontrol)
    (scontrol / "refuse").write_text("")
    sent = ["--model.init_args.signal", str(int(signal.SIGUSR1)), "--model.init_args.signal_at"]
    fit(*twins(faces, tmp_path / "out", *sent, "7", "--trainer.max_steps", "9"))
    message = capsys.readouterr().out
    assert "step 7 is saved, the run continues; not queued again: scontrol requeue 77: " in message
    assert "Requeue disabled" in message
    assert state_of(tmp_path / "out") == "finished"


def test_a_real_process_pre_empted_and_started_again(faces, tmp_path, scontrol):
    """SIGTERM to all processes of the run, including data loaders, as by Slurm."""
    out = tmp_path / "out"
    words = twins(faces, out, "--data.num_workers", "1", "--trainer.max_steps", "4000")
    words += ["--checkpoint_every", "9999", "--ckpt_path", "last"]
    path, log = f"{scontrol}:{os.environ['PATH']}", tmp_path / "printed/out"
    process = start(log.parent, *words, **SLURM, PATH=path)
    eventually(lambda: " left: " in log.read_text(), 300)
    assert state_of(out) == "running"
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGTERM)
    process.join(120)
    assert process.exitcode == 128 + signal.SIGTERM, log.read_text()[-2000:]
    assert asked(scontrol) == ["show job 77", "requeue 77"]
    assert state_of(out) == "stopped"
    step = step_of(out)
    assert 0 < step < 4000
    # The same command resumes from there; shorter, to save time.
    fit(*twins(faces, out, "--trainer.max_steps", str(step + 3), "--ckpt_path", "last"))
    assert step_of(out) == step + 3
    fit(*twins(faces, tmp_path / "whole", "--trainer.max_steps", str(step + 3)))
    assert_close(weights(out), weights(tmp_path / "whole"))
