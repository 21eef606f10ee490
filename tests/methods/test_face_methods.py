"""What all methods for faces do: run by their configs, resume, and show panels."""

from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
import yaml

from ssl_faces.cli import main
from ssl_faces.common.config_files import CONFIGS
from ssl_faces.common.registries import import_modules
from ssl_faces.encoders.encoder import load_encoder
from ssl_faces.methods.contrawarping import ContraWarping
from ssl_faces.methods.fabnet import FAbNet
from ssl_faces.methods.facecycle_contrast import FaceCycleContrast
from ssl_faces.methods.method import Method
from ssl_faces.methods.pcl import PCL
from ssl_faces.methods.tcae import TCAE
from ssl_faces.training.catalogue import method_entries
from tests.support.fits import SMALL, check_panels, fit, random_pairs, rendered_faces, trained

RUNS = {
    "contrawarping": ((), {"pooled", "map_2x2"}),
    "fabnet": ((), {"pooled", "map_2x2", "embedding"}),
    "pcl": (("--model.decoder_width", "4", "--model.projection_dim", "32"), {"pooled", "map_2x2"}),
    "tcae": (("--model.decoder_width", "8"), {"pooled", "map_2x2", "action", "pose"}),
    "facecycle_contrast": (
        ("--model.code_dim", "16", "--model.decoder_width", "4"),
        {"pooled", "map_2x2", "expression", "identity"},
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_runs_by_its_config_in_half_precision_and_resumes(name, tmp_path):
    more, spaces = RUNS[name]
    more = (*more, "--trainer.precision", "bf16-mixed")
    encoder, panel = trained(name, tmp_path, *more)
    assert encoder.card["method"] == name
    features = encoder(rendered_faces(2))
    assert set(features) == spaces
    for value in features.values():
        assert value.isfinite().all()
        assert not torch.equal(value[0], value[1])
    assert panel.stat().st_size > 1000
    again = ("--ckpt_path", "last", "--trainer.max_steps", "3")
    assert trained(name, tmp_path, *more, *again)[0].card["steps"] == 3


def contrast():
    return FaceCycleContrast(SMALL, code_dim=16, decoder_width=4)


METHODS = {
    "contrawarping": (lambda: ContraWarping(SMALL, negatives=2), 3),
    "fabnet": (lambda: FAbNet(SMALL, embedding_dim=16, decoder_width=8), 6),
    "pcl": (lambda: PCL(SMALL, projection_dim=16, decoder_width=4), 3),
    "tcae": (lambda: TCAE(SMALL, code_dim=16, decoder_width=8), 3),
    "facecycle_contrast": (contrast, 6),
}


@pytest.mark.parametrize("name", METHODS)
def test_panels_show_every_face_and_change_nothing(name):
    """They are made during training: modes and batch statistics stay the same."""
    torch.manual_seed(0)
    build, count = METHODS[name]
    net = build().train()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    check_panels(net.panels({"pairs": random_pairs(3)}), count)
    assert net.training
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


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
        # Other tests put modules beside these.
        if find_spec(k.__module__) and k.__module__.startswith("ssl_faces.") and "name" in vars(k)
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
