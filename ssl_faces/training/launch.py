"""Launchers (`torchrun`, `fabric run`, Slurm) and the processes of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssl_faces.common.errors import InputError


@dataclass(frozen=True)
class Launch:
    """The launch of a run by a launcher."""

    launcher: str  # its name
    devices: int  # processes on each node, one for each device
    nodes: int  # number of machines
    accelerator: str | None = None  # the launcher's `--accelerator`, if any

    def __str__(self) -> str:
        each = "process" if self.devices == 1 else "processes"
        where = "on one node" if self.nodes == 1 else f"on each of {self.nodes} nodes"
        return (
            f"{self.launcher} started {self.devices} {each} {where}: "
            "devices and nodes are taken from it"
        )

    def check(self, devices: object, nodes: int, strategy: object, accelerator: object) -> None:
        """Check `trainer.*` settings against the launch. Raises InputError: a setting contradicts
        it."""
        if count_devices(devices) not in (None, self.devices):
            raise InputError(
                f"--trainer.devices {devices}: {self.launcher} started {self.devices} on each "
                "node; leave --trainer.devices out, or have the launcher start as many"
            )
        if nodes not in (1, self.nodes):
            raise InputError(
                f"--trainer.num_nodes {nodes}: {self.launcher} started processes on {self.nodes}; "
                "leave --trainer.num_nodes out, or launch on as many"
            )
        if isinstance(strategy, str) and any(w in strategy for w in ("spawn", "fork", "notebook")):
            raise InputError(
                f"--trainer.strategy {strategy}: starts processes, but "
                f"{self.launcher} has started them already; leave --trainer.strategy out"
            )
        if self.accelerator and accelerator not in ("auto", self.accelerator):
            raise InputError(
                f"--trainer.accelerator {accelerator}: {self.launcher} was given "
                f"--accelerator {self.accelerator}; give the same to both, or to one of them"
            )


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """The launch described by environment variables; None without a launcher. Raises InputError: an
    unsupported launch."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return _elastic(environment)
    # Interactive shells on a cluster are no launch; Lightning agrees.
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in (
        "bash",
        "interactive",
    ):
        return _slurm(environment)
    return None


def _elastic(environment: Mapping[str, str]) -> Launch:
    launcher, accelerator = "torchrun", None
    if environment.get("LT_CLI_USED"):
        launcher = "fabric run"
        for name in ("precision", "strategy"):
            value = environment.get(f"LT_{name.upper()}")
            if value:
                raise InputError(
                    f"fabric run --{name} {value}: has no effect on the run; give "
                    f"--trainer.{name} {value} after `fit` instead"
                )
        accelerator = environment.get("LT_ACCELERATOR")
        if accelerator == "auto":
            accelerator = None
    devices, processes = int(environment["LOCAL_WORLD_SIZE"]), int(environment["WORLD_SIZE"])
    if processes % devices:
        raise InputError(
            f"{launcher}: {devices} processes on this node of {processes} in all; start equally "
            "many on each node"
        )
    return Launch(launcher, devices, processes // devices, accelerator)


def _slurm(environment: Mapping[str, str]) -> Launch:
    tasks, nodes = int(environment["SLURM_NTASKS"]), int(environment.get("SLURM_NNODES", 1))
    # Slurm may write "8(x2)".
    each = environment.get("SLURM_NTASKS_PER_NODE", "").partition("(")[0]
    devices = int(each or 1)
    advice = "give --ntasks-per-node, one task for each device, and leave --ntasks out"
    if not each and tasks > 1:
        raise InputError(f"Slurm: {tasks} tasks without --ntasks-per-node; {advice}")
    if devices * nodes != tasks:
        raise InputError(
            f"Slurm: {tasks} tasks are not {devices} on each of {nodes} nodes; {advice}"
        )
    return Launch("Slurm", devices, nodes)


DDP: dict[str, Any] = {"gradient_as_bucket_view": True}
"""Default options of DistributedDataParallel: gradients share memory with the buckets that are
sent, which saves a copy. On 2 cores two processes train 1.76 times as fast as one, and without any
exchange 1.79 times (measured once), so other options have little to gain."""


def devices_and_strategy(settings: Any, launch: Launch | None) -> dict[str, Any]:
    """Arguments of the trainer that follow from the launcher and the number of devices. Raises
    InputError: the launcher started more processes than there are GPUs."""
    arguments: dict[str, Any] = {}
    gpus = _gpus(settings)
    devices, nodes = count_devices(settings.devices), settings.num_nodes
    if launch is not None:
        devices, nodes = launch.devices, launch.nodes
        arguments = {"devices": devices, "num_nodes": nodes}
        if launch.accelerator and settings.accelerator == "auto":
            gpus = gpus if launch.accelerator in ("gpu", "cuda") else 0
            arguments["accelerator"] = launch.accelerator
        if gpus and gpus < devices:
            raise InputError(
                f"{launch.launcher} started {devices} processes on this node, each of which sees "
                f"{gpus} GPU(s); start one for each, and let all see all (Slurm: "
                "--gpus-per-node, not --gpus-per-task)"
            )
    if settings.strategy == "auto" and (devices or gpus or 1) * nodes > 1:
        from pytorch_lightning.strategies import DDPStrategy

        arguments["strategy"] = DDPStrategy(**DDP)
    return arguments


def _gpus(settings: Any) -> int:
    """Number of GPUs, if the settings allow them."""
    import torch  # takes seconds

    return torch.cuda.device_count() if settings.accelerator in ("auto", "gpu", "cuda") else 0


def world_size(settings: Any) -> int:
    """Number of processes of a run with these trainer settings, without a launcher."""
    return int((count_devices(settings.devices) or _gpus(settings) or 1) * settings.num_nodes)


def count_devices(devices: object) -> int | None:
    """Number of devices in `trainer.devices`; None if it depends on the machine."""
    if isinstance(devices, str):
        devices = devices.strip()
        if "," in devices:
            return len([part for part in devices.split(",") if part.strip()])
        try:
            devices = int(devices)
        except ValueError:
            return None
    if isinstance(devices, int):
        return devices if devices >= 0 else None
    return len(devices) if isinstance(devices, list | tuple) else None


def processes() -> int:
    """Number of processes to launch on this machine: one for each GPU, at least one."""
    import torch  # takes seconds

    gpus = torch.cuda.device_count()
    if not gpus:
        print("no GPU: one process on the CPU; set DEVICES=N for more", file=sys.stderr)
    return gpus or 1


if __name__ == "__main__":
    print(processes())
