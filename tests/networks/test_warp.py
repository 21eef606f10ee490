"""Warps against a loop over positions, and error bounds of the inverse flow."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_faces.networks.warp import inverse_flow, resize_flow, warp


def naive_warp(x, flow):
    """`x` [B, C, H, W] sampled at `flow` [B, 2, H, W]: four neighbours, zeros outside."""
    batch, channels, height, width = x.shape
    out = torch.zeros(batch, channels, height, width, dtype=torch.float64)
    for b in range(batch):
        for row in range(height):
            for column in range(width):
                # -1 and 1 are the centres of the first and the last pixel.
                across = column + flow[b, 0, row, column].item() * (width - 1) / 2
                down = row + flow[b, 1, row, column].item() * (height - 1) / 2
                left, top = math.floor(across), math.floor(down)
                for i in (top, top + 1):
                    for j in (left, left + 1):
                        if 0 <= i < height and 0 <= j < width:
                            weight = (1 - abs(down - i)) * (1 - abs(across - j))
                            out[b, :, row, column] += weight * x[b, :, i, j].double()
    return out


def naive_resize(flow, size):
    """Bilinear, first and last pixels on first and last pixels."""
    height, width = flow.shape[-2:]
    out = torch.zeros(*flow.shape[:2], *size, dtype=torch.float64)
    for row in range(size[0]):
        for column in range(size[1]):
            down = row * (height - 1) / (size[0] - 1)
            across = column * (width - 1) / (size[1] - 1)
            top, left = min(int(down), height - 2), min(int(across), width - 2)
            for i in (top, top + 1):
                for j in (left, left + 1):
                    weight = (1 - abs(down - i)) * (1 - abs(across - j))
                    out[:, :, row, column] += weight * flow[:, :, i, j].double()
    return out


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def constant_flow(x, y, size=4):
    size = (size, size) if isinstance(size, int) else size
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, *size).clone()


@pytest.mark.parametrize("size", [(6, 9), (9, 6), (2, 5)])
def test_equals_a_loop_over_positions(size):
    x, flow = draw(2, 3, *size), 0.7 * draw(2, 2, *size, seed=1)
    assert flow.abs().max() > 1, "some point outside"
    torch.testing.assert_close(warp(x, flow).double(), naive_warp(x, flow), rtol=0, atol=1e-5)


def test_clamp_comes_after_the_resize():
    """Between 3 and -3 the resized flow passes through 0; clamped first, it would be less steep."""
    x = draw(1, 1, 5, 7)
    coarse = torch.tensor([3.0, -3.0]).view(1, 1, 1, 2).expand(1, 2, 2, 2)
    fine = naive_resize(coarse, (5, 7)).clamp(-1, 1)
    expected = naive_warp(x, fine)
    torch.testing.assert_close(warp(x, coarse, clamp=True).double(), expected, rtol=0, atol=1e-5)
    early = naive_warp(x, naive_resize(coarse.clamp(-1, 1), (5, 7)))
    assert (early - expected).abs().max() > 0.1


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (7, 13), (3, 3)])
def test_resize_equals_a_loop(size):
    flow = draw(2, 2, 5, 4)
    resized = resize_flow(flow, size)
    torch.testing.assert_close(resized.double(), naive_resize(flow, size), rtol=0, atol=1e-5)
    torch.testing.assert_close(resized[..., 0, 0], flow[..., 0, 0])
    torch.testing.assert_close(resized[..., -1, -1], flow[..., -1, -1])


@pytest.mark.parametrize("autocast", [False, True])
def test_works_in_float32_whatever_comes_in(autocast):
    x, flow = draw(1, 3, 16, 16).bfloat16(), (0.1 * draw(1, 2, 4, 4, seed=1)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        warped = warp(x, flow)
    assert warped.dtype == torch.float32
    torch.testing.assert_close(warped, warp(x.float(), flow.float()), rtol=0, atol=0)


def test_trains_after_a_first_use_in_inference_mode():
    x, flow = draw(1, 1, 11, 23), torch.zeros(1, 2, 11, 23)
    with torch.inference_mode():
        warp(x, flow)
    flow.requires_grad_()
    warp(x, flow).square().sum().backward()
    assert flow.grad is not None


# The inverse flow ------------------------------------------------------------------------------


def error_of_inverse(flow, steps=None):
    """How far off the warp and then the inverse warp land: v(p) + u(p + v(p)), [B, 2, h, w]."""
    inverse = inverse_flow(flow, steps)
    return inverse + warp(flow, inverse)


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-0.4, 0.4), y=st.floats(-0.4, 0.4))
def test_inverse_of_a_translation_is_exact_inside(x, y):
    size = 41  # a pixel is 0.05 wide
    flow = constant_flow(x, y, size)
    across, down = math.ceil(abs(x) / 0.05), math.ceil(abs(y) / 0.05)
    inside = (..., slice(down, size - down), slice(across, size - across))
    torch.testing.assert_close(inverse_flow(flow)[inside], -flow[inside], rtol=0, atol=1e-5)
    assert error_of_inverse(flow)[inside].abs().max() < 1e-5


def test_inverse_looks_the_flow_up_where_it_points():
    flow = 0.3 * draw(2, 2, 6, 6)
    expected = -naive_warp(flow, flow)
    torch.testing.assert_close(inverse_flow(flow).double(), expected, rtol=0, atol=1e-5)


def test_inverse_is_clamped():
    flow = torch.zeros(1, 2, 9, 9)
    flow[0, 0, :, 4] = 0.25  # this column samples the next one
    flow[0, 0, :, 5] = -5.0
    assert inverse_flow(flow)[0, 0, 0, 4] == inverse_flow(flow).abs().max() == 1


def wave(amplitude, wave_number, size=129):
    """A flow (a·sin(ky), a·cos(kx)): amplitude √2·a at most, gradient a·k at most."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    flow = torch.stack((torch.sin(wave_number * y), torch.cos(wave_number * x)))
    return amplitude * flow[None]


