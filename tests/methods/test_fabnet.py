"""FAb-Net: its loss against a loop, and known warps that it learns."""

import pytest
import torch

from ssl_faces.methods.fabnet import FAbNet
from ssl_faces.networks.warp import warp
from ssl_faces.pairs.local_warps import LocalWarps
from tests.support.by_heart import minimise
from tests.support.fits import SIZE, SMALL, random_pairs, rendered_faces


def method():
    torch.manual_seed(0)
    return FAbNet(SMALL, embedding_dim=16, decoder_width=8)


def test_each_frame_is_warped_to_the_other_by_both_embeddings():
    net = method().eval()
    x = net.views({"pairs": random_pairs(2)})
    with torch.no_grad():
        losses = net.losses(x)
        embedding = net.encoder.features(x, ("embedding",))["embedding"]
        total = 0.0
        for source, target in ((0, 2), (1, 3), (2, 0), (3, 1)):
            code = torch.cat((embedding[source], embedding[target]))
            warped = warp(x[source][None], net.decoder(code[None]), padding="border")
            total += (warped - x[target]).abs().mean().item()
    assert losses["pixel"].item() == pytest.approx(total / 4, abs=1e-5)
    assert losses["fold"].item() == 0  # new flows are small


def test_known_warps_are_found():
    torch.manual_seed(0)
    sources = rendered_faces(6)
    flows = LocalWarps(4, 0.6, (0.15, 0.25), (0.2, 0.35)).draw(6, SIZE)
    targets = warp(sources, flows, padding="border")
    net = method()
    x = net.views({"pairs": torch.stack((sources, targets), 1)})
    still = (x[:6] - x[6:]).abs().mean().item()
    losses = minimise(net.parameters(), lambda: net.losses(x)["pixel"], 80, 2e-3)
    assert losses[-1] < 0.6 * still


def test_a_flow_that_mirrors_costs_more_than_it_gains():
    net = method()
    mirrors = -torch.linspace(-1, 1, 16).expand(1, 16, 16)  # halfway to the mirrored place
    flow = torch.stack((2 * mirrors, torch.zeros_like(mirrors)), 1).clamp(-1, 1)
    assert net.hparams["fold_weight"] * net.fold(flow).item() > 1
