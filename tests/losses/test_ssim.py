"""SSIM against a loop over windows, and against kornia and torchmetrics."""

import math

import kornia.metrics
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from ssl_faces.losses.ssim import SSIMLoss


def naive_ssim(x, y, window=11, sigma=1.5):
    """Mean SSIM of [B, C, H, W] in float64, window by window, zeros outside the images."""
    x, y = x.double(), y.double()
    reach = window // 2
    height, width = x.shape[-2:]
    weight = [
        [math.exp(-(i * i + j * j) / (2 * sigma**2)) for j in range(-reach, reach + 1)]
        for i in range(-reach, reach + 1)
    ]
    weights = torch.tensor(weight, dtype=torch.float64)
    weights = weights / weights.sum()
    values = []
    for row in range(height):
        for column in range(width):
            top, bottom = max(0, row - reach), min(height, row + reach + 1)
            left, right = max(0, column - reach), min(width, column + reach + 1)
            w = weights[
                top - row + reach : bottom - row + reach,
                left - column + reach : right - column + reach,
            ]

            def mean(v, w=w):
                return (v * w).sum((-2, -1))

            a, b = x[..., top:bottom, left:right], y[..., top:bottom, left:right]
            mean_a, mean_b = mean(a), mean(b)
            var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
            covariance = mean(a * b) - mean_a * mean_b
            values.append(
                (2 * mean_a * mean_b + 1e-4)
                * (2 * covariance + 9e-4)
                / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))
            )
    return torch.stack(values).mean()


def draw(*shape, seed=0, low=0.0, high=1.0):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(shape, generator=generator)


@pytest.mark.parametrize(("window", "sigma"), [(11, 1.5), (5, 0.8)])
@pytest.mark.parametrize("size", [(12, 17), (16, 16), (4, 7)])
def test_equals_a_loop_over_windows(size, window, sigma):
    y = draw(2, 3, *size, low=-2, high=2)
    x = torch.stack((y + 0.3 * draw(2, 3, *size, seed=1), draw(2, 3, *size, seed=2)))
    loss = SSIMLoss(window, sigma)(x, y)
    assert loss.shape == (2,)
    for k in range(2):
        assert loss[k].item() == pytest.approx(
            1 - naive_ssim(x[k], y, window, sigma).item(), abs=1e-5
        )


def test_gradient_equals_the_loops():
    """Of the rendering and of the target."""
    ours = [draw(2, 2, 9, 8, seed=seed).requires_grad_() for seed in (0, 1)]
    theirs = [x.detach().double().requires_grad_() for x in ours]
    SSIMLoss()(ours[0][None], ours[1]).sum().backward()
    (1 - naive_ssim(*theirs)).backward()
    for our, their in zip(ours, theirs, strict=True):
        assert their.grad.abs().max() > 1e-3
        torch.testing.assert_close(our.grad.double(), their.grad, rtol=1e-3, atol=1e-6)


def framed(image, frame=10):
    """A black frame, in which padding by zeros and by reflection are the same."""
    return torch.nn.functional.pad(image, (frame,) * 4)


def test_equals_libraries_where_padding_does_not_matter():
    x, y = framed(draw(2, 3, 20, 24)), framed(draw(2, 3, 20, 24, seed=1))
    kornias = kornia.metrics.ssim(x, y, 11, max_val=1.0).mean().item()
    torchmetrics = structural_similarity_index_measure(x, y, sigma=1.5, data_range=1.0).item()
    assert kornias < 0.9
    for theirs in (kornias, torchmetrics):
        assert SSIMLoss()(x[None], y).item() == pytest.approx(1 - theirs, abs=1e-5)


def test_is_computed_in_float32_under_autocast():
    x, y = draw(1, 2, 3, 16, 16), draw(2, 3, 16, 16, seed=1)
    plain = SSIMLoss()(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = SSIMLoss()(x, y)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0)


def test_trains_after_a_first_use_in_inference_mode():
    x, y = draw(1, 1, 1, 13, 19), draw(1, 1, 13, 19, seed=1)
    with torch.inference_mode():
        SSIMLoss()(x, y)
    x.requires_grad_()
    SSIMLoss()(x, y).sum().backward()
    assert x.grad is not None
