"""Methods that compare embeddings: short runs, resume, settings, and falling losses."""

import csv
import json
from types import SimpleNamespace

import pytest
import torch

from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import load_encoder
from ssl_faces.methods.barlow_twins import BarlowTwins
from ssl_faces.methods.byol import BYOL
from ssl_faces.methods.dino import DINO
from ssl_faces.methods.dinov2 import DINOv2
from ssl_faces.methods.ijepa import IJEPA
from ssl_faces.methods.joint_embedding import Teacher
from ssl_faces.methods.lejepa import LeJEPA
from ssl_faces.methods.moco_v3 import MoCoV3
from ssl_faces.methods.nnclr import NNCLR
from ssl_faces.methods.simclr import SimCLR
from ssl_faces.methods.simsiam import SimSiam
from ssl_faces.methods.swav import SwAV
from ssl_faces.methods.vicreg import VICReg
from ssl_faces.methods.w_mse import WMSE
from ssl_faces.networks.backbone import EncoderSettings
from tests.support.fits import (
    ROOT,
    SMALL,
    assert_close,
    checkpoint,
    fit,
    method_run,
    mirrored_pairs,
    refused,
    step_of,
    weights,
)
from tests.support.noise_sets import lfw
from tests.support.refusals import message_of

METHODS = {
    kind.name: kind
    for kind in (
        *(SimCLR, MoCoV3, BYOL, SimSiam, VICReg, BarlowTwins, DINO),
        *(SwAV, LeJEPA, NNCLR, WMSE, DINOv2, IJEPA),
    )
}
OF_DISTRIBUTIONS = ("--model.init_args.prototypes", "64", "--model.init_args.local_size", "16")
NARROW = {
    "dino": OF_DISTRIBUTIONS,
    "dinov2": OF_DISTRIBUTIONS,
    "swav": (*OF_DISTRIBUTIONS, "--model.init_args.queue_length", "16"),
    "lejepa": ("--model.init_args.local_size", "16"),
    "nnclr": ("--model.init_args.bank_size", "32"),
    "w_mse": ("--model.init_args.group_size", "8", "--model.init_args.projection_dim", "4"),
}
VITS = ("dinov2", "ijepa")
TEACHERS = ("dino", "dinov2", "ijepa")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("packed")


@pytest.mark.parametrize(
    ("method", "encoder"),
    [
        ("simclr", "facecycle"),
        ("moco_v3", "timm:test_vit"),
        ("byol", "timm:test_convnext"),
        ("simsiam", "resnet18"),
        ("barlow_twins", "timm:test_vit2"),
    ],
)
def test_trains_from_its_config_and_saves_an_encoder(method, encoder, cache, tmp_path):
    fit(*method_run(method, encoder, cache, tmp_path, *NARROW.get(method, ())))
    (log,) = tmp_path.glob("csv/*/metrics.csv")
    with log.open() as rows:
        losses = [float(row["loss"]) for row in csv.DictReader(rows) if row["loss"]]
    assert len(losses) == 2
    assert all(abs(value) < 1e4 for value in losses)
    loaded = load_encoder(tmp_path)
    card = loaded.card
    assert card["method"] == checkpoint(tmp_path)["method"] == method
    assert not card["uses_identity_labels"]
    assert card["method_settings"]["encoder"]["name"] == encoder
    with torch.no_grad():
        features = loaded(mirrored_pairs(2)[:, 0])
    for space, dim in card["feature_dims"].items():
        assert features[space].shape == (2, dim)
        assert features[space].isfinite().all()
    trained, saved = loaded.state_dict(), weights(tmp_path)
    for name, value in trained.items():
        assert torch.equal(value, saved[f"encoder.{name}"]), name
    untrained = load_encoder(tmp_path, untrained=True).state_dict()
    assert any(not torch.equal(value, trained[name]) for name, value in untrained.items())


