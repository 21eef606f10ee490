"""What FaceCycle does to pictures: the same formulas as in training, made repeatable."""

from collections.abc import Callable

import pytest
import torch

from ssl_faces import InputError, load_method
from ssl_faces.methods.facecycle_identity import FaceCycleIdentity
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from tests.support.facecycle import SIDE, motion, same_weights, save, smooth_images


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