@settings(max_examples=30, deadline=None)
@given(amplitude=st.floats(0.005, 0.1), wave_number=st.floats(0.5, 6))
def test_inverse_of_a_smooth_flow_is_within_its_bound(amplitude, wave_number):
    """|v(p) + u(p + v(p))| <= 2·a·g of a flow of amplitude a and gradient g.

    With v(p) = -u(p + u(p)) the error is u(p - u(p + u(p))) - u(p + u(p)), which is at most g
    times the distance of the two points, |u(p) + u(p + u(p))| <= 2·a. Bilinear look-up of the
    flow between its samples, 1/64 apart, adds a·k²/4096 at most, three times.
    """
    flow = wave(amplitude, wave_number)
    a, g = math.sqrt(2) * amplitude, amplitude * wave_number
    between_samples = 3 * amplitude * wave_number**2 / 4096
    inside = math.ceil(2 * a * 64) + 1
    error = error_of_inverse(flow)[..., inside:-inside, inside:-inside].norm(dim=1).max().item()
    assert error <= 2 * a * g + between_samples + 1e-5


@settings(max_examples=30, deadline=None)
@given(amplitude=st.floats(0.005, 0.1), wave_number=st.floats(0.5, 6), steps=st.integers(0, 4))
def test_every_step_of_the_inverse_divides_the_error(amplitude, wave_number, steps):
    """From |v - v'| <= a·g of the start -u, each step contracts by the gradient g."""
    flow = wave(amplitude, wave_number)
    a, g = math.sqrt(2) * amplitude, amplitude * wave_number
    between_samples = (steps + 1) * amplitude * wave_number**2 / 4096
    inside = math.ceil((steps + 1) * a * 64) + 1
    error = error_of_inverse(flow, steps)[..., inside:-inside, inside:-inside]
    assert error.numel() == 0 or (
        error.norm(dim=1).max().item() <= a * g ** (steps + 1) + between_samples + 1e-5
    )


def test_the_iterated_inverse_of_a_translation_is_exact_at_the_border_too():
    flow = constant_flow(0.6, -0.4, 16)
    torch.testing.assert_close(inverse_flow(flow, 1), -flow)
    assert inverse_flow(flow).abs().min() == 0  # the paper's
