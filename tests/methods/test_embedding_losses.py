"""Losses of methods that compare embeddings, against their formulas."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_faces.methods.barlow_twins import BarlowTwins
from ssl_faces.methods.byol import BYOL
from ssl_faces.methods.dino import DINO
from ssl_faces.methods.lejepa import LeJEPA
from ssl_faces.methods.moco_v3 import MoCoV3
from ssl_faces.methods.nnclr import NNCLR
from ssl_faces.methods.simclr import SimCLR
from ssl_faces.methods.simsiam import SimSiam
from ssl_faces.methods.swav import SwAV
from ssl_faces.methods.vicreg import VICReg
from ssl_faces.methods.w_mse import WMSE
from ssl_faces.networks.backbone import EncoderSettings

B, DIM = 4, 6
TINY = EncoderSettings("facecycle", 32, 0.0625)


def built(kind, **settings):
    torch.manual_seed(0)
    method = kind(TINY, **settings)
    method._trainer = at_step(0)
    if method.teacher is not None:
        # Otherwise its output equals the student's.
        with torch.no_grad():
            for p in method.teacher.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return method


def at_step(step):
    """A trainer at this step of 100."""
    return SimpleNamespace(global_step=step, estimated_stepping_batches=100)


def images():
    return torch.randn(2 * B, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def each_view(network, x):
    """Batch normalisation sees one view at a time."""
    first, second = x[:B], x[B:]
    return torch.cat((network(first), network(second)))


def embeddings(method, x):
    return method.projector(method.represent(x)).detach()


def targets(method, x):
    teacher = method.teacher
    return teacher.projector(method.represent(x, teacher.encoder)).detach()


def embeddings_by_view(method, x):
    return each_view(lambda view: embeddings(method, view), x)


def targets_by_view(method, x):
    return each_view(lambda view: targets(method, view), x)


def predictions_by_view(method, x):
    return each_view(lambda view: method.predictor(embeddings(method, view)).detach(), x)


def cosines(a, b):
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def total(method, x):
    return sum(value.item() for value in method.losses(x).values())


def test_simclr():
    """Each of 2B images among the 2B - 1 others (NT-Xent)."""
    method = built(SimCLR, projection_dim=DIM, temperature=0.3)
    z = embeddings(method, images())
    logits = (cosines(z, z) / 0.3).fill_diagonal_(-math.inf)
    loss = F.cross_entropy(logits, torch.arange(2 * B).roll(B))
    assert total(method, images()) == pytest.approx(loss.item(), rel=1e-4)


def test_moco_v3():
    """Each query among the B keys of the other images: both ways, times twice the temperature."""
    method = built(MoCoV3, projection_dim=DIM, hidden_dim=16, temperature=0.5)
    q, k = predictions_by_view(method, images()), targets_by_view(method, images())
    loss = 0.0
    for queries, keys in ((q[:B], k[B:]), (q[B:], k[:B])):
        logits = cosines(queries, keys) / 0.5
        loss += 2 * 0.5 * F.cross_entropy(logits, torch.arange(B)).item()
    assert total(method, images()) == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("kind", [BYOL, SimSiam])
def test_byol_and_simsiam(kind):
    method = built(kind, projection_dim=DIM, hidden_dim=16)
    targets_of = targets_by_view if kind is BYOL else embeddings_by_view
    p, z = predictions_by_view(method, images()), targets_of(method, images())
    loss = -F.cosine_similarity(p, z.roll(B, 0)).mean()
    assert total(method, images()) == pytest.approx(loss.item(), rel=1e-4)


def test_vicreg():
    method = built(VICReg, projection_dim=DIM, variance_weight=20.0, covariance_weight=2.0)
    first, second = embeddings_by_view(method, images()).double().split(B)
    expected = {"invariance": 25 * F.mse_loss(first, second), "variance": 0.0, "covariance": 0.0}
    for branch in (first, second):
        covariance = branch.T.cov()
        spread = (covariance.diag() + 1e-4).sqrt()
        expected["variance"] += 20 * F.relu(1 - spread).mean() / 2
        others = covariance - covariance.diag().diag()
        expected["covariance"] += 2 * others.square().sum() / DIM
    result = {name: value.item() for name, value in method.losses(images()).items()}
    assert result == pytest.approx({k: float(v) for k, v in expected.items()}, rel=1e-4)


def test_barlow_twins():
    method = built(BarlowTwins, projection_dim=DIM, redundancy_weight=0.1)
    first, second = (
        (branch - branch.mean(0)) / (branch.var(0, correction=0) + 1e-5).sqrt()
        for branch in embeddings_by_view(method, images()).double().split(B)
    )
    error = (first.T @ second / B - torch.eye(DIM)).square()
    loss = 0.1 * error.sum() + 0.9 * error.diag().sum()
    assert total(method, images()) == pytest.approx(loss.item(), rel=1e-4)


def test_dino_and_its_centre():
    """Every crop against the teacher's of both images, but none against its own."""
    method = built(
        DINO,
        prototypes=DIM,
        hidden_dim=8,
        local_crops=1,
        warmup_temperature=0.5,
        teacher_temperature=0.7,
        warmup_share=0.4,
    )
    x, centre = images(), torch.randn(DIM)
    method.criterion.center = centre.view(1, 1, -1).clone()
    torch.manual_seed(5)
    local = method.cut(x)
    assert local.shape == (2 * B, 3, 32, 32)  # enlarged: FaceCycle's encoder takes no other side
    student = embeddings(method, torch.cat((x, local))).split(B)
    teacher = targets(method, x).split(B)
    for step, temperature in ((0, 0.5), (20, 0.6), (40, 0.7), (99, 0.7)):
        method._trainer = at_step(step)
        method.criterion.center = centre.view(1, 1, -1).clone()
        loss = 0.0
        for t, s in itertools.product(range(2), range(4)):
            if s != t:
                aim = ((teacher[t] - centre) / temperature).softmax(1)
                loss -= (aim * (student[s] / 0.1).log_softmax(1)).sum().item()
        torch.manual_seed(5)
        assert total(method, x) == pytest.approx(loss / (6 * B), rel=1e-4)
        expected = 0.9 * centre + 0.1 * torch.cat(teacher).mean(0)
        torch.testing.assert_close(method.criterion.center[0, 0], expected, rtol=1e-4, atol=1e-5)