@pytest.mark.parametrize("method", ["dino", "swav", "lejepa", "nnclr", "dinov2", "ijepa"])
def test_a_resumed_run_equals_an_uninterrupted_one(method, cache, tmp_path, monkeypatch, capsys):
    """The fourth step fails, mid-epoch, right after a checkpoint."""
    longer = ("--trainer.max_steps", "6", "--checkpoint_every", "3", *NARROW.get(method, ()))
    encoder = "timm:test_vit" if method in VITS else "resnet18"
    fit(*method_run(method, encoder, cache, tmp_path / "whole", *longer))
    arguments = method_run(method, encoder, cache, tmp_path / "cut", *longer)
    kind = METHODS[method]
    losses = kind.losses

    def fails(self, x):
        if self.trainer.global_step == 3:
            raise InputError("stopped")
        return losses(self, x)

    monkeypatch.setattr(kind, "losses", fails)
    assert "stopped" in refused(capsys, *arguments)
    assert step_of(tmp_path / "cut") == 3
    monkeypatch.setattr(kind, "losses", losses)
    fit(*arguments, "--ckpt_path", "last")
    assert step_of(tmp_path / "whole") == step_of(tmp_path / "cut") == 6
    whole = weights(tmp_path / "whole")
    assert any(name.startswith("teacher") for name in whole) == (method in TEACHERS)
    assert_close(whole, weights(tmp_path / "cut"))


@pytest.mark.parametrize("real", [False, True])
def test_the_card_says_whether_pairs_are_of_people(real, cache, tmp_path):
    """Rendered people are known without identity labels."""
    more = ["--data.positives", "person"]
    if real:
        lfw(tmp_path / "lfw", {f"Ann_{i}": 2 for i in range(8)}, ("Ann_0", "Ann_1"))
        config = ROOT / "configs/data/identities.yaml"
        more = ["-c", str(config), "--data.root", str(tmp_path / "lfw")]
    out = tmp_path / "run"
    fit(*method_run("simclr", "facecycle", cache, out, *more))
    card = json.loads((out / "encoder/card.json").read_text())
    assert card["uses_identity_labels"] == real
    assert card["positives"] == "person"
    assert {about["pairs"] for about in card["data"]} == {"pictures of one person"}


@pytest.mark.parametrize(
    ("more", "people", "message"),
    [
        (("--data.batch_size", "1"), 8, "data.batch_size: 1; simclr compares the pairs of a batch"),
        (("--data.positives", "person"), 40, "no person has two pictures; set data.positives="),
        (("--model.init_args.encoder.input_size", "48"), 8, "set --data.size 48, or --model.enc"),
    ],
)
def test_data_that_do_not_fit_the_method(more, people, message, cache, tmp_path, capsys):
    words = method_run("simclr", "facecycle", cache, tmp_path, *more, people=people)
    assert message in refused(capsys, *words)
    assert not (tmp_path / "encoder").exists()


def test_settings_are_checked_by_the_constructor_too():
    assert "model.momentum: 1.5; give a number" in message_of(BYOL, SMALL, momentum=1.5)
    text = message_of(DINO, SMALL, local_scale=(0.5, 0.2))
    assert "model.local_scale: 0.5 to 0.2; give" in text
    assert "to model.projection_dim 16; give at least 32" in message_of(
        WMSE, SMALL, group_size=31, projection_dim=16
    )


def test_groups_of_w_mse_fill_the_batch(cache, tmp_path, capsys):
    arguments = method_run("w_mse", "resnet18", cache, tmp_path, *NARROW["w_mse"])
    error = refused(capsys, *arguments, "--data.batch_size", "12")
    assert "data.batch_size: 12; w_mse whitens groups of 8 pairs" in error


def train(method, steps, rate):
    """Losses on eight faces, and then the spread of their L2-normalised codes: 0 where they are
    all equal, 1 where they fill the sphere."""
    method._trainer = SimpleNamespace(global_step=0, estimated_stepping_batches=1000)
    x = method.views({"pairs": mirrored_pairs()})
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], rate)
    totals = []
    for _ in range(steps):
        optimizer.zero_grad()
        total = torch.stack(list(method.losses(x).values())).sum()
        total.backward()
        optimizer.step()
        if method.teacher is not None:
            method.teacher.follow(method.encoder, method.projector, 0, 1000)
        totals.append(total.item())
    codes = torch.nn.functional.normalize(method.represent(x)[:8].detach(), dim=1)
    return totals, float(codes.std(0).mean()) * codes.shape[1] ** 0.5


