"""Lightweight networks: the paper's sizes, what one stage hands to the next, what is reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from linear_probe.cli import main
from linear_probe.heads.cost import cost
from linear_probe.heads.goals import AGES, Categories, Several
from linear_probe.heads.multitask_lightweight import MultitaskLightweight
from linear_probe.records.record import RECORDS_FILE, read_records
from ssl_faces import InputError
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.rendered import RenderedFaces
from tests.by_heart import learn_by_heart

ROOT = Path(__file__).parents[2]
SMALLEST = "mobilenetv3_small_050"


@pytest.mark.parametrize(
    ("backbone", "features", "parameters"),
    [
        # Millions without the classifier, as published for a thousand classes less those layers.
        ("mobilenetv3_large_100", 1280, 4.2),
        ("efficientnet_b0", 1280, 4.0),
        ("rexnet_100", 1280, 3.5),
    ],
)
def test_the_papers_networks(backbone: str, features: int, parameters: float) -> None:
    head = MultitaskLightweight(Categories(7), backbone=backbone)
    assert head.classifier[-1].in_features == features
    total = sum(p.numel() for p in head.backbone.parameters()) / 1e6
    assert total == pytest.approx(parameters, abs=0.1)
    assert head(torch.rand(2, 3, 48, 48)).shape == (2, 7)


def test_a_map_of_small_pictures_keeps_its_size() -> None:
    sides = {}
    for keep in (True, False):
        head = MultitaskLightweight(Categories(7), backbone=SMALLEST, keep_size=keep).eval()
        with torch.no_grad():
            sides[keep] = head.backbone.encoder.last_map(torch.rand(1, 3, 48, 48)).shape[-1]  # type: ignore[union-attr, operator]
    assert sides == {True: 3, False: 2}


def test_what_goes_on_to_the_next_stage_is_all_but_the_classifier() -> None:
    torch.manual_seed(0)
    first = MultitaskLightweight(Several({"age": AGES, "gender": 2}), backbone=SMALLEST)
    second = MultitaskLightweight(Categories(7), backbone=SMALLEST)
    own = {k: v.clone() for k, v in second.state_dict().items()}
    second.take_over(first)
    for name, value in second.state_dict().items():
        expected = own[name] if name.startswith("classifier.") else first.state_dict()[name]
        assert torch.equal(value, expected), name


def test_64_pictures_are_learnt_by_heart() -> None:
    torch.manual_seed(0)
    faces = RenderedFaces(64, 64, "all", size=48)
    images = F.interpolate(faces.render_batch(range(64)), 32)
    labels = torch.tensor(
        [[round(r.labels["age"]), r.labels["gender"]] for r in faces.records], dtype=torch.float32
    )
    head = MultitaskLightweight(
        Several({"age": AGES, "gender": 2}),
        backbone=SMALLEST,
        picture_size=32,
        margin=0,
        dropout=0.0,
    )

    def learnt() -> bool:
        # Still in training mode: running statistics lag behind after so few steps.
        parts = head.goal.parts(head(head.prepare(images)))  # type: ignore[attr-defined]
        said = torch.stack([parts["age"].argmax(1), parts["gender"].argmax(1)], 1)
        return bool((said == labels).all())

    learn_by_heart(head, lambda: head.losses(images.float() / 255, labels), learnt, 3e-3)


def test_a_frozen_encoder_keeps_its_weights() -> None:
    torch.manual_seed(0)
    encoder = BackboneEncoder("resnet18", 32, 0.0625)
    head = MultitaskLightweight(Categories(4), encoder, space="map_2x2").train()
    assert (head.picture_size, head.read_size, head.space) == (32, 38, "map_2x2")
    assert {n.split(".")[0] for n, p in head.named_parameters() if p.requires_grad} == {
        "classifier"
    }
    head.losses(torch.rand(4, 3, 32, 32), torch.arange(4))["cross_entropy"].backward()
    assert all(p.grad is None for p in encoder.parameters())


def test_cost_counts_what_is_scored() -> None:
    head = MultitaskLightweight(Categories(7), backbone=SMALLEST)
    found = cost(head)
    assert found.parameters == sum(p.numel() for p in head.parameters())
    assert found.milliseconds > 0
    last = head.classifier[-1]
    assert found.macs > last.in_features * last.out_features
    # The first layer alone, by hand: 16 channels of 3x3x3 on 48x48 places.
    first = next(m for m in head.backbone.modules() if isinstance(m, torch.nn.Conv2d))
    assert found.macs > first.out_channels * 27 * 48 * 48


def test_refused() -> None:
    with pytest.raises(InputError, match=r"head\.picture_size: 8; .* 16 px at least"):
        MultitaskLightweight(Categories(7), backbone=SMALLEST, picture_size=8)
    with pytest.raises(InputError, match=r"head\.backbone: .*timm has no 'mobilenetv9'"):
        MultitaskLightweight(Categories(7), backbone="mobilenetv9")
    with pytest.raises(InputError, match=r"head\.margin: -1"):
        MultitaskLightweight(Categories(7), backbone=SMALLEST, margin=-1)


def faces_of_all_kinds(root: Path) -> Path:
    """UTKFace, people and expressions in one folder of data, as small as can be."""
    draw = np.random.default_rng(0)

    def picture(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)

    for number in range(150):
        name = f"{10 + number % 60}_{number % 2}_{number % 3}_201701{number:011d}.jpg.chip.jpg"
        picture(root / "UTKFace" / name)
    for usage, count in (("Training", 60), ("PublicTest", 14)):
        for number in range(count):
            kind = ("angry", "happy")[number % 2]
            picture(root / "fer2013" / usage / kind / f"{usage}_{number}.jpg")
    people = [f"Person_{i}" for i in range(8)]
    for person in people:
        for number in range(1, 4):
            picture(root / "lfw" / person / f"{person}_{number:04d}.jpg")
    lines = ["2\t1", "Person_0\t1\t2", "Person_0\t1\tPerson_1\t1"]
    lines += ["Person_2\t1\t2", "Person_2\t1\tPerson_3\t1"]
    (root / "lfw" / "pairs.txt").write_text("\n".join(lines) + "\n")
    return root


def test_identity_then_attributes_then_expression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = faces_of_all_kinds(tmp_path / "data")
    out = tmp_path / "out"
    stages = (
        "[{task: people, training: {epochs: 1, batch_size: 4, sam_radius: 0.05}}, "
        "{task: attributes, training: {epochs: 1, batch_size: 16}}]"
    )
    words = [
        *("head", "-c", str(ROOT / "configs/head/multitask_lightweight.yaml")),
        *("--head.init_args.backbone", SMALLEST, "--head.init_args.picture_size", "32"),
        *("--training.epochs", "2", "--training.batch_size", "8", "--bootstrap", "20"),
        *("--accelerator", "cpu", "--precision", "32-true", "--out", str(out)),
    ]
    monkeypatch.setenv("SSL_FACES_DATA", str(data))
    assert main([*words, f"--before={stages}"]) == 0
    told = capsys.readouterr().out
    # The four of no pair: those of pairs are test people.
    assert "4 people of LFW, 12 pictures" in told
    assert "multiply-adds" in told
    records = read_records(out / RECORDS_FILE)
    metrics = {(r.task, r.metric, r.unit) for r in records}
    assert {
        ("attributes", "MAE age", "years"),
        ("attributes", "gender accuracy", "%"),
        ("attributes", "race accuracy", "%"),
        ("expression", "accuracy", "%"),
    } <= metrics
    (one,) = [r for r in records if (r.task, r.metric) == ("expression", "accuracy")]
    assert "before that on the identity of people (1 epochs), then attributes (1 epochs)" in (
        one.protocol
    )
    assert one.hyperparameters["cost"]["macs"] > 0
    assert set(one.hyperparameters["validation"]) == {"accuracy"}
    (age,) = [r for r in records if r.metric == "MAE age"]
    assert "before that" not in age.protocol
    assert set(age.hyperparameters["validation"]) == {
        *("MAE age", "gender accuracy", "race accuracy")
    }
    # Without what comes before, the last stage is another.
    assert main([*words[:-1], str(tmp_path / "plain"), "--before=[]"]) == 0
    plain, stepped = (
        torch.load(path, weights_only=True)["state_dict"]
        for path in (
            next((tmp_path / "plain").glob("heads/*fer2013/seed0/last.ckpt")),
            next(out.glob("heads/multitask_lightweight_fer2013/seed0/last.ckpt")),
        )
    )
    first = "head.backbone.encoder.network.conv_stem.weight"
    assert not torch.allclose(plain[first], stepped[first])


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("[{task: pose}]", "task: 'pose'; heads learn"),
        ("[{task: people}]", "people: 0 with 2 pictures or more"),
        ("[{task: attributes, trainin: {epochs: 1}}]", "trainin"),
    ],
)
def test_stages_that_cannot_be(
    before: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["head", "-c", str(ROOT / "configs/head/multitask_lightweight.yaml")]
    words += ["--head.init_args.backbone", SMALLEST, "--accelerator", "cpu"]
    data = tmp_path / "data"
    for number in range(4):
        path = data / "fer2013" / ("Training", "PublicTest")[number % 2] / "happy" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(path)
    words += ["--data", str(data), "--out", str(tmp_path / "out"), f"--before={before}"]
    if "people" in before:
        words[-1] = words[-1].replace("people", f"people, data: '{data}'")
    assert main(words) == 2
    assert told in capsys.readouterr().err
