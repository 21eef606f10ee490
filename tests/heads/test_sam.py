"""Sharpness-aware minimisation against the same step written out."""

import pytest
import torch

from linear_probe.heads.sam import SAMAdamW


def loss_at(w):
    return (w[0] ** 4 + 3 * (w[1] - 1) ** 2 + w[0] * w[1]).sum()


def test_a_step_is_adamw_on_the_gradient_where_the_loss_is_worse():
    start, radius = torch.tensor([0.7, -0.4]), 0.1
    w = torch.nn.Parameter(start.clone())
    optimizer = SAMAdamW([w], radius, lr=0.01, weight_decay=0.1)
    other = torch.nn.Parameter(start.clone())
    plain = torch.optim.AdamW([other], lr=0.01, weight_decay=0.1)
    for _ in range(3):
        calls = []

        def closure(calls=calls):
            optimizer.zero_grad()
            value = loss_at(w)
            value.backward()
            calls.append(value.item())
            return value

        here = other.detach().clone().requires_grad_()
        (g,) = torch.autograd.grad(loss_at(here), here)
        there = (here.detach() + radius * g / g.norm()).requires_grad_()
        (other.grad,) = torch.autograd.grad(loss_at(there), there)
        plain.step()
        given = optimizer.step(closure)
        assert float(given) == calls[0]  # at the weights as they were
        assert calls[1] > calls[0]
        assert torch.allclose(w, other, atol=1e-6)


def test_without_a_closure_it_is_refused():
    with pytest.raises(TypeError, match="closure"):
        SAMAdamW([torch.nn.Parameter(torch.ones(1))], 0.1).step()
