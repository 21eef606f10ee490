"""Requeue Slurm jobs that are stopped early."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping

from ssl_faces.common.errors import shorten

_SECONDS = 60


def job_id(environment: Mapping[str, str] = os.environ) -> str | None:
    """The job's or array task's id for `scontrol`; None outside Slurm."""
    job = environment.get("SLURM_JOB_ID", "")
    if {"SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"} <= environment.keys():
        job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return job if re.fullmatch("[0-9]+(_[0-9]+)?", job) else None


def requeue(only_if_running: bool) -> str:
    """Requeue the job of this process; returns a sentence about the result.

    Args:
        only_if_running: don't requeue a job that Slurm is ending (by `scancel` or at its time
            limit). A pre-empted job is running until its grace time is over.
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
        reason = shorten(done.stderr or done.stdout) or f"code {done.returncode}"
        return f"not queued again: scontrol requeue {job}: {reason}"
    return f"Slurm job {job} is queued again"


def _state(job: str) -> str | None:
    """The job's state, such as RUNNING; None if unknown."""
    try:
        done = _scontrol("show", "job", job)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\bJobState=(\w+)", done.stdout)
    return match[1] if match else None


def _scontrol(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scontrol", *words], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
