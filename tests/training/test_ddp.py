"""Two processes with b pairs each have FaceCycle's gradient of one process with 2b pairs."""

from functools import partial

import pytest
import torch
from torch import nn

from ssl_faces.methods.facecycle_identity import FaceCycleIdentity
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from tests.support.facecycle import save
from tests.support.fits import random_pairs
from tests.support.processes import gradients, one_thread, results_of_two

PAIRS = 2  # of each process


class Loss(nn.Module):
    """A method's total loss as a forward pass, for DistributedDataParallel."""

    def __init__(self, method):
        super().__init__()
        self.method = method

    def forward(self, x):
        return self.method.total(self.method.cycle(x)[1])


def stage(checkpoint, design="paper"):
    """Stage 1 (no checkpoint) or stage 2, without the generator's noise, always the same."""
    torch.manual_seed(0)
    if checkpoint:
        return FaceCycleIdentity(checkpoint).train()
    # linear_std: codes that differ between faces, so that their gradient is not only rounding.
    return FaceCycleMotion(
        *("small", 32, "random", "joint", design), noise_std=0.0, fold_weight=1.0, linear_std=0.04
    ).train()


def images(pairs):
    return (random_pairs(2 * PAIRS)[pairs].transpose(0, 1).flatten(0, 1) - 0.45) / 0.225


def of_one_process(checkpoint, rank):
    model = nn.parallel.DistributedDataParallel(Loss(stage(checkpoint)))
    model(images(slice(rank * PAIRS, (rank + 1) * PAIRS))).backward()
    return gradients(model)


@pytest.mark.parametrize("number", [1, 2])
def test_gradient_equals_one_process(number, tmp_path):
    checkpoint = ""
    if number == 2:
        # Its identity code is standardised over the batches of both processes.
        method = stage("", "repair")
        checkpoint = str(save(method, tmp_path / "motion.ckpt"))
    with one_thread():
        whole = Loss(stage(checkpoint))
        whole(images(slice(None))).backward()
    expected = gradients(whole)
    result = results_of_two(partial(of_one_process, checkpoint), tmp_path)[0]
    assert result.keys() == expected.keys()
    assert any(name.startswith("method.encoder") for name in result)
    whole_norm = torch.cat([value.flatten() for value in expected.values()]).norm()
    difference = torch.cat([(result[k] - value).flatten() for k, value in expected.items()])
    # Standardising divides by small deviations of untrained codes, which enlarges rounding.
    slack = 20 if number == 2 else 1
    assert difference.norm() / whole_norm < slack * 1e-5
    for name, value in expected.items():
        # Each alone too, less strictly: some are small differences of large sums.
        error = (result[name] - value).norm()
        assert error < slack * (1e-3 * value.norm() + 1e-6 * whole_norm), name