def test_dinos_local_crops_are_of_their_images():
    """Their order, and their side where the encoder takes it."""
    method = DINO(
        EncoderSettings("resnet18", 32, 0.0625), prototypes=8, local_crops=3, local_size=16
    )
    grey = torch.linspace(0.2, 0.8, 2 * B)[:, None, None, None].expand(-1, 3, 32, 32)
    torch.manual_seed(0)
    method.local.settings = replace(method.local.settings, jitter_share=0.0, grey_share=0.0)
    local = method.cut(method.encoder.normalise(grey))
    assert local.shape == (6 * B, 3, 16, 16)
    torch.testing.assert_close(
        method.encoder.denormalise(local).mean((1, 2, 3)), grey[:, 0, 0, 0].repeat(3)
    )


def test_dinos_last_layer_is_frozen_for_a_share_of_the_run():
    method = built(DINO, prototypes=DIM, hidden_dim=8, local_crops=0, frozen_share=0.05)
    for step, moves in ((0, False), (4, False), (5, True)):
        method._trainer = at_step(step)
        method.zero_grad()
        sum(method.losses(images()).values()).backward()
        method.on_after_backward()
        gradients = [p.grad for p in method.projector.last_layer.parameters() if p.requires_grad]
        assert gradients
        assert all((g is not None) == moves for g in gradients)
        assert method.projector.layers[0].weight.grad.abs().sum() > 0


def sinkhorn(scores, epsilon, rounds):
    """Assignments [n, K]: prototypes in equal parts, then images to 1, in turns."""
    q = (scores.double() / epsilon).exp()
    for _ in range(rounds):
        for prototype in range(q.shape[1]):
            q[:, prototype] /= q[:, prototype].sum()
        for image in range(len(q)):
            q[image] /= q[image].sum()
    return q