FEW = {
    "swav": {"prototypes": 16, "local_crops": 0},
    "lejepa": {"local_crops": 0},
    "w_mse": {"projection_dim": 4, "group_size": 8},
}


@pytest.mark.parametrize("name", [name for name in METHODS if name not in TEACHERS])
def test_the_loss_falls_on_a_few_faces(name):
    """By a tenth of the way to the loss's lower bound, and the codes stay apart."""
    torch.manual_seed(0)
    method = METHODS[name](SMALL, **{"projection_dim": 64, **FEW.get(name, {})})
    totals, spread = train(method, steps=25, rate=1e-3)
    first, last = sum(totals[:3]) / 3, sum(totals[-3:]) / 3
    bound = -1.0 if name in ("byol", "simsiam") else 0.0
    assert last - bound < 0.9 * (first - bound), totals
    assert spread > 0.05


def test_dinos_loss_falls_once_the_centre_has_caught_up():
    """At first one prototype takes all images, and the loss is low. The centre then lifts the
    others until all are equal; from there each face gets its own."""
    torch.manual_seed(0)
    settings = {"prototypes": 32, "hidden_dim": 64, "local_crops": 0, "momentum": 0.95}
    settings |= {"frozen_share": 0}
    method = DINO(EncoderSettings("resnet18", 32, 0.0625), **settings)
    totals, spread = train(method, steps=150, rate=2e-3)
    top = max(range(5, 150), key=totals.__getitem__)
    assert totals[top] > 0.7 * torch.tensor(32.0).log()
    assert top < 100
    assert sum(totals[-5:]) / 5 < 0.6 * totals[top]
    assert spread > 0.3


def test_the_teacher_is_an_average_of_the_student():
    """The sum of all the student's states, each weighted by the momenta since."""
    torch.manual_seed(0)
    method = BYOL(EncoderSettings("facecycle", 32, 0.0625), hidden_dim=16, projection_dim=8)
    teacher, student = method.teacher, method.projector
    assert not any(p.requires_grad for p in teacher.parameters())
    expected = student.layers[0].weight.detach().clone()
    momenta = []
    for step in range(5):
        with torch.no_grad():
            for p in student.parameters():
                p.add_(torch.randn_like(p))
        # In a long run.
        momenta.append(teacher.follow(method.encoder, student, 2500 * step, 10_001))
        state = student.layers[0].weight.detach()
        expected = momenta[-1] * expected + (1 - momenta[-1]) * state
    torch.testing.assert_close(teacher.projector.layers[0].weight, expected)
    # A cosine from 0.99 to 1.
    assert [momenta[i] for i in (0, 2, 4)] == pytest.approx([0.99, 0.995, 1.0])


@pytest.mark.parametrize(
    ("momentum", "steps", "start"),
    [(0.99, 2, 0.9), (0.99, 1000, 0.95), (0.99, 5000, 0.99), (0.996, 10_000, 0.995), (0.5, 2, 0.5)],
)
def test_teachers_of_short_runs_look_back_less(momentum, steps, start):
    """Over at most 2 % of the run; still to a momentum of 1 at its end."""
    student = BYOL(EncoderSettings("facecycle", 32, 0.0625), hidden_dim=16, projection_dim=8)
    teacher = Teacher(student.encoder, student.projector, momentum)
    networks = (student.encoder, student.projector)
    assert teacher.follow(*networks, 0, steps) == pytest.approx(start)
    assert teacher.follow(*networks, steps - 1, steps) == pytest.approx(1.0)


def test_vits_of_moco_v3_have_random_patch_projections():
    torch.manual_seed(0)
    method = MoCoV3(EncoderSettings("timm:test_vit", 32), hidden_dim=16, projection_dim=8)
    frozen = {name for name, p in method.encoder.named_parameters() if not p.requires_grad}
    projection = "network.patch_embed.proj"
    assert frozen == {"network.pos_embed", f"{projection}.weight", f"{projection}.bias"}
    weight = method.encoder.network.patch_embed.proj.weight
    bound = (6 / (3 * 16 * 16 + 64)) ** 0.5  # Xavier's for a linear layer of the patch's pixels
    assert 0.9 * bound < weight.abs().max() <= bound
