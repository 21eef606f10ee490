"""Who started this process, and how many beside it: `torchrun`, `fabric run` or Slurm."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from ssl_faces.common.errors import InputError


@dataclass(frozen=True)
class Launch:
    """What a launcher has decided already.

    Attributes:
        launcher: its name.
        devices: processes on each node, one a device.
        nodes: machines.
        accelerator: the one that was asked of the launcher, if any.
    """

    launcher: str
    devices: int
    nodes: int
    accelerator: str | None = None

    def __str__(self) -> str:
        each = "process" if self.devices == 1 else "processes"
        where = "on one node" if self.nodes == 1 else f"on each of {self.nodes} nodes"
        return (
            f"{self.launcher} started {self.devices} {each} {where}: "
            "devices and nodes are taken from it"
        )

    def check(self, devices: object, nodes: int, strategy: object, accelerator: object) -> None:
        """Refuse `trainer.*` settings that can't be under this launcher.

        Raises:
            InputError: they contradict it; says which.
        """
        asked = count_devices(devices)
        if asked not in (None, self.devices):
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
                f"--trainer.strategy {strategy}: starts processes of its own, though "
                f"{self.launcher} has started them; leave --trainer.strategy out"
            )
        if self.accelerator and accelerator not in ("auto", self.accelerator):
            raise InputError(
                f"--trainer.accelerator {accelerator}: {self.launcher} was given "
                f"--accelerator {self.accelerator}; give the same to both, or to one of them"
            )


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """The launch that these environment variables tell of; None where a user started the process.

    Raises:
        InputError: a launch that a run can't be part of; says how to launch instead.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return _elastic(environment)
    # An interactive shell on a cluster is a user's, as Lightning sees it too.
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
            given = environment.get(f"LT_{name.upper()}")
            if given:
                raise InputError(
                    f"fabric run --{name} {given}: has no effect on the run; give "
                    f"--trainer.{name} {given} behind `fit` instead"
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
    if not each and tasks > 1:
        raise InputError(
            f"Slurm: {tasks} tasks without --ntasks-per-node; give --ntasks-per-node, one task for "
            "each device, and leave --ntasks out"
        )
    devices = int(each or 1)
    if devices * nodes != tasks:
        raise InputError(
            f"Slurm: {tasks} tasks are not {devices} on each of {nodes} nodes; give "
            "--ntasks-per-node, one task for each device, and leave --ntasks out"
        )
    return Launch("Slurm", devices, nodes)


def count_devices(devices: object) -> int | None:
    """How many devices `trainer.devices` asks for; None where that is for the machine to say."""
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


def is_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the first of all processes of the run: the one that writes and speaks."""
    if "RANK" in environment:
        return environment["RANK"] == "0"
    if "SLURM_PROCID" in environment and "SLURM_NTASKS" in environment:
        return environment["SLURM_PROCID"] == "0"
    # Those that Lightning started, perhaps on several nodes.
    return is_first_on_node(environment) and environment.get("NODE_RANK", "0") == "0"


def is_first_on_node(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the first process of the run on its machine."""
    if "LOCAL_RANK" in environment:
        return environment["LOCAL_RANK"] == "0"
    return environment.get("SLURM_LOCALID", "0") == "0"


def processes() -> int:
    """How many processes a launcher starts on this machine: one for each GPU, else one."""
    import torch  # takes seconds

    gpus = torch.cuda.device_count()
    if not gpus:
        print("no GPU: one process on the CPU; set DEVICES=N for more", file=sys.stderr)
    return gpus or 1


if __name__ == "__main__":
    print(processes())
