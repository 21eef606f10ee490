"""Pixels, HOG and LBP: against loops and closed forms."""

import numpy as np
import pytest
import torch
from skimage.feature import local_binary_pattern

from linear_probe.sources.baselines import BASELINES, HogSource, LbpSource, PixelSource


def grey(levels):
    """Pictures [N, 3, S, S] of grey levels 0 to 255 [N, S, S]."""
    return torch.from_numpy(levels)[:, None].expand(-1, 3, -1, -1).float() / 255


def features(source, images):
    (found,) = source(images).values()
    return found


@pytest.fixture
def levels():
    return np.random.default_rng(0).integers(0, 256, (3, 33, 33)).astype(np.uint8)


@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("size", [32, 33, 48])
def test_lengths_are_those_told(kind, size):
    source = kind(size)
    (space, found), *others = source(torch.rand(2, 3, size, size)).items()
    assert not others
    assert source.dims == {space: found.shape[1]}
    assert found.dtype == torch.float32
    assert source.fingerprint != kind(size + 8).fingerprint


def test_pixels_are_luma():
    images = torch.rand(2, 3, 4, 4)
    expected = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    torch.testing.assert_close(features(PixelSource(4), images), expected.flatten(1))


def test_lbp_counts_the_patterns_of_every_cell(levels):
    found = features(LbpSource(33), grey(levels)).view(3, 4, 4, 59)
    for n, picture in enumerate(levels):
        codes = local_binary_pattern(picture, 8, 1, "nri_uniform")
        for i in range(4):
            for j in range(4):
                counts = np.zeros(59)
                for code in codes[8 * i : 8 * i + 8, 8 * j : 8 * j + 8].ravel():
                    counts[int(code)] += 1 / 64
                np.testing.assert_allclose(found[n, i, j], counts, atol=1e-6)


def test_lbp_sees_no_change_of_brightness():
    levels = np.random.default_rng(0).integers(0, 100, (2, 32, 32)).astype(np.uint8)
    one, other = (features(LbpSource(32), grey(x)) for x in (levels, 2 * levels + 30))
    # But for neighbours exactly as bright as the middle, which rounding decides.
    assert (one - other).abs().mean() < 1e-3
    turned = features(LbpSource(32), grey(levels.transpose(0, 2, 1).copy()))
    assert (one - turned).abs().mean() > 5e-3


@pytest.mark.parametrize(("axis", "bin_"), [(1, 0), (0, 4)])
def test_hog_of_a_ramp_is_one_direction(axis, bin_):
    """All gradients point along the ramp: one of 9 bins in every cell of every block."""
    ramp = np.arange(32, dtype=np.uint8) * 5
    picture = np.broadcast_to(ramp[None] if axis else ramp[:, None], (32, 32)).copy()
    found = features(HogSource(32), grey(picture[None])).view(9, 4, 9)
    assert (found[..., bin_] > 0.3).all()
    others = [i for i in range(9) if i != bin_]
    assert found[..., others].abs().max() == 0


def test_hog_sees_no_change_of_contrast(levels):
    images = grey(levels)
    one, other = (features(HogSource(33), x) for x in (images, 0.5 * images + 0.2))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)
