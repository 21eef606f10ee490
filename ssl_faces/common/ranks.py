"""Which process of a distributed run this is, by the launchers' environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping


def is_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the run's first process, which writes files and prints."""
    if "RANK" in environment:
        return environment["RANK"] == "0"
    if "SLURM_PROCID" in environment and "SLURM_NTASKS" in environment:
        return environment["SLURM_PROCID"] == "0"
    # Processes that Lightning started, perhaps on several nodes.
    return is_first_on_node(environment) and environment.get("NODE_RANK", "0") == "0"


def is_first_on_node(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the run's first process on its machine."""
    if "LOCAL_RANK" in environment:
        return environment["LOCAL_RANK"] == "0"
    return environment.get("SLURM_LOCALID", "0") == "0"
