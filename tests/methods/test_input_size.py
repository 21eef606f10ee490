"""FaceCycle at picture sizes other than the paper's."""

import pytest
import torch

from ssl_faces.common.errors import InputError
from ssl_faces.methods.facecycle_motion import FaceCycleMotion


@pytest.mark.parametrize(("size", "side"), [(36, 3), (64, 4), (100, 7)])
def test_a_step_at_this_size(size, side):
    torch.manual_seed(0)
    method = FaceCycleMotion("small", size, trunk_weights="random", trunk_training="joint")
    x = method.frames({"pairs": torch.rand(1, 2, 3, size, size)})
    cycle, losses = method.cycle(x)
    assert cycle.neutral.shape == x.shape
    total = method.total(losses)
    total.backward()
    assert torch.isfinite(total)
    features = method.encoder(torch.rand(1, 3, 50, 50))
    assert features["expression_map"].shape == (1, 128 * side**2)


def test_the_map_is_of_larger_pictures_where_asked():
    method = FaceCycleMotion(
        "small", 48, map_size=96, trunk_weights="random", trunk_training="joint"
    )
    features = method.encoder(torch.rand(1, 3, 50, 50))
    assert features["expression"].shape == (1, 256)
    assert features["expression_map"].shape == (1, 128 * 6**2)


@pytest.mark.parametrize(("size", "message"), [(0, "whole number from 8"), (62, "multiple of 4")])
def test_a_size_the_generator_cannot_render_is_refused(size, message):
    with pytest.raises(InputError, match=f"model.input_size: {size}; give a {message}"):
        FaceCycleMotion("small", size, trunk_weights="random", trunk_training="joint")
