"""The paper-size networks and losses compute what the authors' public code computes.

`facecycle.npz` holds the outputs of the authors' code, on CPU in float32, for a fixed input and
fixed weights: parameter number k of a network takes
`numpy.random.RandomState(base + k).standard_normal(shape)`; weights are divided by the square root
of the product of all dimensions but the first, biases multiplied by 0.1. Bases: motion encoder
1000, motion decoder 2000, generator 3000, identity encoder 4000, re-normaliser 5000. The VGG-19
trunk's conv i (conv1_1 … conv4_1) has weight seed 9000 + 2i, scaled by sqrt(2 / product of all
dimensions but the first), and bias seed 9001 + 2i, times 0.1. All noise is zero.

Pictures agree to 1e-4 (maximum difference over standard deviation), loss terms to 1e-4 relative,
gradient norms to 1e-3 relative.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_faces.methods.facecycle_identity import FaceCycleIdentity
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.networks.trunk import convs_upto

REFERENCE = np.load(Path(__file__).parent / "facecycle.npz")
X = torch.from_numpy(REFERENCE["x"])


def fill(network, base):
    for k, parameter in enumerate(network.parameters()):
        values = np.random.RandomState(base + k).standard_normal(tuple(parameter.shape))
        values = values / np.sqrt(np.prod(parameter.shape[1:])) if values.ndim > 1 else values * 0.1
        parameter.data = torch.from_numpy(values.astype(np.float32))


def fill_trunk(trunk):
    for i, conv in enumerate(trunk.convs.values()):
        shape = tuple(conv.weight.shape)
        weight = np.random.RandomState(9000 + 2 * i).standard_normal(shape)
        weight *= np.sqrt(2 / np.prod(shape[1:]))
        bias = np.random.RandomState(9001 + 2 * i).standard_normal(shape[:1]) * 0.1
        conv.weight.data = torch.from_numpy(weight.astype(np.float32))
        conv.bias.data = torch.from_numpy(bias.astype(np.float32))


def motion():
    method = FaceCycleMotion("paper", trunk_weights="random", noise_std=0.0)
    fill(method.encoder.motion, 1000)
    fill(method.decoder, 2000)
    fill(method.generator, 3000)
    fill_trunk(method.trunk)
    return method


@pytest.fixture(scope="module")
def stage1():
    method = motion()
    cycle, losses = method.cycle(X)
    method.total(losses).backward()
    return method, cycle, losses


@pytest.fixture(scope="module")
def stage2(tmp_path_factory):
    first = motion()
    path = tmp_path_factory.mktemp("stage1") / "last.ckpt"
    torch.save(
        {
            "state_dict": first.state_dict(),
            "hyper_parameters": dict(first.hparams),
            "method": first.name,
        },
        path,
    )
    method = FaceCycleIdentity(path)
    fill(method.identity, 4000)
    fill(method.renormaliser, 5000)
    cycle, losses = method.cycle(X)
    method.total(losses).backward()
    return method, cycle, losses


def agree(name, ours):
    reference = torch.from_numpy(REFERENCE[name])
    ours = ours.detach().expand(reference.shape[0], *ours.shape[1:]).reshape(reference.shape)
    assert (ours - reference).abs().max() / reference.std() < 1e-4


def close(name, ours, tolerance):
    assert ours.item() == pytest.approx(float(REFERENCE[name]), rel=tolerance)


def test_stage1_code(stage1):
    agree("stage1_code", stage1[0].encoder.motion(X)[1])


@pytest.mark.parametrize(
    ("name", "field"),
    [("flow", "flow"), ("inverse_flow", "inverse"), ("neutral", "neutral"), ("direct", "direct")]
    + [(r, r) for r in ("r1", "r2", "r3", "r4")],
)
def test_stage1_pictures(stage1, name, field):
    agree(f"stage1_{name}", getattr(stage1[1], field))


@pytest.mark.parametrize("term", ["pixel", "perceptual", "ssim", "symmetry"])
def test_stage1_losses(stage1, term):
    close(f"stage1_{term}", stage1[2][term], 1e-4)


def test_stage1_total_and_gradients(stage1):
    method, _, losses = stage1
    close("stage1_total", method.total(losses), 1e-4)
    first = method.encoder.motion.convs[0].weight.grad
    close("stage1_grad_encoder_first_conv", first.norm(), 1e-3)
    close("stage1_grad_decoder_last_conv", method.decoder.flow.weight.grad.norm(), 1e-3)


def test_stage2_code(stage2):
    agree("stage2_code", stage2[0].identity(X)[1])


@pytest.mark.parametrize("field", ["mean_face", "reidentified", "r5", "r6"])
def test_stage2_pictures(stage2, field):
    agree(f"stage2_{field}", getattr(stage2[1], field))


@pytest.mark.parametrize("term", ["pixel", "perceptual", "ssim", "symmetry", "margin"])
def test_stage2_losses(stage2, term):
    close(f"stage2_{term}", stage2[2][term], 1e-4)


def test_stage2_total_and_gradient(stage2):
    method, _, losses = stage2
    close("stage2_total", method.total(losses), 1e-4)
    close("stage2_grad_identity_first_conv", method.identity.convs[0].weight.grad.norm(), 1e-3)


def test_stage2_leaves_stage1_alone(stage2):
    assert all(p.grad is None for p in stage2[0].motion.parameters())


def test_parameter_counts_are_the_papers():
    method = motion()
    millions = {
        "encoder": sum(p.numel() for p in method.encoder.motion.parameters()) / 1e6,
        "decoder": sum(p.numel() for p in method.decoder.parameters()) / 1e6,
        "generator": sum(p.numel() for p in method.generator.parameters()) / 1e6
        + sum(
            p.numel()
            for name in convs_upto("relu3_1")
            for p in method.trunk.convs[name].parameters()
        )
        / 1e6,
    }
    assert {k: round(v, 2) for k, v in millions.items()} == {
        "encoder": 4.24,
        "decoder": 3.0,
        "generator": 13.41,
    }
