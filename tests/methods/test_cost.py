"""What a training step costs: `small` against `paper`, in counted arithmetic."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from ssl_faces.methods.facecycle_motion import FaceCycleMotion


def step_flops(method):
    """Multiplications and additions of one step, forward and backward, on one pair."""
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        method.total(method.cycle(x)[1]).backward()
    return counter.get_total_flops()


def test_a_small_step_is_at_least_20_times_cheaper():
    paper = step_flops(FaceCycleMotion("paper", trunk_weights="random"))
    for training in ("frozen", "joint"):
        small = FaceCycleMotion("small", trunk_weights="random", trunk_training=training)
        assert paper / step_flops(small) >= 20
