"""Two processes with b pairs each make the gradient of one process with 2b pairs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from ssl_faces.methods.barlow_twins import BarlowTwins
from ssl_faces.methods.byol import BYOL
from ssl_faces.methods.dino import DINO
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.moco_v3 import MoCoV3
from ssl_faces.methods.simclr import SimCLR
from ssl_faces.methods.vicreg import VICReg
from ssl_faces.networks.backbone import EncoderSettings

PAIRS = 3  # a process
METHODS: dict[str, tuple[type[Any], dict[str, int]]] = {
    "simclr": (SimCLR, {"projection_dim": 8}),
    "moco_v3": (MoCoV3, {"projection_dim": 8, "hidden_dim": 16}),
    "byol": (BYOL, {"projection_dim": 8, "hidden_dim": 16}),
    "vicreg": (VICReg, {"projection_dim": 8}),
    "barlow_twins": (BarlowTwins, {"projection_dim": 8}),
    "dino": (DINO, {"prototypes": 8, "hidden_dim": 16, "local_crops": 0}),
}


class _Epoch:
    """What a method asks of its trainer outside of a run."""

    current_epoch = 0


class Loss(nn.Module):
    """A method's total loss as a forward pass, for DistributedDataParallel."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        # FaceCycle's encoder has no batch normalisation; that of the heads is in eval mode, as each
        # process standardises its own batch.
        kind, heads = METHODS[name]
        method = kind(EncoderSettings("facecycle", 32, 0.0625), **heads)
        self.method: JointEmbedding = method.eval()
        self.method._trainer = _Epoch()  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(list(self.method.losses(x).values())).sum()


def pictures(pairs: slice) -> Tensor:
    found = torch.rand(2 * PAIRS, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return (found[pairs].transpose(0, 1).flatten(0, 1) - 0.45) / 0.225


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        name.removeprefix("module."): p.grad.clone()
        for name, p in model.named_parameters()
        if p.grad is not None
    }


def process(rank: int, port: int, out: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    found = {}
    for name in METHODS:
        model = nn.parallel.DistributedDataParallel(Loss(name))
        model(pictures(slice(rank * PAIRS, (rank + 1) * PAIRS))).backward()
        found[name] = gradients(model)
    if rank == 0:
        torch.save(found, out)
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    out = tmp_path_factory.mktemp("ddp") / "gradients.pt"
    mp.spawn(process, (free_port(), str(out)), nprocs=2)
    found: dict[str, dict[str, Tensor]] = torch.load(out, weights_only=True)
    return found


@pytest.fixture
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("name", METHODS)
def test_the_gradient_is_that_of_one_process(
    name: str, of_two_processes: dict[str, dict[str, Tensor]]
) -> None:
    whole = Loss(name)
    whole(pictures(slice(None))).backward()
    expected, found = gradients(whole), of_two_processes[name]
    assert found.keys() == expected.keys()
    assert any(key.startswith("method.encoder") for key in found)
    norm = torch.cat([value.flatten() for value in expected.values()]).norm()
    assert norm > 1e-4
    for key, value in expected.items():
        error = (found[key] - value).norm()
        # The gradient of what a loss does not depend on, such as a last bias, is rounding alone.
        assert error < 1e-3 * value.norm() + 1e-4 * norm, key
