"""Settings of `fit` that change nothing beside others are named."""

import logging
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from ssl_faces.pairs.module import FaceData
from ssl_faces.training import without_effect as module
from ssl_faces.training.fit import check
from ssl_faces.training.without_effect import RULES, changed_without_effect, flat, without_effect

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
