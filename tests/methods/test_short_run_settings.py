"""The settings by which short runs leave the paper's: what each does, and that it is off."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ssl_faces.common.errors import InputError
from ssl_faces.losses.ssim import SSIMLoss
from ssl_faces.methods.facecycle_motion import FaceCycleMotion

CONFIGS = Path(__file__).parents[2] / "configs" / "method"


def small(**settings):
    return FaceCycleMotion(**{"size": "small", "trunk_weights": "random", **settings})


def optimizer_of(method):
    return method.configure_optimizers()["optimizer"]


def test_rate_factors_scale_the_named_networks_only():
    """`generator` is not `generator_trunk`; every trained parameter is in the optimiser once."""
    factors = {"encoder": 0.05, "generator": 0.5}
    method = small(trunk_training="joint", rate_factors=factors)
    groups = optimizer_of(method).param_groups
    rates = [(id(p), g["initial_lr"]) for g in groups for p in g["params"]]
    assert len(rates) == len(dict(rates))
    expected = {
        id(p): factors.get(name.partition(".")[0], 1.0)
        for name, p in method.named_parameters()
        if p.requires_grad
    }
    assert dict(rates) == pytest.approx(expected)
    assert any(name.startswith("generator_trunk") for name, _ in method.named_parameters())


@pytest.mark.parametrize("name", ["encodr", "trunk", "ssim"])
def test_a_factor_for_nothing_that_trains_is_refused(name):
    with pytest.raises(InputError, match=f"'{name}' has no parameters to train; name some of enc"):
        optimizer_of(small(rate_factors={name: 0.5}))


def test_the_unit_scale_compares_pictures_in_0_to_1():
    draw = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, 3, 3, 64, 64, generator=draw)
    method = small(ssim_scale="unit")
    normalise = method.encoder.normalise
    result = method.ssim_loss(normalise(pictures[:1]), normalise(pictures[1]))
    torch.testing.assert_close(result, SSIMLoss()(pictures[:1], pictures[1]))


def test_the_papers_scale_is_that_of_the_networks():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 3, 64, 64, generator=draw)
    torch.testing.assert_close(small().ssim_loss(x[:1], x[1]), SSIMLoss()(x[:1], x[1]))


@pytest.mark.parametrize("std", [0.01, 0.04])
def test_the_codes_first_weights_have_the_standard_deviation_asked_for(std):
    torch.manual_seed(0)
    encoder = small(linear_std=std).encoder
    linear = [m for m in encoder.motion.code if isinstance(m, torch.nn.Linear)]
    assert len(linear) == 2
    for layer in linear:
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
        assert not layer.bias.any()
    assert encoder.config["linear_std"] == std


def repair(**settings):
    torch.manual_seed(0)
    return small(
        input_size=16, design="repair", perceptual_weight=0.0, consistency_weight=1.0, **settings
    )


def test_consistency_and_coarse_terms_equal_loops():
    method = repair(coarse_weight=0.3, flow_weight=2.0)
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    cycle, losses = method.cycle(x)

    def l1(a, b):
        total = 0.0
        for factor, weight in ((1, 1.0), (2, 0.3), (4, 0.3), (8, 0.3)):
            side, distances = 16 // factor, []
            for row in range(side):
                for column in range(side):
                    cell = (
                        ...,
                        slice(row * factor, (row + 1) * factor),
                        slice(column * factor, (column + 1) * factor),
                    )
                    difference = a[cell].mean((-2, -1)) - b[cell].mean((-2, -1))
                    distances.append(difference.abs().mean().item())
            total += weight * sum(distances) / len(distances)
        return total

    def difference(a, b):
        return l1(a, b) + 2.5 * method.ssim_loss(a[None], b)[0].item()

    direct, neutral = cycle.direct.detach(), cycle.neutral.detach()
    expected = difference(cycle.r4.detach(), x)
    expected += 0.25 * difference(neutral, direct[[2, 3, 0, 1]])
    assert losses["consistency"].item() == pytest.approx(expected, rel=1e-4)
    expected = l1(cycle.r1.detach(), x) + l1(cycle.r3.detach(), x)
    expected += 1.5 * l1(cycle.r4.detach(), x)
    assert losses["pixel"].item() == pytest.approx(expected, rel=1e-4)
    squares = [value**2 for value in cycle.flow.flatten().tolist()]
    assert losses["flow"].item() == pytest.approx(sum(squares) / len(squares), rel=1e-4)
    assert method.total(losses).item() == pytest.approx(
        sum(method.hparams.get(f"{k}_weight", 1.0) * v.item() for k, v in losses.items()), rel=1e-5
    )


def test_what_painting_must_reach_moves_no_warp():
    method = repair()
    torch.nn.init.zeros_(method.generator.repairs.weight)  # so that nothing is painted yet
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    cycle, losses = method.cycle(x)
    of = [*method.decoder.parameters()]
    expected = torch.autograd.grad(method._difference(cycle.r4, x), of, retain_graph=True)
    found = torch.autograd.grad(losses["consistency"], of)
    assert any(grad.any() for grad in expected)
    torch.testing.assert_close(found, expected)


def test_flows_are_centred_over_the_batch_and_by_its_running_mean():
    method = repair()
    code = torch.randn(6, method.encoder.motion.code_dim)
    raw = method.decoder(code)
    torch.testing.assert_close(method.flow(code), raw - raw.mean(0))
    mean = 0.02 * raw.mean(0)
    torch.testing.assert_close(method.eval().flow(code[:1]), raw[:1] - mean)
    assert "centre" in method.edit_networks()
    paper = small()
    torch.testing.assert_close(paper.flow(code), paper.decoder(code))


def test_faces_with_a_known_truth_are_compared_with_it():
    """Each term is its share of the batch: faces without a truth count as equal to it."""
    method = repair(neutral_weight=2.0, flow_weight=1.0)
    assert method.centre is None
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(7, 3, 16, 16, generator=draw)
    batch = {
        "pairs": images[:4].unflatten(0, (2, 2)),
        "neutral": images[4:6],
        "mirrored": torch.tensor([False, True]),
        "has_neutral": torch.tensor([True, True]),
    }
    logged = {}
    method.log = lambda *args, **kwargs: None
    method.log_dict = lambda losses: logged.update(losses)

    def neutral_loss():
        method.training_step(batch, 0)
        return logged["loss/neutral"].item()

    def difference(a, b):
        return (a - b).abs().mean().item() + 2.5 * method.ssim_loss(a[None], b)[0].item()

    true = method.encoder.normalise(images[[4, 5, 4, 5]])
    true[3] = true[3].flip(-1)
    cycle, _ = method.cycle(method.frames(batch))
    expected = difference(cycle.neutral, true) + 0.5 * difference(cycle.direct, true)
    assert neutral_loss() == pytest.approx(expected, rel=1e-4)
    assert logged["loss/flow"] == 0
    batch["has_neutral"] = torch.tensor([True, False])
    rows = [0, 2]
    part = difference(cycle.neutral[rows], true[rows])
    part += 0.5 * difference(cycle.direct[rows], true[rows])
    assert neutral_loss() == pytest.approx(part / 2, rel=1e-4)
    squares = cycle.flow[[1, 3]].square().mean().item()
    assert logged["loss/flow"].item() == pytest.approx(squares / 2, rel=1e-4)
    del batch["neutral"]
    with pytest.raises(InputError, match=r"neutral_weight: .* set data.neutral_faces=true"):
        method.training_step(batch, 0)


def test_repairs_of_faces_without_a_truth_are_kept_small():
    """In place of the losses of neutral faces that painting pleases by two faces in one."""
    method, without = repair(repair_weight=3.0), repair()
    without.load_state_dict(method.state_dict())
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    cycle, losses = method.cycle(x, x.flip(0), torch.tensor([1.0, 0.0, 1.0, 0.0]))
    painted = (cycle.neutral - cycle.direct)[[1, 3]].abs().mean().item()
    assert losses["repair"].item() == pytest.approx(painted / 2, rel=1e-4)
    assert method.cycle(x)[1]["repair"].item() == pytest.approx(
        (cycle.neutral - cycle.direct).abs().mean().item(), rel=1e-4
    )
    expected = method._difference(cycle.r4, x)
    torch.testing.assert_close(losses["consistency"], expected)
    expected = without.cycle(x)[1]["symmetry"] - method.symmetry(cycle.neutral)
    torch.testing.assert_close(losses["symmetry"], expected)


def test_decorrelation_and_descriptor_terms_equal_loops():
    method = repair(decorrelation_weight=0.5, descriptor_weight=2.0)
    x = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    conv_map, code = method.encoder.motion(x)
    losses = method.cycle(x)[1]
    covariance = np.cov(code.detach().double().numpy(), rowvar=False)
    squares = np.square(covariance).sum() - np.square(np.diag(covariance)).sum()
    assert losses["decorrelation"].item() == pytest.approx(squares / len(covariance), rel=1e-3)
    hog = method.hog(method.encoder.denormalise(x))
    target = (hog - hog.mean(0)) / (hog.var(0, correction=0) + 1e-5).sqrt()
    error = method.descriptor(conv_map.flatten(1)) - target
    assert losses["descriptor"].item() == pytest.approx(error.square().mean().item(), rel=1e-4)


def test_the_repair_design_gives_every_weight_a_gradient():
    """DDP expects one of each."""
    method = repair(trunk_training="joint", descriptor_weight=1.0)
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    method.total(method.cycle(x)[1]).backward()
    without = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_a_jointly_trained_trunk_can_be_another_runs_frozen_one(tmp_path):
    from safetensors.torch import save_file

    method = small(trunk_training="joint")
    with torch.no_grad():
        for parameter in method.generator_trunk.parameters():
            parameter.add_(0.01)
    (trunk,) = method.extra_networks().values()
    path = tmp_path / "trunk.safetensors"
    save_file(trunk.state_dict(), path)
    other = small(trunk_weights=str(path))
    x = torch.rand(1, 3, 64, 64)
    for layer, value in other.trunk(x).items():
        torch.testing.assert_close(value, method.generator_trunk(x)[layer])


def test_a_frozen_trunk_is_no_by_product():
    assert small().extra_networks() == {}


def test_what_the_generator_does_not_see_of_its_trunk_is_not_trained():
    trunk = small(trunk_training="joint").generator_trunk
    trained = [name for name, conv in trunk.convs.items() if conv.weight.requires_grad]
    assert trained == ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"]


def test_the_papers_config_has_the_papers_settings():
    with (CONFIGS / "facecycle_motion.yaml").open() as stream:
        config = yaml.safe_load(stream)
    given = config["model"]["init_args"]
    defaults = FaceCycleMotion(trunk_weights="random").hparams
    for name, value in given.items():
        # The map's size is the paper's when it probes; it has no part in training.
        if name not in ("trunk_weights", "map_size"):
            assert defaults[name] == value
    assert (defaults["ssim_scale"], defaults["linear_std"]) == ("normalised", 0.01)
    assert defaults["rate_factors"] is None
