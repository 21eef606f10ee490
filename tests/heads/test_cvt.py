"""CVT and the network of the fact sheet: layers, patterns, fusion, ten crops."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2gray
from skimage.feature import local_binary_pattern
from torch.utils.flop_counter import FlopCounterMode

from linear_probe.heads.crops import ten_crops
from linear_probe.heads.cvt import CVT, AttentionalFusion, lbp_maps
from linear_probe.heads.goals import Categories
from linear_probe.heads.head import overlaid
from linear_probe.heads.inception_fer import Inception, InceptionFER, PlainFER
from ssl_faces import InputError, load_encoder
from ssl_faces.rendered import RenderedFaces


def small(**settings):
    torch.manual_seed(0)
    return CVT(Categories(7), picture_size=32, width=0.125, dim=16, depth=2, heads=4, **settings)


def test_patterns_are_scikit_images():
    images = RenderedFaces(8, 8, "all", size=32).render_batch(range(8))
    found = (lbp_maps(images.float() / 255) * 255).round()
    for image, one in zip(images, found, strict=True):
        grey = (255 * rgb2gray(image.permute(1, 2, 0).numpy())).round()
        expected = local_binary_pattern(grey.astype(np.uint8), 8, 1)
        assert np.mean(one[0].numpy() != expected) < 0.002  # luma that rounds either way


def test_fusion_weighs_each_number_by_both_paths():
    torch.manual_seed(0)
    fuse = AttentionalFusion(8).eval()
    a, b = torch.rand(2, 8, 3, 3), torch.rand(2, 8, 3, 3)
    found = fuse(a, b)
    for n in range(2):
        both = (a + b)[n : n + 1]
        whole = fuse.whole[1:](both.mean((2, 3), keepdim=True))
        for y in range(3):
            for x in range(3):
                here = fuse.local(both[..., y : y + 1, x : x + 1])
                w = 1 / (1 + torch.exp(-(here + whole)))[0, :, 0, 0]
                expected = w * a[n, :, y, x] + (1 - w) * b[n, :, y, x]
                torch.testing.assert_close(found[n, :, y, x], expected)
    torch.testing.assert_close(fuse(a, a), a)


@pytest.mark.parametrize("fusion", ["attention", "sum", "concatenation", "pictures", "patterns"])
def test_each_fusion_uses_the_branches_that_it_names(fusion):
    head = small(fusion=fusion)
    images = torch.rand(4, 3, 32, 32)
    assert head(images).shape == (4, 7)
    both = fusion in ("attention", "sum", "concatenation")
    assert set(head.trunks) == ({"pictures", "patterns"} if both else {fusion})
    head.losses(images, torch.arange(4))["cross_entropy"].backward()
    for trunk in head.trunks.values():
        assert trunk.network.conv1.weight.grad.abs().sum() > 0


def test_branches_start_from_a_trained_encoder_up_to_a_map_of_enough_words():
    head = CVT(Categories(7), trunk="hybrid").eval()
    images = torch.rand(2, 3, 48, 48)
    assert head.picture_size == 48
    assert head.words(images).shape[1] == 36
    # Both start from the encoder's third stage, and are trained apart.
    encoder = load_encoder("hybrid").eval()
    seen = []
    encoder.network.layer3.register_forward_hook(lambda _, __, output: seen.append(output))
    for shown, found in zip(
        (images, lbp_maps(images).expand(-1, 3, -1, -1)), head.maps(images), strict=True
    ):
        encoder(shown)
        torch.testing.assert_close(found, seen[-1], rtol=1e-4, atol=1e-4)
    head.train()
    head.losses(images, torch.arange(2))["cross_entropy"].backward()
    assert all(p.grad is not None for p in head.parameters())
    assert CVT(Categories(7), trunk="hybrid", least_map=12, dim=8).words(images).shape[1] == 144
    for settings, message in (
        ({"trunk": "facecycle"}, r"head\.trunk: facecycle is no ResNet"),
        ({"trunk": "hybrid", "least_map": 25}, r"least_map: 25; the largest map of hybrid has 24"),
        ({"trunk": "hybrid", "encoder": encoder}, r"head\.trunk: an encoder makes the maps"),
    ):
        with pytest.raises(InputError, match=message):
            CVT(Categories(7), **settings)


def test_without_attention_places_are_exchangeable():
    for aggregation, same in (("average", True), ("attention", False)):
        head = small(aggregation=aggregation).eval()
        words = torch.rand(2, 4, 16)
        head.words = lambda images: images
        torch.manual_seed(1)
        turned = words[:, [1, 0, 3, 2]]
        assert torch.allclose(head(words), head(turned), atol=1e-6) == same


def test_the_papers_shapes():
    """Two ResNet-18 trunks of 512 channels, a class token, eight heads."""
    head = CVT(Categories(7), width=1.0, dim=512, depth=4)
    assert head.words(torch.rand(2, 3, 48, 48)).shape == (2, 9, 512)
    assert head.positions.shape == (1, 10, 512)
    assert {block.attention.num_heads for block in head.blocks} == {8}
    trunk = sum(p.numel() for p in head.trunks["pictures"].parameters())
    assert trunk == pytest.approx(11.17e6, rel=0.01)


def test_where_it_attends_to_is_drawn_over_the_picture():
    images = torch.full((2, 3, 32, 32), 0.5)
    weights = torch.zeros(2, 2, 2)
    weights[0, 0, 1] = 0.7
    found = overlaid(images, weights)
    assert found.shape == images.shape
    assert 0 <= found.min() <= found.max() <= 1
    bright = found[0].mean(0)
    assert bright[:8, -8:].mean() > bright[-8:, :8].mean() + 0.3
    assert torch.allclose(found[1], found[1, :, :1, :1].expand_as(found[1]), atol=1e-6)
    head = small().eval()
    with torch.no_grad():
        rows = head.panels(torch.rand(3, 3, 32, 32))
        assert set(rows) == {"picture", "LBP", "attention"}
        assert set(small(aggregation="average").eval().panels(torch.rand(3, 3, 32, 32))) == {
            *("picture", "LBP")
        }
    assert all(row.shape == (3, 3, 32, 32) for row in rows.values())


def flop(head):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        head.eval()(torch.rand(1, 3, 48, 48))
    return int(counter.get_total_flops())


def test_layers_are_the_papers():
    head = InceptionFER(Categories(7))
    shapes = []
    for layer in head.features.children():
        layer.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape[1:])))
    head.eval()(torch.rand(2, 3, 48, 48))
    assert shapes[1:] == [
        *((64, 24, 24), (64, 12, 12), (192, 12, 12), (192, 6, 6)),
        *((256, 6, 6), (480, 6, 6), (480, 3, 3), (512, 3, 3), (512, 3, 3)),
    ]
    assert head.embed(torch.rand(2, 3, 48, 48)).shape == (2, 512)
    assert [layer.out_features for layer in head.classifier[::3]] == [4096, 1024, 7]
    (first,) = [x for x in head.features.children() if isinstance(x, Inception)][:1]
    kernels = [m.kernel_size for m in first.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels == [(1, 1), (1, 1), (3, 3), (1, 1), (5, 5), (1, 1)]


def test_the_plain_network_costs_as_much():
    assert flop(PlainFER(Categories(7))) == pytest.approx(
        flop(InceptionFER(Categories(7))), rel=0.05
    )


def test_what_is_said_is_the_mean_over_ten_crops():
    torch.manual_seed(0)
    head = InceptionFER(Categories(5), width=0.125, hidden=(16, 8)).eval()
    images = torch.rand(3, 3, 54, 54)
    probabilities = [torch.softmax(head(crop), 1) for crop in ten_crops(images, 48)]
    torch.testing.assert_close(head.predict(images).exp(), torch.stack(probabilities).mean(0))
