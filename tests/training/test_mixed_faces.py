"""Rendered clips beside the sets of a folder: the config, and a run that is stopped and resumed."""

import json

import pytest
import torch
import yaml

from ssl_faces.common.errors import InputError
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from tests.support.fits import ROOT, run, settings
from tests.support.noise_sets import lfw, utkface

CONFIG = ROOT / "configs/data/mixed.yaml"


def test_a_mixed_run(tmp_path, monkeypatch, capsys):
    """Its printed shares, its card, and that a resumed run equals an uninterrupted one."""
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "packs"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = tmp_path / "faces"
    lfw(folder / "lfw", {"Ann": 4, "Bob": 1, "Cleo": 1, "Dan": 1}, tested=("Cleo", "Dan"))
    utkface(folder / "utk", 12)
    config = yaml.safe_load(CONFIG.read_text())
    few_clips = {"clips": 4, "people": 4, "frames": 4, "neutral": True}
    config["data"]["sets"][0]["init_args"] |= few_clips
    few = tmp_path / "few.yaml"
    few.write_text(yaml.safe_dump(config))

    def train(name, *more):
        guided = ["--data.neutral_faces", "true", "--model.neutral_weight", "2"]
        given = ["-c", str(few), "--trainer.max_steps", "4", *guided, *more]
        return run(*settings("motion", folder, tmp_path / name, *given))

    assert train("whole") == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if "pairs: " in x)
    assert "pairs: 80 % two images of one person (lfw " in line
    assert "rendered_clips " in line
    assert line.endswith("of 3 partners the one that differs most; 20 % mirror images")
    card = json.loads((tmp_path / "whole/encoder/card.json").read_text())
    assert card["different_share"] == 0.8
    assert card["share_of_pairs_of_two_pictures"] == pytest.approx(0.8)
    by_set = card["share_of_pairs_of_two_pictures_by_set"]
    assert set(by_set) == {"lfw", "rendered_clips"}
    assert sum(by_set.values()) == pytest.approx(0.8)
    assert {about["name"] for about in card["data"]} == {"lfw", "utkface", "rendered_clips"}

    step = FaceCycleMotion.training_step

    def stops(self, batch, index):
        if self.trainer.global_step == 2:
            raise InputError("stopped")
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(FaceCycleMotion, "training_step", stops)
        assert train("cut") == 2
    assert train("cut", "--ckpt_path", "last") == 0
    whole, cut = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=False)["state_dict"]
        for name in ("whole", "cut")
    )
    for name, value in whole.items():
        torch.testing.assert_close(value, cut[name], rtol=0, atol=1e-6, msg=name)
