"""DINOv2 and I-JEPA: masked blocks, losses against loops, learning, and unsupported encoders."""

import itertools
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from ssl_faces.methods.dinov2 import DINOv2
from ssl_faces.methods.ijepa import IJEPA
from ssl_faces.methods.patch_blocks import draw_blocks
from ssl_faces.networks.backbone import EncoderSettings
from tests.support.by_heart import minimise
from tests.support.fits import SMALL, check_panels, mirrored_pairs
from tests.support.refusals import message_of

SIDE, PATCH, GRID = 64, 16, 4
PAIRS = 2


def built(kind, **settings):
    torch.manual_seed(0)
    narrow = {"prototypes": 6, "hidden_dim": 8, "local_size": 32} if kind is DINOv2 else {}
    narrow |= {"predictor_dim": 32, "predictor_depth": 1} if kind is IJEPA else {}
    method = kind(EncoderSettings("timm:test_vit", SIDE), **{**narrow, **settings})
    method._trainer = SimpleNamespace(global_step=0, estimated_stepping_batches=100)
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return method


def pictures(method, pairs=PAIRS):
    return method.views({"pairs": mirrored_pairs(pairs, SIDE)})


@pytest.mark.parametrize("same_size", [True, False])
def test_blocks(same_size):
    torch.manual_seed(0)
    blocks = draw_blocks(400, 12, (0.1, 0.5), (0.5, 2.0), same_size)
    height, width = blocks.any(2).sum(1), blocks.any(1).sum(1)
    assert torch.equal(height * width, blocks.sum((1, 2)))  # whole rectangles
    assert blocks.sum((1, 2)).min() >= 0.08 * 144
    assert blocks.sum((1, 2)).max() <= 0.55 * 144
    ratios = height / width
    assert ratios.min() >= 0.4
    assert ratios.max() <= 2.6
    assert (len(height.unique()) == 1) == same_size
    assert blocks.any(0).all()  # anywhere


@pytest.mark.parametrize("kind", [DINOv2, IJEPA])
def test_only_vits_with_a_class_token(kind):
    message = f"model.encoder.name: resnet18, but {kind.name} needs a ViT with a class token"
    assert message in message_of(kind, SMALL)


@pytest.mark.parametrize(
    ("kind", "setting"), [(DINOv2, "mask_area"), (IJEPA, "target_area"), (IJEPA, "context_area")]
)
def test_ranges_rise(kind, setting):
    settings = {setting: (0.5, 0.2)}
    encoder = EncoderSettings("timm:test_vit", SIDE)
    assert f"model.{setting}: 0.5 to 0.2; give" in message_of(kind, encoder, **settings)


@pytest.mark.parametrize("kind", [DINOv2, IJEPA])
def test_all_that_is_trained_gets_a_gradient_and_is_listed_once(kind):
    method = built(kind)
    sum(method.losses(pictures(method)).values()).backward()
    for name, p in method.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name
    assert not any("masked" in name for name in method.state_dict())
    assert not any(p.requires_grad for p in method.teacher.parameters())


@pytest.mark.parametrize("kind", [DINOv2, IJEPA])
def test_the_loss_falls_on_a_few_faces(kind):
    """Eight images, always the same patches masked and the same local crops."""
    method = built(kind, **({"koleo_weight": 0.0, "local_crops": 0} if kind is DINOv2 else {}))
    x = pictures(method, 4)

    def loss():
        torch.manual_seed(1)
        if kind is DINOv2:  # of targets that don't move
            method.of_images.center.zero_()
            method.of_patches.center.center.zero_()
        return torch.stack(list(method.losses(x).values())).sum()

    totals = minimise([p for p in method.parameters() if p.requires_grad], loss, 40, 3e-3)
    assert sum(totals[-3:]) < 0.8 * sum(totals[:3])


