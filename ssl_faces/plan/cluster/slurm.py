"""Slurm as a cluster of plans, by submitit; also submitit's jobs on this machine, to try a plan."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssl_faces.common.errors import InputError, reason_of, shorten
from ssl_faces.plan.cluster.attempts import State
from ssl_faces.plan.cluster.resources import Resources
from ssl_faces.plan.cluster.seat import ATTEMPTS, PATIENCE, launcher
from ssl_faces.plan.processes import Failed

LOCAL = "local"
"""Instead of an address: jobs run on this machine."""

EVERY = 10.0
"""Seconds between two calls of `squeue`, one for all jobs."""

_MISSING = re.compile("No module named|No such file|not found")
_ALIVE = {
    *("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "STAGE_OUT", "SIGNALING"),
    *("STOPPED", "RESIZING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"),
}


class Slurm:
    """A `Cluster`. Partition, account and quality of service are sbatch's variables, such as
    `SBATCH_PARTITION`.

    Args:
        address: `LOCAL`, or None for Slurm.

    Raises:
        InputError: no submitit, no Slurm, or another address.
    """

    kind = "slurm"

    def __init__(self, out: Path, address: str | None) -> None:
        try:
            import submitit
        except ImportError as error:
            raise InputError(
                "--executor slurm needs submitit, which is not installed; "
                'pip install "ssl-faces[slurm]"'
            ) from error
        if address not in (None, LOCAL):
            raise InputError(
                f"--address {address}: Slurm has no address; leave it out, or give `{LOCAL}` to "
                "try the plan on this machine"
            )
        self.submitit, self.folder = submitit, out.absolute() / ATTEMPTS / "jobs"
        self.is_local = address == LOCAL
        if not self.is_local and shutil.which("sbatch") is None:
            raise InputError(
                "--executor slurm: there is no `sbatch` here; start the plan on a machine that "
                f"submits to Slurm, or try it with --address {LOCAL}"
            )
        self.has_gpus = not self.is_local and "gpu" in (_run("sinfo", "-h", "-o", "%G") or "")
        self._jobs: dict[str, Any] = {}
        self._states: dict[str, str] | None = {}
        self._asked = -math.inf

    def submit(self, name: str, seat: Path, token: str, needs: Resources) -> str:
        cluster = "local" if self.is_local else "slurm"
        executor = self.submitit.AutoExecutor(self.folder, cluster=cluster)
        executor.update_parameters(
            name=f"ssl-faces {name}",
            timeout_min=math.ceil(needs.hours * 60),
            mem_gb=needs.memory_gb,
            cpus_per_task=needs.cpus,
            gpus_per_node=needs.gpus or None,
            slurm_srun_args=[f"--cpus-per-task={needs.cpus}"],
            # The head submits it again, and counts that.
            slurm_additional_parameters={"no-requeue": True, "signal": f"TERM@{PATIENCE:.0f}"},
        )
        try:
            job = executor.submit(launcher(), str(seat), token)
        except OSError as error:
            raise InputError(f"{self.folder}: {error.strerror}; mend it, and run again") from error
        except Exception as error:  # of sbatch, as text
            lines = str(error).strip().splitlines()
            refusals = [line for line in lines if "sbatch: error" in line] or lines
            raise Failed(f"Slurm refuses its job: {shorten(refusals[0])}") from error
        self._jobs[job.job_id] = job
        self._asked = -math.inf
        return str(job.job_id)

    def state(self, job: str) -> State:
        if self.is_local:
            # Those of an earlier head are no children of this process.
            mine = self._jobs.get(job)
            alive = Path("/proc", job).exists() if mine is None else not mine.done()
            return "alive" if alive else "ended"
        if time.monotonic() - self._asked > EVERY:
            self._asked = time.monotonic()
            listed = _run("squeue", "--me", "-h", "-t", "all", "-o", "%i %T")
            words = [line.split() for line in (listed or "").splitlines()]
            self._states = None if listed is None else {w[0]: w[1] for w in words if len(w) == 2}
        if self._states is None:
            return "alive"  # as far as is known: Slurm doesn't answer
        state = self._states.get(job, "gone")
        if state in _ALIVE:
            return "alive"
        return "cancelled" if state.startswith("CANCELLED") else "ended"

    def error(self, job: str) -> str:
        if (self._states or {}).get(job) == "OUT_OF_MEMORY":
            return "Slurm ended it as it ran out of memory; raise its memory_gb"
        kind = self.submitit.LocalJob if self.is_local else self.submitit.SlurmJob
        known: Any = kind(self.folder, job)
        if not known.paths.result_pickle.exists():
            last = (known.stderr() or "").strip().splitlines()[-1:]
            missing = [line for line in last if _MISSING.search(line)]
            return f"its job could not start: {shorten(missing[0])}" if missing else ""
        try:
            return str(known.result())
        except Exception as error:
            return reason_of(error)

    def cancel(self, job: str) -> None:
        if self.is_local:
            with suppress(ProcessLookupError):
                os.kill(int(job), 15)
        else:
            _run("scancel", job)


def _run(*words: str) -> str | None:
    """What a command of Slurm prints; None if it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
