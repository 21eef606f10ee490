"""TCAE: its loss terms by hand, what depends on which code, and known warps that it learns."""

import pytest
import torch

from ssl_faces.methods.tcae import KINDS, TCAE
from ssl_faces.networks.warp import warp
from ssl_faces.pairs.local_warps import LocalWarps
from tests.support.by_heart import minimise
from tests.support.fits import SIZE, SMALL, random_pairs, rendered_faces


def method():
    torch.manual_seed(0)
    return TCAE(SMALL, code_dim=16, decoder_width=8)


def test_terms_by_hand():
    net = method().eval()
    x = net.views({"pairs": random_pairs(2)})
    with torch.no_grad():
        losses = net.losses(x)
        expected = by_hand(net, x[:2], x[2:])
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-4, abs=1e-5), name


def by_hand(net, source, target):
    decoders = {"action": net.action_decoder, "pose": net.pose_decoder}

    def codes(pictures):
        return net.encoder.features(pictures, KINDS)

    def square(a, b):
        spread = ((b - b.mean(0)) ** 2).mean().item()
        return ((a - b) ** 2).mean().item() / spread

    def moved(pictures, flow):
        return warp(pictures, flow, padding="border")

    of, to = codes(source), codes(target)
    result = {kind: decoders[kind](torch.cat((of[kind], to[kind]), 1)) for kind in KINDS}
    weights = {kind: result[kind][:, 2:].exp() for kind in KINDS}
    merged = sum(weights[kind] * result[kind][:, :2] for kind in KINDS)
    merged = merged / (weights["action"] + weights["pose"])
    both = moved(source, merged)
    code = square(codes(both)["action"], to["action"]) + square(codes(both)["pose"], to["pose"])
    cycle = 0.0
    for kind, other in (("action", "pose"), ("pose", "action")):
        changed = moved(source, result[kind][:, :2])
        has = codes(changed)
        code += square(has[kind], to[kind]) + square(has[other], of[other])
        back = decoders[kind](torch.cat((has[kind], of[kind]), 1))[:, :2]
        cycle += (moved(changed, back) - source).abs().mean().item()
    return {
        "pixel": 10 * (both - target).abs().mean().item(),
        "cycle": cycle,
        "code": 0.001 * code,
        "action flow": 0.1 * result["action"][:, :2].abs().mean().item(),
        "fold": 0.0,  # new flows are small
    }


def test_action_alone_leaves_the_pose_and_the_other_way_round():
    net = method().eval()
    x = net.views({"pairs": random_pairs(2)})
    source = x[:2]
    draw = torch.Generator().manual_seed(1)
    of, to = ({kind: torch.randn(2, 16, generator=draw) for kind in KINDS} for _ in range(2))
    with torch.no_grad():
        before, _ = net.cycle(source, of, to)
        for kind, other in (("action", "pose"), ("pose", "action")):
            changed = {**to, kind: torch.randn(2, 16, generator=draw)}
            after, _ = net.cycle(source, of, changed)
            assert torch.equal(after.changed[other], before.changed[other])
            assert not torch.equal(after.changed[kind], before.changed[kind])
            assert not torch.equal(after.both, before.both)


def test_the_way_back_gives_no_gradient_to_the_picture_it_warps():
    net = method().eval()
    # Without flows, gradients come by the warped pictures alone.
    for decoder in (net.action_decoder, net.pose_decoder):
        torch.nn.init.zeros_(decoder.flow.weight)
    source = net.views({"pairs": random_pairs(2)})[:2].requires_grad_()
    codes = net._codes(source, 1)[0]
    cycle, _ = net.cycle(source, codes, codes)
    (both,) = torch.autograd.grad(cycle.both.sum(), source, retain_graph=True)
    torch.testing.assert_close(both, torch.ones_like(both))
    for kind in KINDS:
        torch.testing.assert_close(cycle.back[kind], source.detach(), atol=1e-3, rtol=0)
        (back,) = torch.autograd.grad(cycle.back[kind].sum(), source, retain_graph=True)
        assert back.abs().max() == 0


def test_known_warps_are_found():
    torch.manual_seed(0)
    sources = rendered_faces(6)
    flows = LocalWarps(4, 0.6, (0.15, 0.25), (0.2, 0.35)).draw(6, SIZE)
    net = method()
    targets = warp(sources, flows, padding="border")
    x = net.views({"pairs": torch.stack((sources, targets), 1)})
    still = 10 * (x[:6] - x[6:]).abs().mean().item()
    minimise(net.parameters(), lambda: torch.stack([*net.losses(x).values()]).sum(), 40, 2e-3)
    assert net.losses(x)["pixel"].item() < 0.7 * still