def test_swav_and_its_queue():
    """Each crop predicts the assignments of both images' other view, clustered with the queue once
    that is full and its share of the run has passed."""
    method = built(
        SwAV,
        prototypes=5,
        projection_dim=DIM,
        hidden_dim=8,
        local_crops=1,
        temperature=0.2,
        epsilon=0.1,
        iterations=2,
        queue_length=6,
        queue_share=0.03,
    )
    x = images()
    earlier = torch.zeros(2, 0, DIM)
    for step in range(4):
        method._trainer = at_step(step)
        torch.manual_seed(step)
        features = F.normalize(embeddings(method, torch.cat((x, method.cut(x)))), dim=1)
        prototypes = F.normalize(method.prototypes.weight.detach(), dim=1)
        scores = (features @ prototypes.T).split(B)
        full = step == 3
        loss = 0.0
        for view in range(2):
            clustered = scores[view]
            if full:
                clustered = torch.cat((clustered, earlier[view, :6] @ prototypes.T))
            codes = sinkhorn(clustered, 0.1, 2)[:B]
            for crop in range(4):
                if crop != view:
                    loss -= (codes * (scores[crop] / 0.2).log_softmax(1)).sum(1).mean().item()
        torch.manual_seed(step)
        assert total(method, x) == pytest.approx(loss / 6, rel=1e-4)
        earlier = torch.cat((torch.stack(features.split(B)[:2]), earlier), 1)
        x = x + 0.1
    torch.testing.assert_close(method.queue, earlier[:, :6], rtol=1e-4, atol=1e-5)


def test_swavs_prototypes_are_frozen_for_a_share_of_the_run():
    method = built(SwAV, prototypes=5, hidden_dim=8, local_crops=0, frozen_share=0.05)
    for step, moves in ((4, False), (5, True)):
        method._trainer = at_step(step)
        method.zero_grad()
        sum(method.losses(images()).values()).backward()
        method.on_after_backward()
        assert (method.prototypes.weight.grad is not None) == moves


def test_nnclr_and_its_bank():
    """The nearest of the bank to each image among the predictions of the other view."""
    method = built(NNCLR, projection_dim=DIM, hidden_dim=16, temperature=0.5, bank_size=9)
    bank = method.bank.bank.clone()
    z, p = embeddings_by_view(method, images()), predictions_by_view(method, images())
    loss = 0.0
    for view, other in ((z[:B], p[B:]), (z[B:], p[:B])):
        nearest = torch.stack([max(bank, key=lambda b: F.cosine_similarity(b, e, 0)) for e in view])
        logits = cosines(nearest, other) / 0.5
        loss += 0.5 * F.cross_entropy(logits, torch.arange(B)).item()
    assert total(method, images()) == pytest.approx(loss, rel=1e-4)
    torch.testing.assert_close(method.bank.bank[:B], z[B:], rtol=1e-4, atol=1e-5)
    assert torch.equal(method.bank.bank[B:], bank[B:])


def test_w_mse():
    """Cosines of whitened embeddings, whose covariance is the identity matrix."""
    method = built(WMSE, projection_dim=2, hidden_dim=16, group_size=B, shrinkage=0.0)
    white = []
    for view in embeddings(method, images()).double().split(B):
        root = torch.linalg.cholesky(view.T.cov())
        white.append((view - view.mean(0)) @ torch.linalg.inv(root).T)
        torch.testing.assert_close(white[-1].T.cov(), torch.eye(2).double())
    loss = (2 - 2 * F.cosine_similarity(*white)).mean()
    assert total(method, images()) == pytest.approx(loss.item(), rel=1e-3)


