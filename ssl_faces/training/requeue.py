"""Slurm's queue: a job that is stopped early is put back, to go on where it was."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping

from ssl_faces.common.errors import shorten

_SECONDS = 60


def job_id(environment: Mapping[str, str] = os.environ) -> str | None:
    """As `scontrol` takes it, of an array's task too; None outside Slurm."""
    array = environment.get("SLURM_ARRAY_JOB_ID")
    found = environment.get("SLURM_JOB_ID")
    if array is not None and "SLURM_ARRAY_TASK_ID" in environment:
        found = f"{array}_{environment['SLURM_ARRAY_TASK_ID']}"
    return found if found is not None and re.fullmatch("[0-9]+(_[0-9]+)?", found) else None


def requeue(only_if_running: bool) -> str:
    """Put this process's job back into the queue; what became of it, in words.

    Args:
        only_if_running: not if Slurm says that it is ending the job: by `scancel`, or at its time
            limit. One that is pre-empted runs until its grace time is over.
    """
    job = job_id()
    if job is None:
        return "not queued again: no Slurm job's number"
    if only_if_running:
        state = _state(job)
        if state not in (None, "RUNNING"):
            return f"not queued again: Slurm job {job} is {state}"
    try:
        done = _scontrol("requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        return f"not queued again: scontrol requeue {job}: {error}"
    if done.returncode:
        said = shorten(done.stderr or done.stdout)
        return f"not queued again: scontrol requeue {job}: {said or f'code {done.returncode}'}"
    return f"Slurm job {job} is queued again"


def _state(job: str) -> str | None:
    """Such as RUNNING; None where Slurm doesn't say."""
    try:
        done = _scontrol("show", "job", job)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\bJobState=(\w+)", done.stdout)
    return found[1] if found else None


def _scontrol(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scontrol", *words], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
