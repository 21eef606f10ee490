"""Changed settings of a resumed run are applied and recorded, or refused by name."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
import yaml

from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.methods.optimizer import adam, cosine_by_step
from ssl_faces.methods.simclr import SimCLR
from ssl_faces.training.logged import read_logged
from ssl_faces.training.resume import Resumed, read_resumed
from tests.support.fits import checkpoint, fit, refused, settings, step_of, twins
from tests.support.refusals import message_of

LAST = ("--ckpt_path", "last")


@pytest.fixture(scope="module")
def simclr(faces, tmp_path_factory):
    """Arguments of a run of SimCLR, which are those of the motion run but for the method."""
    folder = tmp_path_factory.mktemp("simclr")
    config = folder / "simclr.yaml"
    config.write_text(
        "model:\n  class_path: ssl_faces.methods.simclr.SimCLR\n  init_args:\n"
        "    encoder: {name: resnet18, input_size: 32, width: 0.0625}\n"
        "    optimizer: {warmup_steps: 2}\n"
    )

    def arguments(out, *more):
        usual = settings("motion", faces, out)[3:]
        at = usual.index("--model.init_args.input_size")
        usual = [*usual[:at], "--out", str(out), "--trainer.log_every_n_steps", "1"]
        return ["fit", "-c", str(config), *usual, "--probe_every", "0", *more]

    return arguments


@pytest.fixture(scope="module")
def whole(simclr, tmp_path_factory):
    """A finished run of six steps."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    fit(*simclr(out, "--trainer.max_steps", "6"))
    return out


@pytest.fixture
def copied(whole, tmp_path):
    """A finished run to resume."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def config(run):
    return yaml.safe_load((run / "config.yaml").read_text())


def test_new_rates_and_decay_act_and_are_recorded(simclr, copied, capsys):
    optimizer = "--model.init_args.optimizer"
    more = (f"{optimizer}.peak_learning_rate", "0.05", f"{optimizer}.weight_decay", "0.5")
    fit(*simclr(copied, "--trainer.max_steps", "12", *LAST, *more))
    message = capsys.readouterr().out
    (line,) = [x for x in message.splitlines() if x.startswith("resumed at step 6")]
    assert "peak_learning_rate 0.05 (was 0.001)" in line
    assert "weight_decay 0.5 (was 0.05)" in line
    assert "max_steps 12 (was 6)" in line
    saved, card = checkpoint(copied), json.loads((copied / "encoder/card.json").read_text())
    decayed, others = saved["optimizer_states"][0]["param_groups"]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    assert decayed["initial_lr"] == 0.05
    rates = read_logged(copied)["learning_rate"]
    # A cosine over 12 steps, of which 5 are left.
    assert max(rates.values()) == pytest.approx(rates[7])
    assert 0.02 < rates[7] < 0.04
    assert rates[7] > rates[9] > rates[12] > 0
    for recorded in (
        saved["hyper_parameters"]["optimizer"],
        card["method_settings"]["optimizer"],
        config(copied)["model"]["init_args"]["optimizer"],
    ):
        assert (recorded["peak_learning_rate"], recorded["weight_decay"]) == (0.05, 0.5)
    changed = {one["setting"]: (one["step"], one["before"]) for one in card["changed_on_resume"]}
    assert changed["model.init_args.optimizer.weight_decay"] == (6, 0.05)
    assert changed["trainer.max_steps"] == (6, 6)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.init_args.temperature", 0.5, "temperature 0.5 (was 0.1)"),
        ("model.init_args.optimizer.name", "sgd", "optimizer.name sgd (was adamw)"),
        ("model.init_args.encoder.width", 0.125, "encoder.width 0.125 (was 0.0625)"),
        ("seed_everything", 7, "seed_everything 7 (was 0)"),
        ("seed_everything", False, "seed_everything False (was 0)"),
        ("data.epoch_of", "clips", "data.epoch_of clips (was images)"),
        ("data.batch_size", 4, "data.batch_size 4 (was 2)"),
        ("data.augmentation", "views", "data.augmentation views (was frames)"),
        ("trainer.precision", "bf16-mixed", "trainer.precision bf16-mixed (was 32-true)"),
        ("trainer.accumulate_grad_batches", 2, "accumulate_grad_batches 2 (was 1)"),
        ("trainer.max_steps", 3, "has trained 6 already"),
        # Nothing is left to train with it.
        ("model.init_args.optimizer.weight_decay", 0.5, "no steps are left at step 6"),
    ],
)
def test_changes_that_are_refused_by_name(key, value, message, whole):
    resumed = read_resumed(whole / "checkpoints/last.ckpt", SimCLR)
    given = config(whole)
    assert resumed.check(given, SimCLR) is None
    *sections, name = key.split(".")
    inner = given
    for section in sections:
        inner = inner[section]
    inner[name] = value
    assert message in message_of(resumed.check, given, SimCLR)


def test_settings_that_older_checkpoints_lack(whole):
    resumed = read_resumed(whole / "checkpoints/last.ckpt", SimCLR)
    assert resumed.settings is not None
    for name in ("candidates", "epoch_of"):
        del resumed.settings["data"][name]
    assert resumed.check(config(whole), SimCLR) is None


@pytest.mark.parametrize("path", [LAST[1], "checkpoints/last.ckpt"])
def test_a_refused_run_and_its_record_are_unchanged(path, simclr, whole, capsys):
    before = (whole / "config.yaml").read_bytes()
    resume = ("--ckpt_path", path if path == "last" else str(whole / path))
    more = ("--trainer.max_steps", "8", "--model.init_args.temperature", "0.5")
    message = refused(capsys, *simclr(whole, *more, *resume))
    assert (
        "can't resume with other settings: --model.init_args.temperature 0.5 (was 0.1)" in message
    )
    assert (whole / "config.yaml").read_bytes() == before


def test_the_path_of_a_runs_own_checkpoint_is_as_good_as_last(
    simclr, whole, copied, tmp_path, capsys
):
    path = ("--ckpt_path", str(copied / "checkpoints/last.ckpt"))
    fit(*simclr(copied, "--trainer.max_steps", "8", *path))
    assert step_of(copied) == 8
    # But one run doesn't go on in another's folder.
    text = refused(capsys, *simclr(whole, "--trainer.max_steps", "9", *path))
    assert "holds a run already, and" in text
    # Its settings start a new run.
    assert "ckpt_path" not in (copied / "config.yaml").read_text()
    new = tmp_path / "new"
    words = ("--trainer.max_steps", "2", "--seed_everything", "7", "--out", str(new))
    fit("fit", "-c", str(copied / "config.yaml"), *words)
    assert step_of(new) == 2


def test_more_steps_stretch_a_cosine_without_warnings(recwarn):
    def planned(steps, state=None):
        module = SimpleNamespace(trainer=SimpleNamespace(estimated_stepping_batches=steps))
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        schedule = cosine_by_step(module, optimizer, 2)["scheduler"]
        if state is not None:
            schedule.load_state_dict(state)
        return schedule

    def rates(schedule, steps):
        result = []
        for _ in range(steps):
            result.append(schedule.optimizer.param_groups[0]["lr"])
            schedule.optimizer.step()
            schedule.step()
        return result

    whole = rates(planned(40), 40)
    first = planned(40)
    rates(first, 20)
    # As planned, it equals one that was not stopped.
    assert rates(planned(40, first.state_dict()), 20) == whole[20:]
    finished = planned(20)
    assert rates(finished, 20)[-1] < 0.02
    assert rates(planned(40, finished.state_dict()), 20) == whole[20:]
    # Beyond the plan it stays at the end.
    assert rates(finished, 3) == [0.001] * 3
    assert not recwarn.list


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.near, self.far = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)


def adam_at(steps, rates, decay, state=None):
    """Adam with rates by epoch after `steps` epochs, optionally from a checkpoint's state."""
    module = Line()
    result = adam(module, (decay, 0.999), rates, None, 0, {"far": 0.5})
    optimizer, schedule = result["optimizer"], result["lr_scheduler"]["scheduler"]
    if state is not None:
        optimizer.load_state_dict(state[0])
        schedule.load_state_dict(state[1])
    for _ in range(steps):
        optimizer.step()
        schedule.step()
    return optimizer, schedule


