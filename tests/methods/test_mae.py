"""MAE: masks, its loss against a loop, learning, and unsupported encoders."""

import pytest
import torch

from ssl_faces.encoders.encoder import load_encoder
from ssl_faces.methods.mae import MAE
from ssl_faces.networks.backbone import EncoderSettings
from tests.support.by_heart import minimise
from tests.support.fits import fit, method_run, mirrored_pairs
from tests.support.refusals import message_of

SIDE, PATCH = 64, 16  # sixteen patches
TINY = EncoderSettings("timm:test_vit", SIDE)


def built(name="timm:test_vit", **settings):
    torch.manual_seed(0)
    return MAE(EncoderSettings(name, SIDE), decoder_dim=32, decoder_depth=1, **settings)


def pictures(method, count=2):
    return method.views({"pairs": mirrored_pairs(count, SIDE)})


def patch_of(x, number):
    """[patch, patch, 3] of a picture [3, S, S]."""
    row, column = divmod(number, SIDE // PATCH)
    part = x[:, PATCH * row : PATCH * (row + 1), PATCH * column : PATCH * (column + 1)]
    return part.permute(1, 2, 0)


@pytest.mark.parametrize("share", [0.75, 0.5, 0.9])
def test_the_share_of_masked_patches(share):
    method = built(mask_share=share)
    kept, masked = method.draw(200)
    number = int(16 * (1 - share))
    assert kept.shape == (200, number)
    both = torch.cat((kept, masked), 1).sort(1).values
    assert torch.equal(both, torch.arange(16).expand(200, -1))
    counts = kept.flatten().bincount(minlength=16)
    # Each patch alike: 200 draws of a share, within five standard deviations.
    expected = 200 * number / 16
    assert (counts - expected).abs().max() < 5 * (expected * (1 - number / 16)) ** 0.5


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_vit2"])
def test_the_loss_is_of_hidden_patches_alone(name):
    """Squared error of each hidden patch, made to have mean 0 and variance 1, in a loop."""
    method = built(name)
    x = pictures(method)
    torch.manual_seed(3)
    result = method.losses(x)["reconstruction"].item()
    torch.manual_seed(3)
    kept, masked = method.draw(len(x))
    predicted = method.predicted(x, kept, masked).detach()
    errors = []
    for i in range(len(x)):
        for n, number in enumerate(masked[i].tolist()):
            target = patch_of(x[i], number).flatten()
            target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
            errors += (predicted[i, n] - target).square().tolist()
    assert result == pytest.approx(sum(errors) / len(errors), rel=1e-4)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_vit2"])
def test_nothing_of_hidden_patches_is_seen(name):
    method = built(name).eval()
    x = pictures(method)
    kept, masked = method.draw(len(x))
    changed, other = x.clone(), x.clone()
    for i in range(len(x)):
        for number in masked[i].tolist():
            patch_of(changed[i], number).fill_(9.0)
        patch_of(other[i], int(kept[i, 0])).fill_(9.0)
    with torch.no_grad():
        before, after, moved = (method.predicted(y, kept, masked) for y in (x, changed, other))
    torch.testing.assert_close(before, after, rtol=0, atol=0)
    assert (before - moved).abs().max() > 1e-4


def test_with_nothing_hidden_the_encoder_is_itself():
    """Tokens in any order: what is trained is what `load_encoder` gives."""
    method = built().eval()
    x = pictures(method)
    order = torch.randperm(17)[None].expand(len(x), -1)
    with torch.no_grad():
        result = method.masked._masked.encode(x, idx_keep=order)
        expected = method.encoder.network.forward_features(x)[:, order[0]]
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_all_that_is_trained_gets_a_gradient_and_is_listed_once():
    method = built()
    method.losses(pictures(method))["reconstruction"].backward()
    still = {name for name, p in method.named_parameters() if not p.requires_grad}
    assert still == {"encoder.network.pos_embed", "decoder.pos_embed"}
    for name, p in method.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name
    assert not any(name.startswith("masked") for name in method.state_dict())


def test_the_loss_falls_on_a_few_faces():
    """Eight pictures, always the same patches hidden."""
    method = built()
    x = pictures(method, 4)

    def loss():
        torch.manual_seed(1)
        return method.losses(x)["reconstruction"]

    totals = minimise(method.parameters(), loss, 60, 3e-3)
    assert sum(totals[-3:]) < 0.6 * sum(totals[:3])


def test_panels_show_source_mask_and_reconstruction():
    method = built()
    pairs = mirrored_pairs(2, SIDE)
    panels = method.panels({"pairs": pairs})
    torch.manual_seed(0)
    _, masked = method.draw(4)
    assert list(panels) == ["source", "masked", "reconstruction"]
    source, hidden, restored = panels.values()
    torch.testing.assert_close(source, pairs.transpose(0, 1).flatten(0, 1), rtol=0, atol=1e-5)
    grey = method.encoder.denormalise(torch.zeros(3, 1, 1)).flatten()
    for i in range(4):
        for number in range(16):
            seen = patch_of(source[i], number)
            if number in masked[i].tolist():
                torch.testing.assert_close(
                    patch_of(hidden[i], number), grey.expand(PATCH, PATCH, 3)
                )
                assert not torch.allclose(patch_of(restored[i], number), seen)
            else:
                torch.testing.assert_close(patch_of(hidden[i], number), seen)
                torch.testing.assert_close(patch_of(restored[i], number), seen)


def test_a_reconstruction_without_error_is_the_source():
    """Normalised patches in the prediction's place come out as the pictures they were made of."""
    method = built()
    pairs = mirrored_pairs(2, SIDE)

    def exact(x, kept, masked):
        rows = []
        for i in range(len(x)):
            patches = [patch_of(x[i], number).flatten() for number in masked[i].tolist()]
            rows.append(torch.stack([(p - p.mean()) / (p.var() + 1e-6).sqrt() for p in patches]))
        return torch.stack(rows)

    method.predicted = exact
    panels = method.panels({"pairs": pairs})
    torch.testing.assert_close(panels["reconstruction"], panels["source"], rtol=0, atol=1e-5)


def test_trains_from_its_config_and_resumes(tmp_path):
    given = method_run("mae", "vit_tiny", tmp_path, tmp_path / "run", "--panels_every", "2")
    fit(*given)
    assert [x.name for x in (tmp_path / "run/panels").iterdir()] == ["step_0000002.png"]
    fit(*given, "--trainer.max_steps", "3", "--ckpt_path", "last")
    encoder = load_encoder(tmp_path / "run")
    assert (encoder.card["method"], encoder.card["steps"]) == ("mae", 3)
    assert "jitter 0" in encoder.card["augmentation"]
    features = encoder(mirrored_pairs(2)[:, 0])
    shapes = {space: tuple(value.shape) for space, value in features.items()}
    assert shapes == {"class_token": (2, 192), "pooled": (2, 192)}


def test_settings_that_depend_on_each_other():
    text = "model.mask_share: 0.99 leaves none of 16 patches; lower it"
    assert text in message_of(MAE(TINY, mask_share=0.99).draw, 2)
    assert "model.decoder_dim: 40; give a multiple of 32" in message_of(MAE, TINY, decoder_dim=40)


@pytest.mark.parametrize("name", ["timm:test_vit_relpos", "timm:test_convnext", "resnet18"])
def test_other_encoders_that_are_no_plain_vit(name):
    assert f"{name}, but mae needs a ViT; set" in message_of(MAE, EncoderSettings(name, SIDE))
