"""What a step needs of a cluster: from its plan's file, else from its command."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import PlainValidator

from ssl_faces.common.arguments import number, whole
from ssl_faces.common.yaml_settings import Strict

Verb = Literal["fit", "run", "head", "video", "landmarks", "audit", "truth", "other"]
"""A command of this project, or any other command."""

CPUS, CPUS_A_GPU = 2, 8
HOURS = 24.0


class Resources(Strict):
    """What a step needs. It runs on one node."""

    # Default: 8 for each GPU, or 2 without one
    cpus: Annotated[int, PlainValidator(whole(1, 2**16))] | None = None
    # Default: the command's `--trainer.devices`, else 1; none if the command names the CPU, or if
    # the cluster has no GPU
    gpus: Annotated[int, PlainValidator(whole(0, 1024))] | None = None
    # GiB; default: as the cluster does without it
    memory_gb: Annotated[float, PlainValidator(number(0, 2**20, above=True))] | None = None
    # Slurm's time limit. A step that it stops is run again, and resumes
    hours: Annotated[float, PlainValidator(number(0, 10_000, above=True))] = HOURS
    # How often a step is begun if its worker is lost or stopped early
    attempts: Annotated[int, PlainValidator(whole(1, 1000))] = 5


PlanResources = dict[Verb, Resources]
"""In a plan's file: what its commands need."""


def resources_of(
    argv: Sequence[str], own: Resources, of_plan: Mapping[Any, Resources], has_gpus: bool
) -> Resources:
    """What a command needs, with all defaults but `memory_gb`.

    Args:
        own: of its step.
        of_plan: of its plan, for what the step leaves open.
        has_gpus: whether the cluster has GPUs.
    """
    words = list(argv[1:]) if argv[0] == "/usr/bin/env" else list(argv)
    is_ours = Path(words[0]).name in ("ssl-faces", "linear-probe") and len(words) > 1
    settings = of_plan.get(words[1] if is_ours else "other", Resources())
    chosen = settings.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})
    gpus = chosen.gpus
    if gpus is None:
        gpus = _devices(words) if has_gpus else 0
    cpus = chosen.cpus or CPUS_A_GPU * gpus or CPUS
    return chosen.model_copy(update={"gpus": gpus, "cpus": cpus})


def _devices(argv: Sequence[str]) -> int:
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--trainer.accelerator", "--device", "--trainer.devices"):
        parser.add_argument(option, nargs="?", default="")
    accelerator, device, devices = vars(parser.parse_known_args(argv)[0]).values()
    if "cpu" in (accelerator, device):
        return 0
    return int(devices) if (devices or "").isdecimal() else 1