def test_rates_by_epoch_follow_the_settings_of_a_resumed_run():
    first = {0: 1e-3, 2: 1e-4}
    begun = [one.state_dict() for one in adam_at(2, first, 0.5)]

    def groups(rates, beta, steps=0):
        optimizer, _ = adam_at(steps, rates, beta, begun)
        return [(group["lr"], group["betas"][0]) for group in optimizer.param_groups]

    # As if it had not been stopped, then with other settings, then beyond the last key.
    assert groups(first, 0.5) == [(5e-5, 0.5), (1e-4, 0.5)]
    assert groups({0: 1e-3, 2: 4e-4}, 0.9) == [(2e-4, 0.9), (4e-4, 0.9)]
    assert groups({0: 1e-3, 3: 4e-4}, 0.9) == [(5e-4, 0.9), (1e-3, 0.9)]
    assert groups(first, 0.5, 50) == [(5e-5, 0.5), (1e-4, 0.5)]


def test_files_of_frozen_weights_may_move_but_not_change(tmp_path):
    """A moved file is another argument, so its weights are compared."""
    given = {"trainer": {"max_steps": 9, "max_epochs": None}}
    before, now = (
        {**given, "model": {"init_args": {"trunk_weights": name}}} for name in ("old", "new")
    )
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"trunk.a": torch.ones(2), "head": torch.ones(1)}}, path)

    def resumed(trunk):
        one = Resumed(path, 3, 0, before, [])
        assert one.check(now, FaceCycleMotion) is None
        state = {"trunk.a": trunk, "head": torch.zeros(1)}
        one.check_weights(
            SimpleNamespace(by_content=FaceCycleMotion.by_content, state_dict=lambda: state)
        )

    resumed(torch.ones(2))
    text = message_of(resumed, torch.zeros(2))
    assert "trunk_weights new (was old): it holds other weights" in text


def test_a_checkpoint_without_settings(copied):
    path = copied / "checkpoints/last.ckpt"
    content = checkpoint(copied)
    del content["config"]
    torch.save(content, path)
    assert f"{path}: has no settings of a run" in message_of(read_resumed, path, SimCLR)


def test_a_line_about_a_missing_checkpoint(faces, tmp_path, capsys):
    fit(*twins(faces, tmp_path / "my_run", "--trainer.max_steps", "1", *LAST))
    message = capsys.readouterr().out
    assert f"starts a new run: {tmp_path}/my_run/checkpoints/last.ckpt does not exist\n" in message
