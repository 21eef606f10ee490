"""MAFER and hallucination: what is made small, what each loss reaches, how people are verified."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from linear_probe.cli import main
from linear_probe.heads.goals import Categories
from linear_probe.heads.hallucination import (
    CentredClassifier,
    Hallucination,
    SuperResolution,
    enlarged,
)
from linear_probe.heads.inception_fer import InceptionFER
from linear_probe.heads.mafer import MAFER
from linear_probe.records.record import RECORDS_FILE, read_records
from ssl_faces import save_encoder
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.rendered import RenderedFaces
from tests.support.by_heart import learn_by_heart

ROOT = Path(__file__).parents[2]


def small(**settings):
    torch.manual_seed(0)
    sizes = {"picture_size": 32, "width": 0.125, "dim": 16, "channels": 8, "blocks": 1}
    return Hallucination(Categories(4), **{**sizes, **settings})


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_it_starts_from_the_bicubic_enlargement_and_ends_at_its_size(scale):
    torch.manual_seed(0)
    network = SuperResolution(scale, 8, 1)
    tiny = torch.rand(2, 3, 6, 6)
    assert network(tiny).shape == (2, 3, 6 * scale, 6 * scale)
    assert torch.allclose(network(tiny), enlarged(tiny, scale))
    torch.nn.init.normal_(network.last.weight)
    assert not torch.allclose(network(tiny), enlarged(tiny, scale))


def test_nothing_but_the_small_picture_is_seen():
    """Images that are alike when small have the same outputs, however they differ."""
    head = small(scale=8).eval()
    torch.nn.init.normal_(head.enlarge.last.weight)
    one = torch.full((1, 3, 32, 32), 0.5)
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1
    other = one + 0.3 * board
    assert torch.allclose(head.made_small(one), head.made_small(other), atol=0.02)
    gap = (head(one) - head(other)).abs().max()
    assert gap < 0.05 * head(torch.rand(8, 3, 32, 32)).std()


def test_the_distance_to_the_centres_is_half_the_squared_one():
    torch.manual_seed(0)
    layer = CentredClassifier(5, 3)
    torch.nn.init.normal_(layer.centres)
    features, labels = torch.randn(4, 5), torch.tensor([2, 0, 2, 1])
    total = 0.0
    for row, label in zip(features.tolist(), labels.tolist(), strict=True):
        centre = layer.centres[label].tolist()
        total += sum((a - b) ** 2 for a, b in zip(row, centre, strict=True)) / 2
    assert layer.distance(features, labels).item() == pytest.approx(total / 4, rel=1e-5)


def reached(head, *names):
    """Which parts get gradients from these terms."""
    found = head.losses(torch.rand(4, 3, 32, 32), torch.arange(4) % 4)
    torch.stack([found[name] for name in names]).sum().backward()
    return {
        name.split(".")[0]
        for name, p in head.named_parameters()
        if p.grad is not None and p.grad.abs().max() > 0
    }


def test_together_recognition_teaches_hallucination_and_apart_it_does_not():
    assert reached(small(), "cross_entropy") >= {"enlarge", "recogniser", "classifier"}
    assert reached(small(), "pixels") == {"enlarge"}
    encoder = BackboneEncoder("resnet18", 32, 0.125, {"identity": 8})
    frozen = Hallucination(Categories(4), encoder, channels=8, blocks=1).train()
    assert reached(frozen, "cross_entropy") == {"enlarge", "classifier"}
    apart = small(hallucinator="separate")
    assert reached(apart, "cross_entropy", "centres") == {"recogniser", "classifier"}
    assert reached(small(hallucinator="separate"), "pixels") == {"enlarge"}
    none = small(hallucinator="bicubic")
    assert set(none.losses(torch.rand(4, 3, 32, 32), torch.arange(4))) == {
        *("cross_entropy", "centres")
    }
    assert not hasattr(none, "enlarge")


def test_64_pictures_are_learnt_by_heart_and_come_nearer_to_the_truth():
    torch.manual_seed(0)
    faces = RenderedFaces(64, 8, "all", size=32)
    images = faces.render_batch(range(64)).float() / 255
    labels = torch.tensor([faces.people.index(record.person) for record in faces.records])
    head = Hallucination(
        Categories(8), picture_size=32, width=0.25, dim=32, channels=16, blocks=2, scale=2
    )

    def learnt():
        # Still in training mode: running statistics lag behind after so few steps.
        made = (head.hallucinated(images) - images).square().mean()
        plain = (enlarged(head.made_small(images), 2) - images).square().mean()
        return bool((head(images).argmax(1) == labels).all() and made < plain)

    learn_by_heart(head, lambda: head.losses(images, labels), learnt, learning_rate=3e-3)


def test_how_near_to_the_truth_they_are():
    torch.manual_seed(0)
    head = small()
    images = enlarged(torch.rand(3, 3, 8, 8), 4).clamp(0, 1)
    images = (images + 0.1 * torch.rand_like(images)).clamp(0, 1)
    made = head.hallucinated(images).clamp(0, 1).detach()
    found = head.measures(images)
    assert found["SSIM"].values.min() > 50
    for i in range(3):
        one, other = (x[i].permute(1, 2, 0).numpy() for x in (made, images))
        psnr = peak_signal_noise_ratio(other, one, data_range=1)
        ssim = structural_similarity(
            *(other, one),
            data_range=1,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert found["PSNR"].values[i].item() == pytest.approx(psnr, abs=1e-3)
        assert found["SSIM"].values[i].item() == pytest.approx(
            100 * ssim, abs=1.0
        )  # that leaves out the rim


def test_panels_show_each_step():
    rows = small().eval().panels(torch.rand(2, 3, 32, 32))
    assert list(rows) == ["8 px", "bicubic", "hallucinated", "true"]
    assert all(
        row.shape == (2, 3, 32, 32) and 0 <= row.min() <= row.max() <= 1 for row in rows.values()
    )


def people(root):
    """LFW in small: eight people, of whom four are in pairs."""
    draw = np.random.default_rng(0)
    for person in range(8):
        face = draw.integers(0, 256, (6, 6, 3))
        for number in range(1, 7):
            path = root / "lfw" / f"Person_{person}" / f"Person_{person}_{number:04d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            noisy = np.clip(face + draw.normal(0, 10, face.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).resize((40, 40)).save(path)
    pairs = ["2\t2"]
    for a, b in ((0, 1), (2, 3)):
        pairs += [f"Person_{a}\t1\t2", f"Person_{b}\t1\t2"]
        pairs += [f"Person_{a}\t1\tPerson_{b}\t1", f"Person_{a}\t3\tPerson_{b}\t3"]
    (root / "lfw" / "pairs.txt").write_text("\n".join(pairs) + "\n")
    return root


def test_people_are_learnt_and_others_verified(tmp_path, capsys):
    words = [
        *("head", "-c", str(ROOT / "configs/head/hallucination.yaml")),
        *("--data", str(people(tmp_path / "data")), "--out", str(tmp_path / "out")),
        *("--head.init_args.picture_size", "32", "--head.init_args.width", "0.125"),
        *("--head.init_args.channels", "8", "--training.epochs", "2"),
        *("--training.batch_size", "4", "--bootstrap", "20", "--accelerator", "cpu"),
    ]
    assert main(words) == 0
    message = capsys.readouterr().out
    assert "4 people of" in message
    records = read_records(tmp_path / "out" / RECORDS_FILE)
    assert {r.task for r in records} == {"identity"}
    (one,) = [r for r in records if (r.metric, r.probe) == ("accuracy", "cosine similarity")]
    assert (one.encoder, one.feature_space, one.n) == ("hallucination", "end to end", 8)
    assert "to tell 4 people of" in one.protocol
    assert one.hyperparameters["training"]["epochs"] == 2
    assert "multiply-adds" in one.note
    restored = {r.metric: r for r in records if r.probe == "against the true pictures"}
    assert {*restored} == {"PSNR", "SSIM"}
    noise = restored["PSNR"]
    assert (noise.unit, noise.higher_is_better, noise.n) == ("dB", True, 12)
    assert 5 < noise.low < noise.value < noise.high < 60
    assert "multiply-adds" in noise.note
    (path,) = (tmp_path / "out").glob("heads/hallucination_identity/seed0/panel.png")
    assert Image.open(path).height > 4 * 32
    encoder = BackboneEncoder("resnet18", 32, 0.0625, {"identity": 8})
    folder = save_encoder(encoder, tmp_path / "e", {})
    assert main([*words, "--encoder", str(folder)]) == 0
    spaces = {(r.encoder, r.feature_space) for r in read_records(tmp_path / "out" / RECORDS_FILE)}
    assert (str(folder), "hallucination on identity") in spaces


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