def test_dinov2():
    """Every crop against the teacher's of both images but its own; the masked patches against the
    teacher's, each image alike; minus the logarithm of distances to the nearest of the view."""
    method = built(
        DINOv2,
        local_crops=1,
        mask_share=0.5,
        warmup_temperature=0.6,
        teacher_temperature=0.6,
        patch_weight=2.0,
        koleo_weight=0.3,
    )
    x = pictures(method, 3)
    b = 3
    centre, patch_centre = torch.randn(2, 6)
    method.of_images.center = centre.view(1, 1, -1).clone()
    method.of_patches.center.center = patch_centre[None].clone()
    torch.manual_seed(4)
    mask = method.draw(len(x))
    assert mask.any((1, 2)).sum() == b
    with torch.no_grad():
        classes, patches = method.tokens(x, method.encoder, mask)
        crops = torch.cat((classes, method.represent(method.cut(x))))
        student = (method.projector["image"](crops) / 0.1).log_softmax(1).split(b)
        masked = (method.projector["patch"](patches) / 0.1).log_softmax(-1)
        heads = method.teacher.projector
        teacher_classes, teacher_patches = method.tokens(x, method.teacher.encoder)
        teacher = ((heads["image"](teacher_classes) - centre) / 0.6).softmax(1).split(b)
        aims = ((heads["patch"](teacher_patches) - patch_centre) / 0.6).softmax(-1)
    images, of_patches, koleo = 0.0, 0.0, 0.0
    for t, s in itertools.product(range(2), range(4)):
        if s != t:
            images -= (teacher[t] * student[s]).sum().item()
    for image in range(len(x)):
        places = mask[image].nonzero().tolist()
        for row, column in places:
            cross = -(aims[image, row, column] * masked[image, row, column]).sum().item()
            of_patches += cross / len(places)
    for view in F.normalize(classes, dim=1).split(b):
        for i in range(b):
            near = min((view[i] - view[j]).norm().item() for j in range(b) if j != i)
            koleo -= torch.tensor(near).log().item() / b
    torch.manual_seed(4)
    result = {name: value.item() for name, value in method.losses(x).items()}
    expected = {
        "images": images / (6 * b),
        "patches": 2 * of_patches / len(x),
        "koleo": 0.3 * koleo,
    }
    assert result == pytest.approx(expected, rel=1e-3)


def test_dinov2s_student_does_not_see_masked_patches():
    method = built(DINOv2).eval()
    x = pictures(method)
    mask = method.draw(len(x))
    hidden = F.interpolate(mask[:, None].float(), scale_factor=PATCH).bool()
    with torch.no_grad():
        before, after, seen = (
            method.tokens(y, method.encoder, mask)[1]
            for y in (x, x.masked_fill(hidden, 9.0), x.masked_fill(~hidden, 9.0))
        )
        none = torch.zeros_like(mask)
        whole = method.tokens(x, method.encoder, none)[1]
        expected = method.tokens(x, method.encoder)[1]
    torch.testing.assert_close(before, after, rtol=0, atol=0)
    assert (before - seen).abs().max() > 1e-4
    # With nothing masked it is what `load_encoder` gives.
    torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("targets", [1, 4])
def test_what_ijepa_sees_and_predicts(targets):
    """Blocks of equal size; no target is seen; as many patches of each image are seen."""
    method = built(IJEPA, targets=targets)
    for _ in range(20):
        context, blocks = method.draw(50)
        assert blocks.shape[:2] == (targets, 50)
        assert 2 <= blocks.shape[2] <= 4  # 0.15 to 0.2 of 16 patches, rounded
        assert context.shape[1] >= 2
        for i in range(50):
            seen, hidden = set(context[i].tolist()), set(blocks[:, i].flatten().tolist())
            assert len(seen) == context.shape[1]
            assert not seen & hidden
            assert seen | hidden <= set(range(GRID**2))


def test_images_too_small_for_ijepa():
    method = built(IJEPA, target_area=(1.0, 1.0), context_area=(0.06, 0.06))
    assert "model.target_area: targets leave none of 16" in message_of(method.draw, 50)


def test_ijepa():
    """Smooth L1 distance of each target's tokens to the teacher's, normalised, in a loop; nothing
    of the targets is seen."""
    method = built(IJEPA)
    x = pictures(method)
    torch.manual_seed(2)
    context, blocks = method.draw(len(x))
    torch.manual_seed(2)
    result = method.losses(x)["prediction"].item()
    with torch.no_grad():
        predicted = method.predicted(x, context, blocks).unflatten(0, blocks.shape[:2])
        tokens = method.teacher.encoder.network.forward_features(x)[:, 1:]
    errors = []
    for block, image in itertools.product(range(len(blocks)), range(len(x))):
        for n, number in enumerate(blocks[block, image].tolist()):
            token = tokens[image, number]
            aim = (token - token.mean()) / (token.var(correction=0) + 1e-5).sqrt()
            errors.append(F.smooth_l1_loss(predicted[block, image, n], aim).item())
    assert result == pytest.approx(sum(errors) / len(errors), rel=1e-3)

    changed = x.clone().unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    for image in range(len(x)):
        for number in blocks[:, image].flatten().tolist():
            changed[image, :, number // GRID, number % GRID] = 9.0
    hidden = changed.permute(0, 1, 2, 4, 3, 5).reshape(x.shape)
    with torch.no_grad():
        again = method.predicted(hidden, context, blocks).unflatten(0, blocks.shape[:2])
    torch.testing.assert_close(again, predicted, rtol=0, atol=0)


def test_panels_of_ijepa():
    torch.manual_seed(0)
    method = IJEPA(EncoderSettings("timm:test_vit", 32), predictor_dim=32, predictor_depth=1)
    panels = method.panels({"pairs": mirrored_pairs(2)})
    assert set(panels) == {"source", "context"}
    check_panels(panels, 4)
