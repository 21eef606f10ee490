"""A killed and resumed run has the weights of an uninterrupted one."""

import signal
import time

import torch

from tests.support.fits import (
    BATCHES,
    assert_same_weights,
    fit,
    settings,
    start,
    step_of,
    twins,
    weights,
)


def kill_after_first_checkpoint(arguments, run):
    """Start a run, `kill -9` it once it has saved a checkpoint; the checkpoint's step."""
    process = start(run.with_name("printed"), *arguments)
    saved = run / "checkpoints/last.ckpt"
    deadline = time.monotonic() + 300
    while not saved.exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the run was over before it could be killed"
    return step_of(run)


def test_stage_1_killed_and_resumed(faces, motion_run, tmp_path):
    """Within an epoch, and with other workers than before."""
    run = tmp_path / "run"
    longer = settings("motion", faces, run, "--checkpoint_every", "5")
    assert kill_after_first_checkpoint([*longer, "--data.num_workers", "2"], run) % 5 == 0
    fit(*longer, "--data.num_workers", "1", "--ckpt_path", "last")
    assert_same_weights(motion_run, run)


def test_stage_2_killed_and_resumed(faces, motion_run, tmp_path):
    stage1 = ("--model.init_args.motion_checkpoint", str(motion_run / "checkpoints/last.ckpt"))
    whole, run = tmp_path / "whole", tmp_path / "run"
    fit(*settings("identity", faces, whole, *stage1))
    cut = settings("identity", faces, run, *stage1, "--checkpoint_every", "5")
    kill_after_first_checkpoint(cut, run)
    fit(*cut, "--ckpt_path", "last")
    assert_same_weights(whole, run)


def test_a_finished_run_that_is_given_more_steps(faces, tmp_path):
    def run(out, until, *more):
        arguments = settings("motion", faces, out, *more)
        arguments[arguments.index("--trainer.max_steps") + 1] = str(until)
        # Rates by epoch: a cosine's depend on how many steps are planned.
        arguments += ["--model.init_args.peak_learning_rate", "null"]
        fit(*arguments, "--model.init_args.learning_rates", "{0: 1.0e-3, 1: 1.0e-4}")

    run(tmp_path / "whole", BATCHES + 3)
    run(tmp_path / "run", 8)
    run(tmp_path / "run", BATCHES + 3, "--ckpt_path", "last")
    assert step_of(tmp_path / "run") == BATCHES + 3
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


def test_a_run_depends_on_its_seed(faces, tmp_path):
    for name, seed in (("one", "0"), ("again", "0"), ("other", "1")):
        more = ("--trainer.max_steps", "4", "--data.seed", seed)
        fit(*twins(faces, tmp_path / name, *more))
    assert_same_weights(tmp_path / "one", tmp_path / "again", atol=0)
    one, other = weights(tmp_path / "one"), weights(tmp_path / "other")
    assert any(not torch.equal(value, other[name]) for name, value in one.items())
