"""The head's side: steps become jobs, those of an earlier head are adopted, lost ones run again."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from ssl_faces.common import __version__
from ssl_faces.common.errors import InputError
from ssl_faces.plan.cluster.resources import Resources, resources_of
from ssl_faces.plan.cluster.seat import Order, Result, Seat
from ssl_faces.plan.processes import Failed
from ssl_faces.plan.steps import Step, say

LOOK = 0.5
"""Seconds between two looks at a job."""

GRACE = 30.0
"""Seconds until a shared folder shows everywhere what a job has written."""

_VARIABLES = ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY")
"""Variables that reach a worker, beside this project's."""

State = Literal["alive", "ended", "cancelled"]
"""Of a job: `alive` also while it waits, `cancelled` by its user."""


class Cluster(Protocol):
    """Where jobs run.

    Attributes:
        kind: `slurm` or `ray`.
        has_gpus: whether any node has one.
    """

    kind: str
    has_gpus: bool

    def submit(self, name: str, seat: Path, token: str, needs: Resources) -> str:
        """Start a job that calls `launcher()`; its name. Raises `Failed` if it is refused."""

    def state(self, job: str) -> State:
        """Whether a job is over, also one of an earlier head."""

    def error(self, job: str) -> str:
        """The worker's own error if the job has ended with one, else empty."""

    def cancel(self, job: str) -> None:
        """End a job at once, if it is there."""


@dataclass(frozen=True)
class Remote:
    """Where steps of a plan run: a cluster, the plan's folder, and what its commands need."""

    cluster: Cluster
    out: Path
    needs: Mapping[Any, Resources]


class Attempt:
    """A step on a cluster: a `Process`. It is submitted, or adopted if an earlier head has.

    Raises:
        Failed: the cluster refuses it.
        InputError: the folder can't be written, or what ran there doesn't end.
    """

    pid = 0

    def __init__(self, remote: Remote, step: Step) -> None:
        self.step, self.cluster = step, remote.cluster
        self.seat = Seat.of(step, remote.out)
        has_gpus = self.cluster.has_gpus
        self.needs = resources_of(step.argv, step.resources, remote.needs, has_gpus)
        self._next = 0.0
        self._ended_at: float | None = None
        self._ending = self._over = False
        order = self.seat.order()
        if (
            order is not None
            and (order.cluster, order.key, order.end) == (self.cluster.kind, step.key, "")
            and order.job
        ):
            self.order = order
            say(f"  adopted: {self._job} of an earlier command")
            return
        self.seat.vacate()
        if order is not None and order.job and order.cluster == self.cluster.kind:
            self.cluster.cancel(order.job)  # it may still wait
        self._submit(1)

    @property
    def about(self) -> dict[str, Any]:
        """Job and number of attempts, for the plan's state."""
        return {"attempts": self.order.count, "job": self._job}

    @property
    def _job(self) -> str:
        return f"{self.cluster.kind} job {self.order.job}"

    def _submit(self, count: int) -> None:
        # No others: the order is a file, and variables may be secrets.
        variables = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("SSL_FACES_", "LINEAR_PROBE_")) or name in _VARIABLES
        }
        threads = os.environ.get("OMP_NUM_THREADS", str(self.needs.cpus))
        order = Order(
            token=secrets.token_hex(8),
            key=self.step.key,
            cluster=self.cluster.kind,
            count=count,
            version=__version__,
            argv=list(self.step.argv),
            log=str(self.step.log),
            folder=os.getcwd(),
            environment={"OMP_NUM_THREADS": threads, **variables, **self.step.environment},
        )
        # A worker of an earlier order ends by it; only then the new one gets the lock.
        self.seat.write(order)
        try:
            job = self.cluster.submit(self.step.name, self.seat.folder, order.token, self.needs)
        except BaseException:
            self.seat.clear()
            raise
        self.order = replace(order, job=job)
        self.seat.write(self.order)
        self._ended_at = None

    def check(self) -> bool:
        if self._over:
            return True
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + LOOK
        result = self.seat.result(self.order.token)
        if self._ending:
            is_over = result is not None or self.cluster.state(self.order.job) != "alive"
            return is_over and self._leave()
        if result is None or result.early:
            return self._check_job(result)
        self._leave()
        if result.code != 0:
            raise Failed(result.error, result.code)
        return True

    def _check_job(self, result: Result | None) -> bool:
        """As `check`, without a result of the step itself."""
        state, now = self.cluster.state(self.order.job), time.monotonic()
        if state == "alive":
            self._ended_at = None
            return False
        error = self.cluster.error(self.order.job)
        if state == "cancelled":
            error = f"its {self._job} was cancelled; the same command runs it again"
        if error:
            self._leave()
            raise Failed(error)
        self._ended_at = self._ended_at or now
        if result is None and now - self._ended_at < GRACE:
            return False
        return self._again("its worker was lost" if result is None else "its worker was stopped")

    def _again(self, reason: str) -> bool:
        count, most = self.order.count, self.needs.attempts
        if count >= most:
            self._leave()
            raise Failed(f"{reason}, at the last of {most} attempts; see {self.step.log}")
        say(f"{self.step.name}: {reason} ({self._job}); attempt {count + 1} of {most}")
        self._submit(count + 1)
        return False

    def _leave(self) -> bool:
        self._over = True
        with suppress(InputError):
            self.seat.clear()
        return True

    def ask_to_end(self, number: int) -> None:
        self._ending = True
        self._order_end("term")
        if not self.seat.started(self.order.token).exists():
            self.cluster.cancel(self.order.job)

    def kill(self) -> None:
        self._order_end("kill")
        self.cluster.cancel(self.order.job)
        self._leave()

    def _order_end(self, how: str) -> None:
        try:
            self.seat.write(replace(self.order, end=how))
        except InputError:  # such as a full disk
            self.cluster.cancel(self.order.job)
