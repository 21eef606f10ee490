"""The list of methods, and their configs for CPUs: each takes a step on rendered faces."""

from importlib import import_module

import pytest
import yaml

from ssl_faces.cli import main
from ssl_faces.common.config_files import CONFIGS
from ssl_faces.common.registries import import_modules
from ssl_faces.encoders.encoder import load_encoder
from ssl_faces.methods.method import Method
from ssl_faces.training.catalogue import method_entries
from tests.support.fits import fit

ENTRIES = {entry.name: entry for entry in method_entries()}
MORE = {
    "facecycle_identity_small": ("--model.motion_checkpoint", "{stage_1}/checkpoints/last.ckpt"),
    # Groups of 64 pairs are whitened.
    "w_mse_small": ("--model.group_size", "4", "--model.projection_dim", "2"),
}
"""What a step of a few pairs needs beside a config."""


def subclasses(kind):
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


def test_the_list_has_every_method():
    import_modules("ssl_faces.methods")
    ours = {
        k.name
        for k in subclasses(Method)
        if k.__module__.startswith("ssl_faces.") and "name" in vars(k)
    }
    assert {*ENTRIES} == ours
    for entry in ENTRIES.values():
        module, _, name = entry.class_path.rpartition(".")
        assert getattr(import_module(module), name).name == entry.name
        assert entry.about.endswith("."), entry.about
        assert entry.configs == (entry.name, f"{entry.name}_small")


def test_what_they_need():
    """Says which pairs a config asks for, and what it downloads."""
    for entry in ENTRIES.values():
        config = yaml.safe_load((CONFIGS / f"method/{entry.name}.yaml").read_text())
        pairs = config["data"].get("positives", "frames") != "picture"
        assert pairs == ("clips" in entry.needs), entry
        downloads = config["model"].get("init_args", {}).get("trunk_weights") == "imagenet"
        assert downloads == ("downloads" in entry.needs), entry
    assert "(facecycle_motion_small: clips, or several" in ENTRIES["facecycle_motion"].needs


def test_the_command(capsys):
    assert main(["methods"]) == 0
    printed = capsys.readouterr().out
    assert "simclr: SimCLR (Chen et al. 2020): two views of an image attract" in printed
    assert "    needs images\n    configs simclr, simclr_small\n" in printed


@pytest.fixture(scope="module")
def stage_1(tmp_path_factory):
    """A folder for runs, with one of the first stage."""
    folder = tmp_path_factory.mktemp("small")
    one_step("facecycle_motion_small", folder)
    return folder


def one_step(config, folder, *more):
    clips = folder / "clips.yaml"
    clips.write_text(
        "data:\n  sets:\n    - class_path: ssl_faces.rendered.RenderedClips\n"
        "      init_args: {clips: 8, people: 8, frames: 4, size: 48, neutral: true}\n"
    )
    fit(
        *("fit", "-c", config, *more, "-c", str(clips), "--data.cache", str(folder / "packed")),
        *("--data.batch_size", "4", "--trainer.max_steps", "1", "--panels_every", "0"),
        *("--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--probe_every", "0"),
        *("--trainer.enable_model_summary", "false", "--out", str(folder / config)),
        *(
            word.replace("{stage_1}", str(folder / "facecycle_motion_small"))
            for word in MORE.get(config, ())
        ),
    )


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_a_step_of_every_small_config(entry, stage_1, tmp_path, monkeypatch):
    """From any folder, by its name."""
    monkeypatch.chdir(tmp_path)
    if not (stage_1 / entry.small).exists():
        one_step(entry.small, stage_1)
    encoder = load_encoder(stage_1 / entry.small)
    assert encoder.card["method"] == entry.name
    if "encoder" in encoder.card["method_settings"]:  # the others' networks are FaceCycle's own
        assert encoder.input_size == 48
        assert encoder.card["parameters"] < 6_000_000


def test_a_guided_step(tmp_path, monkeypatch):
    """The overlay's settings replace those of the config before it, and no others."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    one_step("facecycle_motion_small", tmp_path, "-c", "guided")
    config = yaml.safe_load((tmp_path / "facecycle_motion_small/config.yaml").read_text())
    overlay = yaml.safe_load((CONFIGS / "data/guided.yaml").read_text())
    small = yaml.safe_load((CONFIGS / "method/facecycle_motion_small.yaml").read_text())
    assert config["data"]["neutral_faces"] is True
    settings = small["model"]["init_args"] | overlay["model"]["init_args"]
    assert config["model"]["init_args"].items() >= settings.items()
    assert set(load_encoder(tmp_path / "facecycle_motion_small/encoder").feature_dims) == {
        "expression",
        "expression_map",
    }
