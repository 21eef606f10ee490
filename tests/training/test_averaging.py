"""The average of the weights that `--ema_decay` saves: a closed form, resume, and its release."""

import torch

from ssl_faces import load_encoder
from ssl_faces.apps.release import release
from ssl_faces.common.checkpoints import read_checkpoint
from ssl_faces.common.errors import InputError
from ssl_faces.methods.facecycle_contrast import FaceCycleContrast
from tests.support.fits import method_run, run

DECAY = 0.2


def test_the_average_of_three_steps(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    weights = []

    def record(self, *_):
        weights.append({k: v.clone() for k, v in self.state_dict().items()})

    monkeypatch.setattr(FaceCycleContrast, "on_train_batch_end", record)

    def train(name, *more):
        small = ("--model.code_dim", "8", "--model.decoder_width", "4", "--trainer.max_steps", "3")
        rendered = ("--data.positives", "person", "--checkpoint_every", "2")
        arguments = (*small, *rendered, "--ema_decay", str(DECAY), *more)
        place = (tmp_path, tmp_path / name)
        return run(*method_run("facecycle_contrast", "resnet18", *place, *arguments))

    assert train("whole", "--probe_every", "1", "--panels_every", "1") == 0
    average = weights[0]
    for step, now in enumerate(weights[1:], 2):
        decay = min(DECAY, step / (step + 9))
        average = {
            k: decay * average[k] + (1 - decay) * v if v.is_floating_point() else v
            for k, v in now.items()
        }
    saved = read_checkpoint(tmp_path / "whole/checkpoints/last.ckpt")
    torch.testing.assert_close(saved["state_dict"], average)
    # Probes and panels of the average leave the weights as they were.
    assert all(torch.equal(v, weights[2][k]) for k, v in saved["current_model_state"].items())
    encoder = load_encoder(tmp_path / "whole")
    assert encoder.card["ema_decay"] == DECAY
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, saved["state_dict"][f"encoder.{name}"])
    release(tmp_path / "whole", "mean", tmp_path / "released")  # of one step with its encoder

    step_of = FaceCycleContrast.training_step

    def stops(self, batch, index):
        if self.trainer.global_step == 2:
            raise InputError("stopped")
        return step_of(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(FaceCycleContrast, "training_step", stops)
        assert train("cut") == 2
    capsys.readouterr()
    assert train("cut", "--ckpt_path", "last", "--ema_decay", "0.3") == 2
    assert "can't resume with other settings: --ema_decay 0.3 (was 0.2)" in capsys.readouterr().err
    assert train("cut", "--ckpt_path", "last") == 0
    resumed = read_checkpoint(tmp_path / "cut/checkpoints/last.ckpt")
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(v, resumed[key][k]) for k, v in saved[key].items()), key
