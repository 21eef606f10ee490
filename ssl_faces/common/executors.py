"""Arguments of commands that run others: how many at once, and where."""

from __future__ import annotations

from typing import Any

from ssl_faces.common.arguments import whole

EXECUTORS = ("local", "slurm", "ray")

JOBS_ON_CLUSTER = 100


def add_jobs(parser: Any, default: int = 1) -> None:
    """The argument `--jobs`; None if it is left out."""
    parser.add_argument(
        "--jobs",
        type=whole(1, 1024),
        metavar="N",
        help=f"steps at once, as far as memory allows; default: {default}, on a cluster "
        f"{JOBS_ON_CLUSTER}",
    )


def add_executor(parser: Any) -> None:
    """The arguments `--executor` and `--address`."""
    parser.add_argument(
        "--executor",
        choices=EXECUTORS,
        default=EXECUTORS[0],
        help="where steps run: on this machine (default), or as jobs of a cluster; "
        "configs/launch/README.md",
    )
    parser.add_argument(
        "--address",
        metavar="auto|HOST:PORT",
        help="of the Ray cluster (default: auto); `local` tries --executor slurm on this machine",
    )


def where(arguments: Any) -> dict[str, Any]:
    """The parsed arguments of `add_executor`, for `run_plan`."""
    return {"executor": arguments.executor, "address": arguments.address}
