"""Two processes with b pairs each make the gradient of one process with 2b pairs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from ssl_faces.methods.facecycle_identity import FaceCycleIdentity
from ssl_faces.methods.facecycle_motion import Design, FaceCycleMotion

PAIRS = 2  # a process


class Loss(nn.Module):
    """A method's total loss as a forward pass, for DistributedDataParallel."""

    def __init__(self, method: FaceCycleMotion | FaceCycleIdentity) -> None:
        super().__init__()
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        return self.method.total(self.method.cycle(x)[1])


def stage(checkpoint: str, design: Design = "paper") -> FaceCycleMotion | FaceCycleIdentity:
    """Stage 1 (no checkpoint) or stage 2, without the generator's noise, the same every time."""
    torch.manual_seed(0)
    if checkpoint:
        return FaceCycleIdentity(checkpoint).train()
    # linear_std: codes that differ from face to face, so that their gradient is not all rounding.
    return FaceCycleMotion(
        *("small", 32, "random", "joint", design),
        noise_std=0.0,
        fold_weight=1.0,
        linear_std=0.04,
    ).train()


def pairs() -> Tensor:
    return torch.rand(2 * PAIRS, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def frames(of: Tensor) -> Tensor:
    return (of.transpose(0, 1).flatten(0, 1) - 0.45) / 0.225


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        name.removeprefix("module."): p.grad.clone()
        for name, p in model.named_parameters()
        if p.requires_grad and p.grad is not None
    }


def process(rank: int, port: int, checkpoint: str, out: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(Loss(stage(checkpoint)))
    model(frames(pairs()[rank * PAIRS : (rank + 1) * PAIRS])).backward()
    if rank == 0:
        torch.save(gradients(model), out)
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def threads() -> Iterator[None]:
    """One thread, as the processes have: L1 and ReLU turn last digits into jumps."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 2])
def test_the_gradient_is_that_of_one_process(number: int, tmp_path: Path, threads: None) -> None:
    checkpoint = ""
    if number == 2:
        # Its identity code is standardised over the batch of both processes.
        method = stage("", "repair")
        checkpoint = str(tmp_path / "motion.ckpt")
        saved = {
            "state_dict": method.state_dict(),
            "hyper_parameters": dict(method.hparams),
            "method": method.name,
        }
        torch.save(saved, checkpoint)
    whole = Loss(stage(checkpoint))
    whole(frames(pairs())).backward()
    expected = gradients(whole)

    out = tmp_path / "gradients.pt"
    mp.spawn(process, (free_port(), checkpoint, str(out)), nprocs=2)
    found = torch.load(out, weights_only=True)
    assert found.keys() == expected.keys()
    assert any(name.startswith("method.encoder") for name in found)
    whole_norm = torch.cat([value.flatten() for value in expected.values()]).norm()
    difference = torch.cat([(found[k] - value).flatten() for k, value in expected.items()])
    # Standardising divides by small deviations of untrained codes, which enlarges rounding.
    slack = 20 if number == 2 else 1
    assert difference.norm() / whole_norm < slack * 1e-5
    for name, value in expected.items():
        # Each alone too, less strictly: some are small differences of large sums.
        error = (found[name] - value).norm()
        assert error < slack * (1e-3 * value.norm() + 1e-6 * whole_norm), name
