"""What all commands that run a plan share: arguments, the folder's lock, the end by a signal."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from ssl_faces.common.arguments import Parser
from ssl_faces.common.children import Stopped, stoppable
from ssl_faces.common.config_files import find_config
from ssl_faces.common.errors import InputError
from ssl_faces.common.executors import EXECUTORS, JOBS_ON_CLUSTER, add_executor
from ssl_faces.common.passwords import hidden
from ssl_faces.common.requeue import job_id
from ssl_faces.common.run_record import Held, RunRecord, claim
from ssl_faces.plan.cluster.attempts import Cluster, Remote
from ssl_faces.plan.cluster.resources import PlanResources
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.steps import say


def _connected(executor: str, address: str | None, out: Path) -> Cluster:
    """The cluster of `--executor`. Raises InputError if it can't be reached."""
    # Late, as both take a second to import.
    if executor == "slurm":
        from ssl_faces.plan.cluster.slurm import Slurm

        return Slurm(out, address)
    from ssl_faces.plan.cluster.ray import Ray

    return Ray(address)


def plan_parser(command: str, about: str, example: str) -> Parser:
    """A parser of `-c FILE --out DIR`."""
    parser = Parser(prog=command, description=about)
    kind = partial(find_config, folders=(Path(example).parent.name,))
    text = f"a file or the name of a config, such as {Path(example).stem} ({example})"
    parser.add_argument("-c", "--config", type=kind, required=True, help=text)
    parser.add_argument("--out", type=Path, required=True, help="folder of all its runs")
    add_executor(parser)
    return parser


def run_plan(
    command: Sequence[str],
    out: Path,
    work: Callable[[Engine], int],
    *,
    shared: bool = False,
    executor: str = EXECUTORS[0],
    address: str | None = None,
    resources: PlanResources | None = None,
    jobs: int | None = None,
    local_jobs: int = 1,
    **settings: Any,
) -> int:
    """Run a plan in its folder, alone there. Stopped, it says how to continue.

    Args:
        work: what the plan does with its engine; gives the exit code.
        shared: several commands may work in the folder at once.
        resources: what its commands need of a cluster.
        jobs: most steps at once; None: `local_jobs`, or many on a cluster.

    Returns:
        The exit code of `work`, or 128 plus the number of the signal that stopped it.

    Raises:
        InputError: as `work` raises it, or the folder is in use.
    """
    kind = command[1]
    if executor == EXECUTORS[0] and address is not None:
        raise InputError(f"--address {address}: without a cluster; give --executor too")
    with ExitStack() as stack:
        record: RunRecord | None = None
        try:
            lock = claim(out, patience=0.0 if shared else None)
            stack.callback(os.close, lock)
            record = stack.enter_context(RunRecord(command, kind, locked=True))
        except Held:
            if not shared:
                raise
            lock = -1
        remote = None
        if executor != EXECUTORS[0]:
            remote = Remote(_connected(executor, address, out), out, resources or {})
        stack.enter_context(stoppable(*([signal.SIGUSR1] if job_id() else [])))
        most = jobs or (local_jobs if remote is None else JOBS_ON_CLUSTER)
        engine = Engine(out, lock, most, record, remote=remote, **settings)
        try:
            code = work(engine)
        except Stopped as stopped:
            again = hidden(shlex.join(command))
            queued = engine.queue_again(stopped.number)
            say(f"stopped; what was done is kept, and the same command resumes: {again}{queued}")
            if record is not None:
                record.stopped(str(stopped))
            return 128 + stopped.number
        if code and record is not None:
            failed = [f"{name}: {error}" for name, error in engine.failures.items()]
            record.stopped(failed[0] if failed else "", "failed")
        return code
