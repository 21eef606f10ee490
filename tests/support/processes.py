"""Processes that begin at once: two of one training step, and any others."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from tests.support import threads
from tests.support.waiting import eventually

# A server imports what takes long once, and forks for each process.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["ssl_faces.training.fit", "linear_probe.cli"])


def begin(work: Callable[..., object], *arguments: object) -> BaseProcess:
    """Start a function of a module in another process, with the environment of the first one."""
    process = _server.Process(target=work, args=arguments)
    process.start()
    return process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


__all__ = ["begin", "eventually", "free_port", "gradients", "one_thread", "results_of_two"]

# As processes of a run have: L1 and ReLU turn last digits into jumps.
one_thread = contextmanager(threads.one_thread)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        name.removeprefix("module."): p.grad.clone()
        for name, p in model.named_parameters()
        if p.grad is not None
    }


def _process(rank: int, port: int, work: Callable[[int], object], folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.save(work(rank), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def results_of_two(work: Callable[[int], object], folder: Path) -> list[object]:
    """What `work(rank)` returns in each of two processes of a group; a function of a module, or
    a partial of one."""
    arguments = (free_port(), work, str(folder))
    mp.start_processes(_process, arguments, nprocs=2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