def test_lejepa():
    """Squared distances to the mean of the global crops, and Epps and Pulley's statistic of each
    crop along random directions, by its integral."""
    method = built(
        LeJEPA, projection_dim=DIM, hidden_dim=8, local_crops=1, gaussian_weight=0.3, directions=7
    )
    x = images()
    torch.manual_seed(3)
    z = embeddings(method, torch.cat((x, method.cut(x)))).double().split(B)
    directions = F.normalize(torch.randn(DIM, 7).double(), dim=0)
    centre = (z[0] + z[1]) / 2
    invariance = torch.stack([(crop - centre).square().mean() for crop in z]).mean()
    t = torch.linspace(-3, 3, 33).double()
    gaussian = (-t.square() / 2).exp()
    statistics = []
    for crop, direction in itertools.product(z, directions.T):
        phi = torch.exp(1j * t[:, None] * (crop @ direction)).mean(1)
        statistics.append(B * torch.trapezoid((phi - gaussian).abs().square() * gaussian, t))
    torch.manual_seed(3)
    result = method.losses(x)
    assert result["invariance"].item() == pytest.approx(0.7 * invariance.item(), rel=1e-4)
    expected = 0.3 * torch.stack(statistics).mean().item()
    assert result["gaussian"].item() == pytest.approx(expected, rel=1e-3)


def test_sigreg_is_least_for_a_gaussian():
    """Of many samples, and larger for other scales, shapes and for equal embeddings."""
    method = built(LeJEPA, projection_dim=DIM, hidden_dim=8, local_crops=0, directions=16)
    z = torch.randn(1, 2000, DIM, generator=torch.Generator().manual_seed(0))
    cubes = 12**0.5 * (torch.rand(1, 2000, DIM) - 0.5)
    gaussian, *others = (
        method.sigreg(value).item() for value in (z, 1.3 * z, cubes, 0 * z, z[..., :1].expand_as(z))
    )
    # The statistic of a Gaussian sample has a mean of about 1 for any number of rows.
    assert gaussian < 2
    assert min(others) > 2 * gaussian


@pytest.mark.parametrize("kind", [BYOL, MoCoV3, DINO])
def test_teachers_get_no_gradient(kind):
    settings = {"prototypes": DIM, "local_crops": 0} if kind is DINO else {"projection_dim": DIM}
    method = built(kind, hidden_dim=8, **settings)
    sum(method.losses(images()).values()).backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    for name, p in method.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name


def test_simsiams_target_gets_no_gradient():
    """The gradient equals that with fixed targets, and differs from that with free ones."""
    method = built(SimSiam, projection_dim=DIM, hidden_dim=8)
    weight = method.encoder.network.code[2].weight

    def gradient(loss):
        return torch.autograd.grad(loss, weight)[0]

    result = gradient(sum(method.losses(images()).values()))
    z = each_view(lambda view: method.projector(method.represent(view)), images())
    alike = nn.functional.cosine_similarity
    predicted = each_view(method.predictor, z)
    fixed = z.detach().clone().roll(B, 0)
    expected = gradient(-alike(predicted, fixed).mean())
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-7)
    z = each_view(lambda view: method.projector(method.represent(view)), images())
    free = gradient(-alike(each_view(method.predictor, z), z.roll(B, 0)).mean())
    assert (free - expected).norm() > 0.1 * expected.norm()


@pytest.mark.parametrize(("encoder", "layers"), [("timm:test_vit", 3), ("resnet18", 2)])
def test_heads_of_moco_v3_are_those_of_the_authors_code(encoder, layers):
    """Layers without biases, each batch-normalised, and the last one without learned weights."""
    method = MoCoV3(EncoderSettings(encoder, 32, 0.0625 if encoder == "resnet18" else 1.0))
    for head, count in ((method.projector, layers), (method.predictor, 2)):
        hidden = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
        assert [type(layer) for layer in head] == (count * hidden)[:-1]
        linear = [layer for layer in head if isinstance(layer, nn.Linear)]
        assert [layer.out_features for layer in linear] == [*[1024] * (count - 1), 256]
        assert all(layer.bias is None for layer in linear)
        norms = [layer for layer in head if isinstance(layer, nn.BatchNorm1d)]
        assert [layer.affine for layer in norms] == [*[True] * (count - 1), False]
