"""PCL: its loss terms by hand, and which layers are trained."""

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from torch.utils.flop_counter import FlopCounterMode

from ssl_faces.common.errors import InputError
from ssl_faces.losses.orthogonality import OrthogonalityLoss
from ssl_faces.methods.pcl import PCL
from ssl_faces.networks.backbone import EncoderSettings
from tests.support.by_heart import minimise
from tests.support.fits import SMALL, random_pairs, rendered_faces


def method(encoder=SMALL):
    torch.manual_seed(0)
    return PCL(encoder, projection_dim=16, decoder_width=4)


def test_terms_by_hand(monkeypatch):
    net = method().eval()
    monkeypatch.setattr(net, "recoloured", lambda x: 0.7 * x)
    x = net.views({"pairs": random_pairs(3)})
    first, second = x[:3], x[3:]
    with torch.no_grad():
        losses = net.losses(x)
        face, pose = net.features(first)
        mirror_face, mirror_pose = net.features(first.flip(-1))
        rendered = 0.0
        for wanted, its_pose in ((first, pose), (first.flip(-1), mirror_pose)):
            for its_face in (face, mirror_face):
                total = its_face + its_pose
                unit = total / total.square().mean(1, keepdim=True).sqrt()
                rendered += (net.decoder(unit) - wanted).abs().mean().item()
        orthogonality = OrthogonalityLoss()
        apart = orthogonality(face, pose) + orthogonality(mirror_face, mirror_pose)
        second_face, _ = net.features(second)
        near = NTXentLoss(0.07)(net.face_projector(face), net.face_projector(second_face))
        _, recoloured_pose = net.features(0.7 * first)
        a, b, c = (net.pose_projector(p) for p in (pose, recoloured_pose, mirror_pose))
        same, other, third = (F.cosine_similarity(*t) / 0.07 for t in ((a, b), (a, c), (b, c)))
        # With one negative, −log(e^p / (e^p + e^n)) is softplus(n − p).
        poses = (F.softplus(other - same) + F.softplus(third - same)).mean() / 2
    assert losses["reconstruction"].item() == pytest.approx(rendered, rel=1e-4)
    torch.testing.assert_close(losses["orthogonality"], apart, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["face"], near, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(losses["pose"], poses, rtol=1e-3, atol=1e-4)


def test_other_colours_leave_every_pixel_where_it_is():
    torch.manual_seed(0)
    net = method()
    values = torch.full((16, 3, 32, 32), 0.5)
    values[..., 10:20, 3:9] = torch.tensor([0.6, 0.4, 0.5])[:, None, None]
    changed = net.encoder.denormalise(net.recoloured(net.encoder.normalise(values)))
    inside, outside = changed[..., 10:20, 3:9], changed[..., 20:, :]
    for region in (inside, outside):
        assert region.flatten(2).std(-1).max() < 1e-5
    # Each picture has its own.
    assert changed.mean((-2, -1)).std(0).max() > 0.05


def test_learns_to_render_faces():
    net = method()
    x = net.views({"pairs": rendered_faces(6)[:, None].expand(-1, 2, -1, -1, -1)})
    first = net.losses(x)["pose"].item()
    minimise(net.parameters(), lambda: torch.stack([*net.losses(x).values()]).sum(), 60, 3e-3)
    last = net.losses(x)
    # Better than the best constant image for each.
    flat = 4 * (x[:6] - x[:6].mean((-2, -1), keepdim=True)).abs().mean().item()
    assert last["reconstruction"].item() < 0.7 * flat
    assert last["pose"].item() < 0.5 * first


@pytest.mark.parametrize(("width", "size"), [(0.25, 48), (1.0, 64)])
def test_the_decoder_takes_less_than_a_third_of_a_step(width, size):
    """Of the encoders of `configs/compare/small.yaml` and of `configs/method/pcl.yaml`."""
    net = PCL(EncoderSettings("resnet18", size, width))
    features = torch.randn(4, net.decoder.first.in_features, requires_grad=True)
    flops = []
    # Four renderings a pair.
    for loss in (
        lambda: sum(net.losses(torch.randn(2, 3, size, size)).values(), torch.zeros(())),
        lambda: net.decoder(features).sum(),
    ):
        with FlopCounterMode(display=False) as counter:
            loss().backward()
        flops.append(counter.get_total_flops())
    assert flops[1] < flops[0] / 3


def test_layers_behind_the_map_are_left_out():
    net = method(EncoderSettings("facecycle", 32, 0.125))
    for name, parameter in net.encoder.named_parameters():
        assert parameter.requires_grad == (".code." not in name), name
    x = net.views({"pairs": random_pairs(2)})
    sum(net.losses(x).values(), x.new_zeros(())).backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny"])
def test_all_of_encoders_that_end_in_the_map_is_trained(name):
    net = method(EncoderSettings(name, 32, 1.0 if name == "vit_tiny" else 0.125))
    assert all(p.requires_grad for p in net.encoder.parameters())


def test_bad_input():
    with pytest.raises(InputError, match="pcl compares the pairs of a batch: give at least 2"):
        method().views({"pairs": random_pairs(1)})
    with pytest.raises(InputError, match=r"model.encoder.name: timm:\S+ gives no map"):
        method(EncoderSettings("timm:gmixer_12_224", 32))
