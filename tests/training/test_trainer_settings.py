"""Settings of the trainer work, are refused in one sentence, or are named as without effect."""

import logging
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from pytorch_lightning.callbacks import LearningRateMonitor

from ssl_faces.pairs.module import FaceData
from ssl_faces.training import without_effect as module
from ssl_faces.training.fit import check
from ssl_faces.training.trainer_settings import check_trainer
from ssl_faces.training.without_effect import RULES, changed_without_effect, flat, without_effect
from tests.support.fits import fit, refused, twins
from tests.support.refusals import message_of


class Settings(SimpleNamespace):
    """A trainer's, of which the others have no value."""

    def __init__(self, **given):
        usual = {"accelerator": "auto", "devices": "auto", "precision": None}
        lengths = {"max_steps": 20, "max_epochs": None, "max_time": None}
        super().__init__(**{**usual, **lengths, **given})

    def get(self, name):
        return getattr(self, name, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_steps": -1, "max_time": "00:00:00:10"}, "needs the number of steps"),
        ({"max_steps": -1, "max_epochs": -1}, "needs the number of steps"),
        ({"max_steps": 0}, "give at least 1 step"),
        ({"max_epochs": 0}, "give at least 1 epoch"),
        ({"max_time": "bogus"}, "DD:HH:MM:SS"),
        ({"max_time": "00:00:00:00"}, "DD:HH:MM:SS"),
        ({"limit_train_batches": 0}, "at least 1 batch"),
        ({"limit_train_batches": 1.5}, "at least 1 batch"),
        ({"overfit_batches": 2}, "--trainer.limit_train_batches"),
        ({"accumulate_grad_batches": 0}, "at least 1 batch"),
        ({"gradient_clip_val": -1.0}, "0 or more"),
        ({"precision": "bf16-true"}, "32-true, bf16-mixed, 16-mixed"),
        ({"precision": "16-mixed", "accelerator": "cpu"}, "only for CUDA GPUs"),
        ({"enable_checkpointing": False}, "--checkpoint_every"),
        ({"barebones": True}, "leave it out"),
        ({"fast_dev_run": 3}, "--trainer.max_steps 1"),
        ({"num_nodes": 0}, "at least 1 machine"),
        ({"devices": 0}, "at least 1 device"),
        ({"devices": -1, "accelerator": "cpu"}, "the number of processes"),
        ({"devices": [0], "accelerator": "cpu"}, "the number of processes"),
        ({"strategy": "fsdp"}, "give auto, ddp"),
        ({"accelerator": "tpu"}, "give auto, cpu or gpu"),
        ({"accelerator": "gpu"}, "this machine has no GPU"),
        ({"profiler": "bogus"}, "simple, advanced or pytorch"),
    ],
    ids=str,
)
def test_refused(given, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = message_of(check_trainer, Settings(**given))
    name, value = next(iter(given.items()))
    assert f"--trainer.{name} {value}" in text
    assert message in text


@pytest.mark.parametrize(
    "given",
    [
        {"max_steps": -1},
        {"max_steps": -1, "max_epochs": 3, "max_time": "00:00:00:10"},
        {"max_epochs": -1},
        {"limit_train_batches": 1.0, "overfit_batches": 0.0},
        {"devices": "2", "accelerator": "cpu", "strategy": "ddp_spawn", "num_nodes": 2},
        {"devices": 1, "strategy": "ddp_find_unused_parameters_true", "precision": "bf16"},
        {"fast_dev_run": False, "barebones": False, "enable_checkpointing": True},
        {"accelerator": "cpu", "profiler": "simple", "log_every_n_steps": 0},
    ],
    ids=str,
)
def test_taken(given):
    check_trainer(Settings(**given))


def test_nothing_is_written_where_they_are_refused(faces, tmp_path, capsys):
    out = tmp_path / "run"
    refused(capsys, *twins(faces, out, "--trainer.overfit_batches", "2"))
    assert not out.exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--trainer.val_check_interval", "2.5"), "val_check_interval"),
        (("--trainer.limit_train_batches", "0.01"), "limit_train_batches"),
        (
            (
                "--trainer.logger=false",
                f"--trainer.callbacks+={LearningRateMonitor.__module__}.LearningRateMonitor",
            ),
            "LearningRateMonitor",
        ),
    ],
    ids=["the trainer", "its data", "its callbacks"],
)
def test_errors_of_lightning_are_one_sentence(more, message, faces, tmp_path, capsys):
    assert message in refused(capsys, *twins(faces, tmp_path / "run", *more))
    assert not (tmp_path / "run/encoder").exists()


