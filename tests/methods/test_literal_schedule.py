"""FaceCycle's stage 1 computes the losses and gradients of its authors' schedule of calls."""

import pytest
import torch

from tests.support import literal


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
