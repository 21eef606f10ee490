"""MAFER: when the teacher is made, what is made small, what is matched."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from linear_probe.cli import main
from linear_probe.heads.goals import Categories
from linear_probe.heads.inception_fer import InceptionFER
from linear_probe.heads.mafer import MAFER
from linear_probe.records.record import RECORDS_FILE, read_records
from ssl_faces.rendered import RenderedFaces

ROOT = Path(__file__).parents[2]


def inner(goal, encoder):
    return InceptionFER(goal, encoder, width=0.0625, hidden=(8, 8), dropout=0.0, margin=0)


def wider(goal, encoder):
    return InceptionFER(goal, encoder, width=0.25, hidden=(64, 32), dropout=0.0, margin=0)


def made(**settings):
    torch.manual_seed(0)
    return MAFER(Categories(5), None, inner, **settings).train()


def moved(head):
    with torch.no_grad():
        for p in head.parameters():
            p.add_(0.01 * torch.randn_like(p))


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_the_teacher_is_what_the_head_was_at_the_end_of_step_one():
    head = made(teacher_share=0.5)
    images, labels = torch.rand(6, 3, 48, 48), torch.arange(6) % 5
    head.begin_step(0.4)
    first = head.losses(images, labels)
    assert set(first) == {"cross_entropy"}
    moved(head.head)
    assert not same(head.teacher, head.head)
    head.begin_step(0.5)
    assert same(head.teacher, head.head)
    moved(head.head)
    kept = {k: v.clone() for k, v in head.teacher.state_dict().items()}
    head.begin_step(0.8)
    second = head.losses(images, labels)
    assert set(second) == {"cross_entropy", "features"}
    sum(second.values(), torch.zeros(())).backward()
    # Neither gradients nor batch statistics move it.
    assert all(p.grad is None for p in head.teacher.parameters())
    assert all(torch.equal(v, kept[k]) for k, v in head.teacher.state_dict().items())


def test_features_are_matched_with_those_of_the_picture_as_it_was(monkeypatch):
    head = made(feature_weight=2.0)
    head.begin_step(0.6)
    head.eval()
    moved(head.head)
    images, labels = torch.rand(4, 3, 48, 48), torch.arange(4)
    monkeypatch.setattr(head, "made_small", lambda x: x.roll(1, 0))
    found = head.losses(images, labels)
    student, teacher = head.head.embed(images.roll(1, 0)), head.teacher.embed(images)
    total = 0.0
    for a, b in zip(student, teacher, strict=True):
        total += float((a / a.norm() - b / b.norm()).square().sum())
    assert found["features"].item() == pytest.approx(2 * total / 4, rel=1e-4)
    expected = F.cross_entropy(head.head.classify(student), labels).item()
    assert found["cross_entropy"].item() == pytest.approx(expected, rel=1e-4)


def test_64_pictures_are_learnt_by_heart_at_full_size_and_made_small():
    faces = RenderedFaces(64, 64, "all", size=48)
    images = faces.render_batch(range(64)).float() / 255
    labels = torch.tensor([r.labels["expression"] for r in faces.records])
    torch.manual_seed(0)
    head = MAFER(Categories(7), None, wider, least_side=16).train()
    optimizer = torch.optim.AdamW(head.parameters(), 3e-3)
    steps = 120
    for step in range(steps):
        head.begin_step(step / steps)
        optimizer.zero_grad()
        sum(head.losses(images, labels).values(), torch.zeros(())).backward()
        optimizer.step()
    head.eval()
    assert (head(images).argmax(1) == labels).all()
    small = F.interpolate(images, 16, mode="bicubic", antialias=True).clamp(0, 1)
    again = F.interpolate(small, 48, mode="bicubic").clamp(0, 1)
    right = (head(again).argmax(1) == labels).float().mean()
    assert right > 0.8
    # The teacher, which never saw small ones, knows fewer of them.
    with torch.no_grad():
        taught = (head.teacher(again).argmax(1) == labels).float().mean()
    assert taught < right


def test_the_probability_grows_from_0_to_its_most():
    head = made(teacher_share=0.5, most_probability=0.8)
    for done, expected in ((0.2, 0.0), (0.5, 0.0), (0.75, 0.4), (1.0, 0.8)):
        head.begin_step(done)
        assert head.probability == pytest.approx(expected)
    images = torch.rand(400, 3, 16, 16)
    head.probability = 0.4
    found = head.made_small(images)
    changed = int((found != images).flatten(1).any(1).sum())
    assert 120 < changed < 200
    assert found.min() >= 0
    assert found.max() <= 1


def test_small_pictures_lose_what_is_fine():
    head = made()
    head.probability = 1.0
    stripes = (torch.arange(48) % 2).float().expand(64, 3, 48, 48)
    small = (head.made_small(stripes) - 0.5).abs().amax((1, 2, 3))
    assert (small < 0.3).float().mean() > 0.3  # sides up to about half
    flat = torch.full((8, 3, 48, 48), 0.3)
    torch.testing.assert_close(head.made_small(flat), flat)


def test_it_runs_around_a_head_and_is_scored_at_each_side(tmp_path):
    words = ["head", "-c", str(ROOT / "configs/head/mafer.yaml"), "--data", "rendered"]
    for name, value in (("width", "0.0625"), ("hidden", "[16, 8]")):
        words += [f"--head.init_args.head.init_args.{name}", value]
    words += ["--training.epochs", "2", "--bootstrap", "20", "--accelerator", "cpu"]
    words += ["--max_train", "200", "--out", str(tmp_path)]
    assert main(words) == 0
    records = read_records(tmp_path / RECORDS_FILE)
    levels = [r.condition.get("level") for r in records if r.metric == "accuracy"]
    assert levels == [None, 8, 12, 16, 24, 32]
    assert {r.probe for r in records} == {"mafer"}
