"""Methods that compare embeddings: runs of each, resume, refusals, and the loss of each falls."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import load_encoder
from ssl_faces.methods.barlow_twins import BarlowTwins
from ssl_faces.methods.byol import BYOL
from ssl_faces.methods.dino import DINO
from ssl_faces.methods.joint_embedding import JointEmbedding, Teacher
from ssl_faces.methods.moco_v3 import MoCoV3
from ssl_faces.methods.simclr import SimCLR
from ssl_faces.methods.simsiam import SimSiam
from ssl_faces.methods.vicreg import VICReg
from ssl_faces.networks.backbone import EncoderSettings
from tests.methods.runs import arguments, rendered_pairs, run

METHODS: dict[str, Callable[..., JointEmbedding]] = {
    "simclr": SimCLR,
    "moco_v3": MoCoV3,
    "byol": BYOL,
    "simsiam": SimSiam,
    "vicreg": VICReg,
    "barlow_twins": BarlowTwins,
    "dino": DINO,
}
NARROW: dict[str, tuple[str, ...]] = {
    "dino": ("--model.init_args.prototypes", "64", "--model.init_args.local_size", "16"),
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packed")


def checkpoint(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(out / "checkpoints/last.ckpt", weights_only=True)
    return loaded


def losses_of(out: Path) -> list[float]:
    (path,) = out.glob("csv/*/metrics.csv")
    with path.open() as rows:
        return [float(row["loss"]) for row in csv.DictReader(rows) if row["loss"]]


# Runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "encoder"),
    [
        ("simclr", "facecycle"),
        ("moco_v3", "timm:test_vit"),
        ("byol", "timm:test_convnext"),
        ("simsiam", "resnet18"),
        ("vicreg", "resnet18"),
        ("barlow_twins", "timm:test_vit2"),
        ("dino", "timm:test_vit"),
        ("dino", "facecycle"),
    ],
)
def test_it_trains_from_its_config_and_saves_an_encoder(
    method: str, encoder: str, cache: Path, tmp_path: Path
) -> None:
    assert run(arguments(method, encoder, cache, tmp_path, *NARROW.get(method, ()))) == 0
    found = losses_of(tmp_path)
    assert len(found) == 2
    assert all(abs(value) < 1e4 for value in found)
    card = json.loads((tmp_path / "encoder/card.json").read_text())
    assert card["method"] == method
    assert not card["uses_identity_labels"]
    assert card["method_settings"]["encoder"]["name"] == encoder
    with torch.no_grad():
        features = load_encoder(tmp_path)(rendered_pairs(2)[:, 0])
    for space, dim in card["feature_dims"].items():
        assert features[space].shape == (2, dim)
        assert features[space].isfinite().all()
    saved, trained = checkpoint(tmp_path), load_encoder(tmp_path).state_dict()
    assert saved["method"] == method
    for name, value in trained.items():
        assert torch.equal(value, saved["state_dict"][f"encoder.{name}"]), name
    untrained = load_encoder(tmp_path, untrained=True).state_dict()
    assert any(not torch.equal(value, trained[name]) for name, value in untrained.items())


@pytest.mark.parametrize("method", ["vicreg", "dino"])
def test_a_resumed_run_is_one_that_never_stopped(
    method: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops mid-epoch at the checkpoint's step, by an error of the fourth step's loss."""
    longer = ("--trainer.max_steps", "6", "--checkpoint_every", "3", *NARROW.get(method, ()))
    assert run(arguments(method, "resnet18", cache, tmp_path / "whole", *longer)) == 0
    given = arguments(method, "resnet18", cache, tmp_path / "cut", *longer)
    kind: Any = METHODS[method]

    def stops(self: JointEmbedding, x: Tensor) -> dict[str, Tensor]:
        if self.trainer.global_step == 3:
            raise InputError("stopped")
        return losses(self, x)

    losses = kind.losses
    monkeypatch.setattr(kind, "losses", stops)
    assert run(given) == 2
    assert checkpoint(tmp_path / "cut")["global_step"] == 3
    monkeypatch.setattr(kind, "losses", losses)
    assert run([*given, "--ckpt_path", "last"]) == 0
    whole, cut = (checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert whole["global_step"] == cut["global_step"] == 6
    assert any(name.startswith("teacher") for name in whole["state_dict"]) == (method != "vicreg")
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(value, cut["state_dict"][name], rtol=0, atol=1e-6, msg=name)


def test_pairs_of_people_are_said_in_the_card(cache: Path, tmp_path: Path) -> None:
    more = ("--data.positives", "person")
    assert run(arguments("simclr", "facecycle", cache, tmp_path, *more)) == 0
    card = json.loads((tmp_path / "encoder/card.json").read_text())
    assert card["uses_identity_labels"]
    assert card["positives"] == "person"
    assert [about["pairs"] for about in card["data"]] == ["pictures of one person"]


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "people", "said"),
    [
        (("--data.batch_size", "1"), 8, "data.batch_size: 1; simclr compares the pairs of a batch"),
        (("--data.positives", "person"), 40, "no person has two pictures; set data.positives="),
        (("--model.init_args.encoder.input_size", "48"), 8, "set --data.size 48, or --model.enc"),
        (("--model.init_args.encoder.name", "resnet19"), 8, "'resnet19'; give one of facecycle"),
        (
            ("--model.init_args.optimizer.weight_decay", "-1"),
            8,
            "weight_decay: -1; give a number",
        ),
    ],
)
def test_bad_settings_are_told_in_one_sentence(
    more: tuple[str, ...],
    people: int,
    said: str,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(arguments("simclr", "facecycle", cache, tmp_path, *more, people=people)) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("ssl-faces: error:")]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda e: BYOL(e, momentum=1.5), "model.momentum: 1.5; give a number from 0 to 1"),
        (lambda e: DINO(e, local_crops=-1), "model.local_crops: -1; give a whole number from 0"),
        (
            lambda e: DINO(e, local_scale=(0.5, 0.2)),
            "model.local_scale: 0.5 to 0.2; give",
        ),
    ],
)
def test_settings_of_methods_that_can_not_be(
    build: Callable[[EncoderSettings], object], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        build(EncoderSettings("resnet18", 32, 0.0625))
    assert said in str(caught.value)


# Learning ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in METHODS if name != "dino"])
def test_the_loss_falls_on_a_few_faces(name: str) -> None:
    """Eight pairs of rendered faces, always the same ones: by a tenth of the way at least to what
    the loss can't be below (0 or, of cosines, -1), and the codes of faces stay apart."""
    torch.manual_seed(0)
    method = METHODS[name](EncoderSettings("resnet18", 32, 0.125), projection_dim=64)
    totals, spread = train(method, steps=25, rate=1e-3)
    first, last = sum(totals[:3]) / 3, sum(totals[-3:]) / 3
    floor = -1.0 if name in ("byol", "simsiam") else 0.0
    assert last - floor < 0.9 * (first - floor), totals
    assert spread > 0.05


def test_dinos_loss_falls_once_the_centre_has_caught_up() -> None:
    """At first one prototype takes all pictures, and the loss is low; the centre then lifts the
    others until all are alike; from there on each face gets its own."""
    torch.manual_seed(0)
    method = DINO(
        EncoderSettings("resnet18", 32, 0.0625),
        prototypes=32,
        hidden_dim=64,
        local_crops=0,
        momentum=0.95,
    )
    totals, spread = train(method, steps=150, rate=2e-3)
    top = max(range(5, 150), key=totals.__getitem__)
    assert totals[top] > 0.7 * torch.tensor(32.0).log()
    assert top < 100
    assert sum(totals[-5:]) / 5 < 0.6 * totals[top]
    assert spread > 0.3


def train(method: JointEmbedding, steps: int, rate: float) -> tuple[list[float], float]:
    """Losses on eight faces, and how far apart their codes of length one then are: 0 where they
    are all one, 1 where they fill the sphere."""
    method._trainer = _Epoch()  # type: ignore[assignment]
    x = method.views({"pairs": rendered_pairs()})
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


class _Epoch:
    """What a method asks of its trainer outside of a run."""

    current_epoch = 0


# The teacher ------------------------------------------------------------------------------------


def test_the_teacher_is_an_average_of_the_student() -> None:
    """Against the sum of all its states, each weighted by the momenta since."""
    torch.manual_seed(0)
    method = BYOL(EncoderSettings("facecycle", 32, 0.0625), hidden_dim=16, projection_dim=8)
    teacher, student = method.teacher, method.projector
    assert isinstance(teacher, Teacher)
    assert not any(p.requires_grad for p in teacher.parameters())
    states = [student.layers[0].weight.detach().clone()]
    momenta = []
    for step in range(5):
        with torch.no_grad():
            for p in student.parameters():
                p.add_(torch.randn_like(p))
        states.append(student.layers[0].weight.detach().clone())
        momenta.append(teacher.follow(method.encoder, student, step, 5))
    expected = states[0]
    for state, momentum in zip(states[1:], momenta, strict=True):
        expected = momentum * expected + (1 - momentum) * state
    torch.testing.assert_close(teacher.projector.layers[0].weight, expected)
    assert momenta[0] == pytest.approx(0.99)
    assert momenta[2] == pytest.approx(0.995)  # half-way of the cosine
    assert momenta[4] == 1.0


def test_vits_of_moco_v3_have_patches_that_stay_random() -> None:
    torch.manual_seed(0)
    method = MoCoV3(EncoderSettings("timm:test_vit", 32), hidden_dim=16, projection_dim=8)
    trained = {name for name, p in method.encoder.named_parameters() if p.requires_grad}
    still = {name for name, _ in method.encoder.named_parameters()} - trained
    assert still == {
        "network.pos_embed",
        "network.patch_embed.proj.weight",
        "network.patch_embed.proj.bias",
    }
    torch.stack(list(method.losses(torch.randn(8, 3, 32, 32)).values())).sum().backward()
    weight = method.encoder.network.patch_embed.proj.weight
    assert weight.grad is None
    bound = (6 / (3 * 16 * 16 + 64)) ** 0.5  # Xavier's of a linear layer of the patch's pixels
    assert 0.9 * bound < weight.abs().max() <= bound
