"""The image decoder: sizes, and learning one face per code."""

import pytest
import torch

from ssl_faces.networks.image_decoder import ImageDecoder
from ssl_faces.rendered import RenderedFaces
from tests.support.by_heart import minimise


@pytest.mark.parametrize("size", [16, 30, 33, 48, 64])
def test_pictures_of_the_size(size):
    torch.manual_seed(0)
    pictures = ImageDecoder(8, size, width=4)(10 * torch.randn(3, 8))
    assert pictures.shape == (3, 3, size, size)
    assert pictures.dtype == torch.float32


def test_it_learns_which_code_is_which_face():
    torch.manual_seed(0)
    faces = RenderedFaces(8, 8, "all", size=32).render_batch(range(4)).float() / 255
    codes, decoder = torch.eye(4), ImageDecoder(4, 32, width=8)
    losses = minimise(
        decoder.parameters(), lambda: (decoder(codes) - faces).abs().mean(), 150, 3e-3
    )
    # The best constant image.
    constant = (faces - faces.median(0).values).abs().mean()
    assert losses[-1] < 0.4 * constant
