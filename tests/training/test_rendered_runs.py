"""Runs on rendered faces: beside other sets, and of both stages, scored against the truth."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from linear_probe.cli import main
from linear_probe.experiments.truth.left import LEFT
from linear_probe.records.record import read_records
from ssl_faces import load_method
from ssl_faces.common.errors import InputError
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.rendered import RenderedClips
from tests.support.fits import ROOT, fit, run, settings
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


RENDERED = ROOT / "configs/data/rendered.yaml"


def rendered_runs(folder):
    """Runs of a few steps of stage 1 and 2 on a smaller set of the kind that the config names."""
    config = yaml.safe_load(RENDERED.read_text())
    config["data"]["sets"][0]["init_args"] |= {"clips": 8, "people": 8, "frames": 4}
    few = folder / "few.yaml"
    few.write_text(yaml.safe_dump(config))
    motion, identity = folder / "motion", folder / "identity"
    for stage, out in (("motion", motion), ("identity", identity)):
        more = ["-c", str(few), "--trainer.max_steps", "3"]
        if stage == "identity":
            more += ["--model.motion_checkpoint", str(motion / "checkpoints/last.ckpt")]
        given = settings(stage, folder / "none", out, *more)
        place = given.index("--data.root")
        fit(*given[:place], *given[place + 2 :])
    return motion, identity


def test_the_config_trains_on_frames_of_one_clip_a_person_and_on_no_test_person():
    (entry,) = yaml.safe_load(RENDERED.read_text())["data"]["sets"]
    assert entry["class_path"] == "ssl_faces.rendered.RenderedClips"
    settings_of = entry["init_args"]
    assert settings_of["clips"] == settings_of["people"]
    faces = RenderedClips(**settings_of)
    assert not faces.held_out_people & set(faces.people)
    assert len(faces) > 9000


def test_the_whole_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("linear_probe.experiments.truth.faces._TRAINING", 70)
    motion, identity = rendered_runs(tmp_path)
    card = json.loads((motion / "encoder/card.json").read_text())
    assert [about["name"] for about in card["data"]] == ["rendered_clips"]
    out = tmp_path / "truth"
    arguments = ["truth", "--run", str(motion), "--run", str(identity), "--out", str(out)]
    arguments += ["--count", "16", "--bootstrap", "20", "--device", "cpu", "--batch-size", "5"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "16 rendered faces of 32 px, 3 people" in printed
    records = read_records(out / "records.jsonl")
    errors = {"L1", "SSIM", "face L1", "face SSIM"}
    left = {"mean |yaw|", "expression accuracy"}  # 3 people are too few to verify
    assert {r.metric for r in records if r.task != LEFT} == errors
    assert {r.metric for r in records if r.task == LEFT} == left
    rows = {(r.task, r.encoder) for r in records}
    assert ("identity swap", str(identity)) in rows
    assert ("identity swap", str(motion)) not in rows
    assert ("neutral face", f"{motion}, untrained") in rows
    assert ("frontal face", "return the input") in rows
    assert all(r.low <= r.value <= r.high for r in records)
    assert all(r.n == 16 for r in records if r.metric != "mean |yaw|")
    assert {("motion transfer", str(motion)), ("re-expression", str(motion))} <= rows
    # Stage 2 has stage 1's neutral face; what is trained differs from what is not.
    value = {(r.task, r.encoder, r.metric): r.value for r in records}
    assert value["neutral face", str(motion), "L1"] == pytest.approx(
        value["neutral face", str(identity), "L1"]
    )
    assert value["neutral face", str(motion), "L1"] != pytest.approx(
        value["neutral face", f"{motion}, untrained", "L1"], abs=1e-4
    )
    prints = {r.encoder: r.fingerprint for r in records}
    assert prints["return the input"] == ""
    assert len({prints[str(run)] for run in (motion, identity)}) == 2
    with Image.open(out / "truth.png") as picture:
        assert np.asarray(picture).std() > 10

    # The usual reports read it; a second run of the same replaces its own records only.
    assert main(["report", str(out)]) == 0
    assert "identity swap: rendered faces" in capsys.readouterr().out
    assert main(["compare", str(out), str(motion), "return the input"]) == 0
    assert "neutral face, L1" in capsys.readouterr().out
    again = [*arguments[:3], *arguments[5:], "--no-untrained"]
    assert main(again) == 0
    assert [r.key for r in read_records(out / "records.jsonl")] == [r.key for r in records]
    assert (out / "commands.txt").read_text().count("linear-probe truth") == 2

    # Seen again without the first run: the checkpoint is enough.
    (motion / "checkpoints/last.ckpt").unlink()
    assert load_method(identity).name == "facecycle_identity"
