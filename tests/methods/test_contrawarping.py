"""ContraWarping: which images are whose negatives, and what it learns."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_faces.methods.contrawarping import ContraWarping
from ssl_faces.pairs.local_warps import AffineMaps, LocalWarps
from tests.support.by_heart import minimise
from tests.support.fits import SIZE, SMALL, random_pairs, rendered_faces

STILL = AffineMaps(turn=0, scale=0, shear=0, move=0)


def test_a_face_repels_its_own_warps_and_all_other_faces(monkeypatch):
    net = ContraWarping(SMALL, temperature=0.5, negatives=2)
    # Pixels as embeddings show which images are compared.
    monkeypatch.setattr(net, "represent", lambda x: x.flatten(1))
    net.projector = torch.nn.Identity()
    x = net.views({"pairs": random_pairs(3)})
    torch.manual_seed(7)
    loss = net.losses(x)["contrastive"].item()
    torch.manual_seed(7)
    views, warped, _ = net.changed(x)
    assert warped.shape == (12, 3, SIZE, SIZE)
    expected = []
    for i in range(6):
        face = i % 3
        near = _exp(views[i], views[(i + 3) % 6])
        far = sum(_exp(views[i], w) for j, w in enumerate(warped) if j % 3 == face)
        far += sum(_exp(views[i], v) for j, v in enumerate(views) if j % 3 != face)
        expected.append(-math.log(near / (near + far)))
    assert loss == pytest.approx(sum(expected) / 6, abs=1e-4)


def _exp(a, b):
    return math.exp(F.cosine_similarity(a.flatten(), b.flatten(), dim=0).item() / 0.5)


def test_without_maps_views_are_the_pictures_and_negatives_are_not():
    torch.manual_seed(0)
    net = ContraWarping(SMALL, affine=STILL)
    x = net.views({"pairs": rendered_faces(4)[:, None].expand(-1, 2, -1, -1, -1)})
    views, warped, local = net.changed(x)
    torch.testing.assert_close(views, x, atol=1e-4, rtol=0)
    assert ((warped - x).abs().flatten(1).mean(1) > 0.02).all()
    # Nothing far from the bumps moves: the face is changed, not replaced.
    still = local.norm(dim=1) < 1e-3
    far = F.max_pool2d((~still).float(), 5, 1, 2) == 0
    difference = (warped - x).abs().amax(1)[far]
    assert difference.numel()
    assert difference.max() < 0.1


def test_learns_to_tell_warps_from_maps():
    torch.manual_seed(0)
    local = LocalWarps(3, 0.5, (0.2, 0.3), (0.2, 0.35))
    net = ContraWarping(SMALL, projection_dim=16, other_faces=False, local=local, affine=STILL)
    pictures = rendered_faces(8)
    x = net.views({"pairs": torch.stack((pictures, 0.8 * pictures), 1)})
    losses = minimise(net.parameters(), lambda: net.losses(x)["contrastive"], 60, 3e-3)
    # One positive and two negatives, drawn in each step: log 3 by chance.
    assert sum(losses[-10:]) / 10 < 0.6 * math.log(3)
