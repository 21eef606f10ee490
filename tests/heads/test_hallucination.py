"""Hallucination and recognition: what is seen, what each loss reaches, how people are verified."""

from pathlib import Path

import numpy as np
import pytest
import torch
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