def test_a_run_without_logs(faces, tmp_path, capsys):
    """And the summary of its networks has no wrong FLOPs."""
    summary = ("--trainer.enable_model_summary", "true")
    fit(*twins(faces, tmp_path, "--trainer.logger", "false", "--trainer.max_steps", "1", *summary))
    assert (tmp_path / "encoder/card.json").exists()
    assert not (tmp_path / "csv").exists()
    message = capsys.readouterr()
    assert "parameters in all: " in message.out
    assert "flops" not in (message.out + message.err).lower()


CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "method").glob("*.yaml"))
SIMCLR = ["fit", "-c", str(next(path for path in CONFIGS if path.stem == "simclr"))]
CONTRAST = ["fit", "-c", str(next(path for path in CONFIGS if path.stem == "facecycle_contrast"))]


def whole(path):
    """The settings of a file, over the defaults."""
    result = yaml.safe_load(path.read_text())
    kind_module, _, name = result["model"]["class_path"].rpartition(".")
    method = getattr(import_module(kind_module), name)
    given = result["model"].get("init_args", {})
    arguments = module._of_signature(method)
    for key, value in given.items():
        old = arguments[key]
        arguments[key] = old | value if isinstance(value, dict) and isinstance(old, dict) else value
    data = module._of_signature(FaceData) | result.get("data", {})
    model = {"class_path": result["model"]["class_path"], "init_args": arguments}
    return {"data": data, "model": model, "probe_every": 1000}


def test_no_setting_of_the_configs_is_without_effect():
    """And every rule is about settings of a method with a config."""
    # Presets of the augmentation are strings in configs.
    augmentation = {f"data.augmentation.{name}": 0 for name in ("jitter_share", "jitter", "hue")}
    known = [flat(whole(path)) | augmentation for path in CONFIGS]
    for path in CONFIGS:
        assert changed_without_effect(whole(path)) == {}, path
    for rule in RULES:
        methods = [names for names in known if rule.method in ("", names["model"])]
        assert any({*rule.settings, *rule.causes} <= names.keys() for names in methods), rule


@pytest.mark.parametrize(
    ("command", "more", "result"),
    [
        (SIMCLR, ["--data.flip_share=0.2"], {"data.flip_share": "data.positives is picture"}),
        (SIMCLR, ["--data.flip_share=0.2", "--data.positives=frames"], {}),
        (SIMCLR, ["--data.flip_share=0.5"], {}),
        (
            SIMCLR,
            ["--data.flip_share=0.2", "--data.positives=frames", "--data.different_share=0.8"],
            {"data.flip_share": "data.different_share is 0.8"},
        ),
        (
            SIMCLR,
            ["--data.root=faces", "--data.rendered=9", "--model.optimizer.momentum=0.5"],
            {
                "data.rendered": "data.root is faces",
                "model.optimizer.momentum": "model.optimizer.name is adamw",
            },
        ),
        (
            CONTRAST,
            ["--model.cycle_weight=0", "--model.cycle_share=0.5"],
            {"model.cycle_share": "model.cycle_weight is 0.0"},
        ),
    ],
)
def test_fit_names_settings_without_effect(command, more, result):
    settings = check([*command, *more])
    assert changed_without_effect(settings) == result
    assert result.items() <= without_effect(flat(settings)).items()


def test_flip_share_where_nobody_is_known(faces, tmp_path, caplog):
    data = FaceData(faces, batch_size=2, size=32, flip_share=0.0, cache=tmp_path)
    with caplog.at_level(logging.WARNING):
        data.setup()
    assert ("data.flip_share has no effect" in caplog.text) is not data.has_people
