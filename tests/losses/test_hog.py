"""HOG against loops over pixels, and what it does not see."""

import math

import numpy as np
import pytest
import torch

from ssl_faces.losses.hog import HOG


def slowly(image, cell, bins):
    """Descriptor [bins, rows, columns] of one image [3, S, S], pixel by pixel."""
    luma = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
    side = len(luma)
    rows = side // cell
    result = np.zeros((bins, rows, rows))
    for y in range(rows * cell):
        for x in range(rows * cell):
            across = luma[y, min(x + 1, side - 1)] - luma[y, max(x - 1, 0)]
            down = luma[min(y + 1, side - 1), x] - luma[max(y - 1, 0), x]
            place = (math.degrees(math.atan2(down, across)) % 180) / (180 / bins)
            low = int(place)
            share = place - low
            magnitude = math.hypot(across, down)
            result[low % bins, y // cell, x // cell] += magnitude * (1 - share)
            result[(low + 1) % bins, y // cell, x // cell] += magnitude * share
    lengths = np.sqrt((result**2).sum(0, keepdims=True))
    return result / np.maximum(lengths, 1e-12)


@pytest.mark.parametrize(("side", "cell", "bins"), [(16, 4, 9), (18, 8, 6)])
def test_as_a_loop_over_pixels(side, cell, bins):
    images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    hog = HOG(cell, bins)
    result = hog(images)
    assert result.shape == (3, hog.length(side))
    for image, one in zip(images, result, strict=True):
        expected = slowly(image.double().numpy(), cell, bins)
        np.testing.assert_allclose(one.numpy(), expected.ravel(), atol=1e-5)


def test_light_changes_nothing():
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(HOG(4)(0.5 * images + 0.2), HOG(4)(images), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("degrees", "bin_"), [(0, 0), (45, 3), (90, 6), (135, 9)])
def test_a_ramp_fills_the_bin_of_its_direction(degrees, bin_):
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    angle = math.radians(degrees)
    ramp = (x * math.cos(angle) + y * math.sin(angle)) / 64
    result = HOG(4, 12)(ramp.expand(1, 3, 16, 16)).unflatten(1, (12, 4, 4))
    inner = result[0, :, 1:3, 1:3]
    expected = torch.zeros_like(inner)
    expected[bin_] = 1
    torch.testing.assert_close(inner, expected, atol=1e-3, rtol=0)
