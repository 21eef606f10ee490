"""FaceCycle's stages: the authors' schedule of calls, stage 2 on the design repair, edits."""

from collections.abc import Callable

import pytest
import torch

from ssl_faces import InputError, load_method
from ssl_faces.methods.facecycle_identity import CentredViews, FaceCycleIdentity
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from tests.support import literal
from tests.support.facecycle import SIDE, motion, same_weights, save, smooth_images


def frames():
    """Smooth images, like faces; frames of a pair are similar."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 6, 6, generator=draw)
    coarse = torch.cat((coarse, coarse + 0.2 * torch.rand(2, 3, 6, 6, generator=draw)))
    smooth = torch.nn.functional.interpolate(coarse, (48, 48), mode="bicubic")
    return (smooth.clamp(0, 1) - 0.45) / 0.225


def method(training="frozen", scale="normalised"):
    settings = {"trunk_training": training, "ssim_scale": scale, "linear_std": 0.04}
    return literal.stage1("small", 48, fold_weight=1.0, **settings)


def difference(method, x):
    """Relative differences from the literal schedule on frames `x` [2b, 3, S, S]: the largest of
    a loss term, and that of the gradients of the total loss (norms)."""

    def run(losses):
        torch.manual_seed(1)
        method.zero_grad()
        terms = losses()
        method.total(terms).backward()
        gradients = {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
        return {name: term.item() for name, term in terms.items()}, gradients

    losses, gradients = run(lambda: method.cycle(x)[1])
    expected, expected_gradients = run(lambda: literal.losses(method, x))
    assert gradients.keys() == expected_gradients.keys()
    worst = max(abs(losses[k] - v) / max(abs(v), 1e-6) for k, v in expected.items())
    square = sum(float((gradients[k] - g).square().sum()) for k, g in expected_gradients.items())
    norm = sum(float(g.square().sum()) for g in expected_gradients.values())
    return worst, (square / norm) ** 0.5


@pytest.mark.parametrize(("training", "scale"), [("frozen", "normalised"), ("joint", "unit")])
def test_ours_is_the_literal_schedule(training, scale):
    ours = method(training, scale).to(memory_format=torch.channels_last)
    losses, gradients = difference(ours, frames())
    assert losses < 1e-5
    assert gradients < 1e-4


def test_a_schedule_that_differs_is_detected(monkeypatch):
    plain = literal.losses

    def changed(method, x):
        terms = plain(method, x)
        return {**terms, "ssim": 1.001 * terms["ssim"]}

    monkeypatch.setattr(literal, "losses", changed)
    losses, gradients = difference(method(), frames())
    assert losses > 5e-4
    assert gradients > 1e-5


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


@pytest.fixture
def identity(tmp_path):
    stage1 = save(motion(noise_std=0.0), tmp_path / "motion.ckpt")
    torch.manual_seed(1)
    return FaceCycleIdentity(stage1)


def test_the_neutral_face_is_that_of_the_cycle():
    method = motion(noise_std=0.0)
    images = smooth_images(4)
    with torch.no_grad():
        cycle, _ = method.cycle(method.encoder.normalise(images))
    expected = method.encoder.denormalise(cycle.neutral)
    assert expected.std() > 0.05
    torch.testing.assert_close(method.neutral_face(images), expected, atol=1e-5, rtol=1e-5)


def test_noise_follows_from_the_seed_alone_and_nothing_else_is_changed():
    method = motion().train()
    images = smooth_images(5)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    whole = method.neutral_face(images)
    assert torch.equal(torch.get_rng_state(), before)
    assert method.training
    assert not whole.requires_grad
    assert 0 <= whole.min() < whole.max() <= 1
    torch.rand(3)
    torch.testing.assert_close(method.neutral_face(images[3:]), whole[3:], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(method.neutral_face(images, seed=1), whole, atol=1e-3)
    # In training each picture has noise of its own.
    same = method.encoder.normalise(images[:1].expand(2, -1, -1, -1))
    with torch.no_grad():
        _, _, neutral = method.neutralise(same, method.maps(same))
    assert not torch.allclose(neutral[0], neutral[1], atol=1e-3)


def test_a_swap_is_the_steps_one_by_one(identity):
    images, others = smooth_images(3), smooth_images(3, seed=9)
    result = identity.edits()["identity swap"](images, others)
    stage1, normalise = identity.motion, identity.encoder.normalise
    with torch.no_grad():
        for i in range(3):
            x, other = normalise(images[i : i + 1]), normalise(others[i : i + 1])
            _, inverse, neutral = stage1.neutralise(x, stage1.maps(x))
            coarse = stage1.generator_trunk(neutral)["relu3_1"]
            mean = identity.renormaliser(coarse, identity.identity(x)[1], "deidentify")
            coarse = stage1.generator_trunk(mean)["relu3_1"]
            back = identity.renormaliser(coarse, identity.identity(other)[1], "reidentify")
            moved = stage1.generator(stage1.maps(back), inverse)
            expected = identity.encoder.denormalise(moved)
            torch.testing.assert_close(result[i : i + 1], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(identity.swap_identity(images, images), result, atol=1e-6)
    assert torch.equal(identity.neutral_face(images), stage1.neutral_face(images))


def test_pictures_of_another_side_are_refused(identity):
    small = torch.zeros(1, 3, 16, 16)
    for edit in (identity.neutral_face, lambda x: identity.swap_identity(x, x)):
        with pytest.raises(
            InputError, match=f"pictures of side 16 for networks of input_size {SIDE}"
        ):
            edit(small)


def test_stage_1_is_loaded_from_its_run(tmp_path):
    method = motion(noise_std=0.5)
    save(method, tmp_path / "run/checkpoints/last.ckpt")
    state = torch.get_rng_state()
    result = load_method(tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(result, FaceCycleMotion)
    assert same_weights(result, method)
    assert not result.training
    assert not any(parameter.requires_grad for parameter in result.parameters())
    assert result.generator.fine_noise.noise_std == 0.5
    assert torch.equal(result.neutral_face(smooth_images(2)), method.neutral_face(smooth_images(2)))


def test_stage_2_is_loaded_without_stage_1(identity, tmp_path):
    path = save(identity, tmp_path / "identity.ckpt")
    (tmp_path / "motion.ckpt").unlink()
    result = load_method(path)
    assert isinstance(result, FaceCycleIdentity)
    assert same_weights(result, identity)
    assert result.motion.encoder.motion is result.encoder.motion
    images = smooth_images(2)
    assert torch.equal(result.swap_identity(images, images), identity.swap_identity(images, images))


@pytest.mark.parametrize("stage", ["motion", "identity"])
def test_untrained_is_another_start_from_the_same_trunk(stage, identity, tmp_path):
    method = motion() if stage == "motion" else identity
    stage1 = method if isinstance(method, FaceCycleMotion) else method.motion
    with torch.no_grad():
        for parameter in stage1.generator_trunk.parameters():
            parameter.add_(0.01)  # trained, unlike the perceptual loss's
    path = save(method, tmp_path / "a.ckpt")
    of: Callable[[int], FaceCycleMotion | FaceCycleIdentity]
    of = lambda seed: load_method(path, untrained=True, seed=seed)  # noqa: E731
    one, again, other = of(3), of(3), of(4)
    assert same_weights(one, again)
    for network in ("encoder", "motion.generator" if stage == "identity" else "generator"):
        assert not same_weights(one.get_submodule(network), other.get_submodule(network))
        assert not same_weights(one.get_submodule(network), method.get_submodule(network))
    result = one if isinstance(one, FaceCycleMotion) else one.motion
    assert same_weights(result.trunk, stage1.trunk)
    assert same_weights(result.generator_trunk, stage1.trunk)


def test_weights_of_another_shape_are_refused(tmp_path):
    path = save(motion(), tmp_path / "a.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["state_dict"]["generator.to_rgb.weight"]
    torch.save(checkpoint, path)
    with pytest.raises(InputError, match=r"a\.ckpt: its weights are not those of a facecycle_mot"):
        load_method(path)
