"""Stage 2 on a stage 1 of the design `repair`, and its contrast's views."""

import pytest
import torch

from ssl_faces.methods.facecycle_identity import CentredViews, FaceCycleIdentity
from ssl_faces.methods.facecycle_motion import FaceCycleMotion


@pytest.fixture
def stage2(tmp_path):
    torch.manual_seed(0)
    stage1 = FaceCycleMotion(
        "small", 16, "random", "joint", "repair", perceptual_weight=0.0, descriptor_weight=1.0
    )
    checkpoint = {
        "state_dict": stage1.state_dict(),
        "hyper_parameters": dict(stage1.hparams),
        "method": stage1.name,
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    return FaceCycleIdentity(
        tmp_path / "last.ckpt", perceptual_weight=0.0, agreement_weight=2.0, contrast_weight=3.0
    )


def test_mean_and_reidentified_faces_start_as_the_mean_of_neutral_faces(stage2):
    x = torch.randn(6, 3, 16, 16)
    cycle, losses = stage2.cycle(x)
    mean = cycle.neutral.mean(0, keepdim=True)
    torch.testing.assert_close(cycle.mean_face, mean, atol=0.05, rtol=0)
    torch.testing.assert_close(cycle.reidentified, mean.expand_as(x), atol=0.1, rtol=0)
    assert losses["agreement"].item() < 0.05


def test_the_average_face_is_the_mean_of_batches_and_then_forgets(stage2):
    faces = torch.randn(103, 2, 3, 16, 16)
    average = stage2.average
    for batch in faces[:100]:
        average.take(batch)
    mean = faces[:100].mean((0, 1))
    torch.testing.assert_close(average.face[0], mean, atol=1e-5, rtol=0)
    for batch in faces[100:]:
        average.take(batch)
        mean = 0.99 * mean + 0.01 * batch.mean(0)
    torch.testing.assert_close(average.face[0], mean, atol=1e-5, rtol=0)


def test_only_training_moves_the_average_face(stage2):
    x = torch.randn(6, 3, 16, 16)
    stage2.train()
    stage2.cycle(x)
    before = stage2.average.face.clone()
    stage2.eval()
    stage2.cycle(x + 1)
    assert torch.equal(stage2.average.face, before)
    assert before.any()
    assert {"renormaliser", "average"} <= set(stage2.edit_networks())


def test_every_weight_has_a_gradient(stage2, monkeypatch):
    logged = {}
    monkeypatch.setattr(stage2, "log", lambda *_, **__: None)
    monkeypatch.setattr(stage2, "log_dict", logged.update)
    stage2.train()
    stage2.training_step({"pairs": torch.rand(4, 2, 3, 16, 16)}, 0).backward()
    without = [n for n, p in stage2.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert {"loss/agreement", "loss/contrast"} <= logged.keys()
    assert "loss/perceptual" not in logged


def test_views_have_one_colour_at_the_border_and_the_face_in_the_middle():
    torch.manual_seed(0)
    pairs = torch.rand(8, 2, 3, 48, 48)
    views = CentredViews(48)(pairs)
    assert views.shape == pairs.shape
    corners = views[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == corners[..., :1]).all()
    # Each view has its own.
    assert len(corners[..., 0].flatten(0, 1).unique(dim=0)) == 16
    middle = views[..., 16:32, 16:32]
    assert (middle.flatten(-2).std(-1) > 0.05).all()
