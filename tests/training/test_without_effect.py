"""Settings of `fit` that change nothing beside others are named."""

from __future__ import annotations

import inspect
import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_faces.data.pairs.module import FaceDataModule
from ssl_faces.training import without_effect as module
from ssl_faces.training.fit import check
from ssl_faces.training.without_effect import RULES, changed_without_effect, flat, without_effect

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "method").glob("*.yaml"))
SIMCLR = ["fit", "-c", str(next(path for path in CONFIGS if path.stem == "simclr"))]
CONTRAST = ["fit", "-c", str(next(path for path in CONFIGS if path.stem == "facecycle_contrast"))]


def whole(path: Path) -> dict[str, Any]:
    """The settings of a file, over the defaults."""
    found = yaml.safe_load(path.read_text())
    kind_module, _, name = found["model"]["class_path"].rpartition(".")
    method = getattr(import_module(kind_module), name)
    given = found["model"].get("init_args", {})
    arguments = module._of_signature(method)
    for key, value in given.items():
        old = arguments[key]
        arguments[key] = old | value if isinstance(value, dict) and isinstance(old, dict) else value
    data = module._of_signature(FaceDataModule) | found.get("data", {})
    model = {"class_path": found["model"]["class_path"], "init_args": arguments}
    return {"data": data, "model": model, "probe_every": 1000}


def test_no_setting_of_the_configs_is_without_effect() -> None:
    for path in CONFIGS:
        assert changed_without_effect(whole(path)) == {}, path


def test_rules_name_settings_that_there_are() -> None:
    known = {
        "probe_every",
        *(f"data.{name}" for name in inspect.signature(FaceDataModule).parameters),
    }
    known |= {f"data.augmentation.{name}" for name in ("jitter_share", "jitter", "hue")}
    of_methods: dict[str, set[str]] = {}
    for path in CONFIGS:
        names = flat(whole(path))
        of_methods.setdefault(str(names["model"]), set()).update(names)
    for rule in RULES:
        among = [names for kind, names in of_methods.items() if rule.method in ("", kind)]
        assert among, rule
        assert any({*rule.settings, *rule.causes} <= known | names for names in among), rule


@pytest.mark.parametrize(
    ("command", "more", "found"),
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
def test_fit_names_settings_without_effect(
    command: list[str], more: list[str], found: dict[str, str]
) -> None:
    settings = check([*command, *more])
    assert changed_without_effect(settings) == found
    assert found.items() <= without_effect(flat(settings)).items()


def test_flip_share_where_nobody_is_known(
    faces: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = FaceDataModule(faces, batch_size=2, size=32, flip_share=0.0, cache=tmp_path)
    with caplog.at_level(logging.WARNING):
        data.setup()
    assert ("data.flip_share has no effect" in caplog.text) is not data.has_people
