"""NaN and infinity are refused in weights, features, outputs and metrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from linear_probe.heads.fit import head_outputs, read_checkpoint
from linear_probe.heads.goals import Categories, Goal
from linear_probe.heads.inception_fer import InceptionFER
from linear_probe.records.measured import Measured, TaskFacts, records_of
from linear_probe.sources.backbones import BackboneName, load_backbone
from linear_probe.tasks.classification import class_figures, class_predictions
from linear_probe.tasks.sample import Sample
from ssl_faces import InputError, embed, load_encoder, load_method, save_encoder
from ssl_faces.encoders.encoder import METHOD_FILE, WEIGHTS_FILE
from ssl_faces.encoders.places import CARD_FILE
from ssl_faces.methods.released import read_state
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.networks.trunk import VggTrunk
from tests.support.facecycle import motion, save
from tests.support.records import ONE
from tests.support.refusals import message_of

BAD = [float("nan"), float("inf"), -float("inf")]


def an_encoder(folder):
    torch.manual_seed(0)
    return save_encoder(BackboneEncoder("resnet18", 32, 0.0625), folder, {})


def spoil_file(path, value, name=""):
    """Put a number into one tensor of a safetensors file."""
    state = {key: tensor.clone() for key, tensor in load_file(path).items()}
    key = next(k for k, t in sorted(state.items()) if name in k and t.is_floating_point())
    state[key].view(-1)[-1] = value
    save_file(state, path)


def spoil_checkpoint(path, value):
    state = torch.load(path, weights_only=True)
    key = next(k for k, v in state["state_dict"].items() if v.is_floating_point())
    state["state_dict"][key].view(-1)[-1] = value
    torch.save(state, path)


@pytest.mark.parametrize(
    ("tensor", "value"), [("conv1.weight", torch.nan), ("running_mean", -torch.inf)]
)
def test_an_encoder(tensor, value, tmp_path):
    encoder = BackboneEncoder("resnet18", 32, 0.0625)
    next(encoder.parameters()).data.fill_(torch.nan)
    assert "hold NaN or infinity" in message_of(save_encoder, encoder, tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    folder = an_encoder(tmp_path)
    spoil_file(folder / WEIGHTS_FILE, value, tensor)
    message = message_of(load_encoder, folder)
    assert message.startswith(f"{folder / WEIGHTS_FILE}: 1 of its ")
    assert tensor in message
    load_encoder(folder, untrained=True)  # needs none of them


def test_a_method_and_its_release(tmp_path):
    path = save(motion(), tmp_path / "run/checkpoints/last.ckpt")
    spoil_checkpoint(path, torch.nan)
    assert str(path) in message_of(load_method, tmp_path / "run")
    save_file({"generator.weight": torch.tensor([0, torch.nan])}, tmp_path / METHOD_FILE)
    assert str(tmp_path / METHOD_FILE) in message_of(read_state, tmp_path)


def test_a_head(tmp_path):
    path = tmp_path / "last.ckpt"
    checkpoint = {
        "state_dict": {"head.weight": torch.zeros(3)},
        "global_step": 1,
        "pytorch-lightning_version": "2.5",
        "lr_schedulers": [{"total_steps": 1}],
    }
    torch.save(checkpoint, path)
    read_checkpoint(path)
    spoil_checkpoint(path, torch.nan)
    message = message_of(read_checkpoint, path)
    assert message.startswith(
        f"{path}: 1 of its 1 tensors hold NaN or infinity, such as 'head.weight'"
    )


def test_weights_of_others(tmp_path):
    path = tmp_path / "trunk.safetensors"
    save_file(VggTrunk("random", width=4).state_dict(), path)
    spoil_file(path, torch.nan)
    assert str(path) in message_of(VggTrunk, str(path), width=4)
    network = load_backbone(BackboneName.parse("timm:test_resnet?random"))
    path = tmp_path / "backbone.safetensors"
    save_file(network.network.state_dict(), path)
    spoil_file(path, torch.nan)
    name = f"timm:test_resnet?weights={path}"
    assert "hold NaN" in message_of(load_backbone, BackboneName.parse(name))


def test_codes_of_finite_weights_that_overflow(tmp_path):
    encoder = load_encoder(an_encoder(tmp_path))
    for parameter in encoder.parameters():
        parameter.data.mul_(1e20)
    faces = list(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    message = message_of(embed, encoder, faces, detect="never", batch_size=2)
    assert "codes of 2 of 2 faces are NaN or infinite" in message


@pytest.mark.parametrize("key", ["mean", "threshold"])
def test_a_threshold_in_a_card(key, tmp_path):
    from ssl_faces.apps.embedding import verification_of

    encoder = load_encoder(an_encoder(tmp_path))
    (space, dim), *_ = encoder.feature_dims.items()
    kept = {"space": space, "mean": [0.0] * dim, "threshold": 0.5, "told": "x"}
    encoder.card["verification"] = kept
    verification_of(encoder)
    kept[key] = [torch.nan] * dim if key == "mean" else torch.nan
    assert "numbers that are not finite" in message_of(verification_of, encoder)
    assert (tmp_path / CARD_FILE).exists()


def test_outputs_of_a_head():
    head = InceptionFER(Categories(4), width=0.0625, hidden=(4, 4))
    images = torch.zeros(5, 3, head.read_size, head.read_size, dtype=torch.uint8)
    head_outputs(head, images)
    list(head.parameters())[-1].data.fill_(torch.inf)
    assert "outputs of 5 of 5 images are NaN or infinite" in message_of(head_outputs, head, images)


@pytest.mark.parametrize("goal", [Categories(3), Goal({"a": 3})])
def test_certain_heads_are_averaged_over_crops(goal):
    """Probabilities too small for a float are no infinity."""
    certain = torch.tensor([[[500.0, 0.0, -500.0]]]).repeat(10, 1, 1)
    torch.testing.assert_close(goal.average(certain), torch.tensor([[0.0, -500.0, -1000.0]]))
    views = torch.randn(10, 4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(goal.average(views), views.softmax(2).mean(0).log())


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("field", ["value", "low", "high", "seconds", "hyperparameters"])
def test_a_record(field, value):
    given = {"validation": [{"accuracy": value}]} if field == "hyperparameters" else value
    message = message_of(replace, ONE, **{field: given})
    assert message.startswith(
        f"expression, runs/a, expression_map, accuracy: the record's '{field}'"
    )


def test_predictions_whose_accuracy_is_finite():
    """The largest of NaN scores is a class like others."""
    targets, sample = np.array([0, 1, 0]), Sample(["a", "b", "c"], 5)
    row = Measured(TaskFacts("expression", "set", "split", "", 0), "e", "space", "probe", [])
    for scores in (torch.zeros(3, 2), torch.full((3, 2), torch.nan)):
        message = class_predictions(sample.keys, targets, scores, ["x", "y"])
        figures = class_figures(sample, message, {}, "")
        assert np.isfinite(figures[0].value)
        if bool(scores.isfinite().all()):
            records_of(row._replace(figures=figures), "CPU")
            continue
        with pytest.raises(InputError, match="expression, e, space: predictions are NaN"):
            records_of(row._replace(figures=figures), "CPU")
