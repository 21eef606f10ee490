"""`ssl-faces bench executors`: what a step of a plan costs on each executor, beside its own work.

The step is a Python process that does nothing. submitit's jobs and Ray's cluster are on this
machine, so that the time in a queue, and of a network, is not in the figures.
"""

from __future__ import annotations

import argparse
import io
import os
import secrets
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from ssl_faces.bench.result import Result
from ssl_faces.bench.timing import side_by_side
from ssl_faces.common.arguments import whole
from ssl_faces.common.run_record import claim
from ssl_faces.common.safe_path import python
from ssl_faces.plan.cluster.attempts import Cluster, Remote
from ssl_faces.plan.cluster.ray import Ray
from ssl_faces.plan.cluster.resources import Resources
from ssl_faces.plan.cluster.slurm import LOCAL, Slurm
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.steps import Step

BARE = "(a bare process)"
NOTHING = python("-c", "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=whole(1, 1000), default=5, help="on each (default: 5)")


def measure(arguments: argparse.Namespace) -> Result:
    """Median seconds of a step on each executor, one step at a time, in turns.

    Raises:
        InputError: submitit or Ray is not installed.
    """
    with TemporaryDirectory() as folder:
        out = Path(folder)
        candidates: dict[str, Callable[[], object]] = {
            BARE: partial(subprocess.run, NOTHING, check=True),
            "local": _runner(out / "local"),
            f"slurm --address {LOCAL}": _runner(out / "slurm", Slurm(out / "slurm", LOCAL)),
            "ray": _runner(out / "ray", _ray_of_this_machine()),
        }
        with redirect_stdout(io.StringIO()):
            seconds = side_by_side(candidates, rounds=arguments.steps)
    medians = {name: median(values) for name, values in seconds.items()}
    bare = medians[BARE]
    return Result(
        "executors",
        settings={"steps": arguments.steps, "cores": os.cpu_count()},
        rows=[
            {"executor": name, "a step, s": value, "overhead, s": value - bare}
            for name, value in medians.items()
        ],
    )


def _ray_of_this_machine() -> Ray:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray's switch for systems without several nodes: it binds to the loopback address.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Otherwise Ray writes a token to the user's folder.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray

        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    except ImportError:
        pass  # as below
    return Ray(None)


def _runner(out: Path, cluster: Cluster | None = None) -> Callable[[], object]:
    """Runs one step in a plan's folder."""
    remote = None if cluster is None else Remote(cluster, out, {"other": Resources(cpus=1)})
    engine = Engine(out, claim(out), remote=remote)
    step = Step("nothing", NOTHING, out / "nothing.log", out / "nothing", always=True)
    return partial(engine.run, [step])
