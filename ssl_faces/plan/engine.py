"""One engine for all commands that run many others: steps, their order, resume, several at once.

`ssl-faces job`, `compare` and `sweep`, `linear-probe suite` and `claims` only make steps of their
YAML files.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_faces.common.children import Stopped, collected_signals
from ssl_faces.common.durations import duration
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.passwords import hidden
from ssl_faces.common.requeue import job_id, requeue
from ssl_faces.common.run_record import RunRecord, read_run
from ssl_faces.plan.cluster.attempts import Attempt, Remote
from ssl_faces.plan.cluster.seat import Seat
from ssl_faces.plan.processes import Command, Executor, Failed, Process, free_memory, peak_memory
from ssl_faces.plan.steps import Source, Step, say

PATIENCE = 120.0
"""Seconds that a run has to save its checkpoint when it is asked to end."""

FIRST_GUESS = 3 * 2**30
"""Bytes that a step is expected to need before any has shown what it needs."""

_TICK = 0.1

_SHARE = 0.02
"""Most of the time that may go into writing the state: that of 100,000 steps takes seconds."""

executor: Executor = Command
"""Where steps run."""


@dataclass
class _Running:
    step: Step
    process: Process
    began: float
    slot: int


class Engine:
    """Runs steps, several at once.

    Args:
        lock: of its folder, as of `claim`; steps inherit it.
        jobs: most steps at once.
        record: keeps the state of the steps in `run.json`; None: another command does.
        share_gpus: whether each of several jobs sees one GPU only.
        by_memory: whether a step waits until there is memory for it beside those that run.
        remote: runs the steps on a cluster; None: on this machine.

    Attributes:
        failures: messages of the steps that failed, by their names.
        spent: cost and seconds of all steps that have ended.
    """

    def __init__(
        self,
        out: Path,
        lock: int,
        jobs: int = 1,
        record: RunRecord | None = None,
        share_gpus: bool = True,
        by_memory: bool = True,
        remote: Remote | None = None,
    ) -> None:
        self.out, self.lock, self.jobs, self.record = out, lock, jobs, record
        self.share_gpus, self.by_memory, self.remote = share_gpus, by_memory, remote
        self.failures: dict[str, Failed] = {}
        self.spent = (0.0, 0.0)
        self._running: list[_Running] = []
        self._states: dict[str, dict[str, Any]] = {}
        self._most = 0  # bytes that a step has used
        self._is_noted = True  # whether the state is written
        self._next_note = 0.0  # when it may be written again
        self._requeued = False  # by a run itself

    @property
    def is_busy(self) -> bool:
        """Whether steps run."""
        return bool(self._running)

    def begin(self, **about: Any) -> None:
        """Note in `run.json` that the plan begins or continues."""
        if self.record is not None:
            self._states = (read_run(self.out) or {}).get("steps", {})
            self.record.begin(self.out, steps=self._states, **about)

    def run(
        self,
        steps: Iterable[Step],
        quiet: bool = False,
        then: Callable[[set[str]], None] | None = None,
    ) -> None:
        """Run the steps that are not done, each after those that it needs.

        Steps that need a failed one are skipped.

        Args:
            quiet: don't print how many are done.
            then: called after each step with the names of all that are over: done, failed or
                skipped.

        Raises:
            Stopped: this process was asked to end; all steps have ended before.
        """
        self.take_from(_Graph(list(steps), self, quiet, then))

    def take_from(self, source: Source) -> None:
        """Run the steps of a source until it is over.

        Raises:
            Stopped: as of `run`.
            InputError: as the source raises it; likewise.
        """
        with collected_signals() as signals:
            try:
                while True:
                    while not signals and len(self._running) < self.jobs and self._has_room():
                        step = source.next([running.step for running in self._running])
                        if step is None:
                            break
                        self._start(step, source)
                    if signals:
                        raise Stopped(signals[0])
                    if not self._running and source.is_over():
                        return
                    time.sleep(_TICK)
                    for running in list(self._running):
                        self._look(running, source)
                    self._write_state()
            except BaseException as error:
                self._end_all(source, getattr(error, "number", signal.SIGTERM), signals)
                raise

    def _start(self, step: Step, source: Source) -> None:
        say(": ".join(filter(None, [step.name, step.detail])) + source.progress())
        say(f"  $ {hidden(shlex.join(step.argv))}\n  log: {step.log}")
        slot = min({*range(self.jobs)} - {running.slot for running in self._running})
        try:
            step.prepare()
            process = self._process(step, slot)
        except Failed as error:
            self._note(step, "failed", error=str(error))
            source.ended(step, error)
            return
        self._running.append(_Running(step, process, time.monotonic(), slot))
        self._note(step, "running", **process.about)

    def _process(self, step: Step, slot: int) -> Process:
        if self.remote is not None and not step.here:
            return Attempt(self.remote, step)
        Seat.of(step, self.out).vacate()  # a cluster may still run it
        environment = {**_share(slot, self.jobs, self.share_gpus), **step.environment}
        lock = self.lock if step.lock is None else step.lock
        return executor(step.argv, step.log, lock, environment)

    def _look(self, running: _Running, source: Source) -> None:
        step, process, error = running.step, running.process, None
        self._most = max(self._most, peak_memory(process.pid))
        try:
            if not process.check():
                if source.watch(step):
                    return
                process.ask_to_end(signal.SIGTERM)
                _wait(process, lambda: False)
        except Failed as failure:
            error = failure
        self._running.remove(running)
        about = {"seconds": round(time.monotonic() - running.began, 1), **process.about}
        self.spent = self.spent[0] + step.cost, self.spent[1] + about["seconds"]
        source.ended(step, error)
        error = self.failures.get(step.name, error)
        if error is None:
            self._note(step, "done", **about)
        else:
            self._note(step, "failed", error=str(error), **about)

    def _has_room(self) -> bool:
        if not self._running or not self.by_memory or self.remote is not None:
            return True
        free = free_memory()
        # Those that run may still grow to what one has used.
        need = self._most or FIRST_GUESS
        growth = sum(max(0, need - peak_memory(one.process.pid)) for one in self._running)
        return free is None or free - growth >= need

    def _end_all(self, source: Source, number: int, signals: list[int]) -> None:
        if self._running:
            say("stopping: each run saves its checkpoint")
        fits = [list(r.step.argv[:2]) == ["ssl-faces", "fit"] for r in self._running]
        self._requeued = any(fits) and self.remote is None
        for running in self._running:
            running.process.ask_to_end(number)
        known = len(signals)
        for running in self._running:
            _wait(running.process, lambda: len(signals) > known)
        for running in self._running:
            source.stopped(running.step)
            with suppress(InputError):  # what stopped the plan is reported
                self._note(running.step, "stopped", **running.process.about)
        self._running.clear()

    def queue_again(self, number: int) -> str:
        """Requeue the Slurm job that was stopped, unless a run has; what became of it, in words."""
        if self._requeued or number not in (signal.SIGUSR1, signal.SIGTERM) or job_id() is None:
            return ""
        return f"; {requeue(only_if_running=number == signal.SIGTERM)}"

    def set_state(self, step: Step, state: str, **more: Any) -> None:
        self._states[step.name] = {"state": state, "key": step.key, "log": str(step.log), **more}

    def _note(self, step: Step, state: str, **more: Any) -> None:
        self.set_state(step, state, **more)
        self._is_noted = False
        self._write_state()

    def _write_state(self) -> None:
        """Write what was noted, unless that is too often; at its end the record writes the rest."""
        began = time.monotonic()
        if self.record is None or self._is_noted or began < self._next_note:
            return
        self.record.note(steps=self._states)
        self._is_noted = True
        now = time.monotonic()
        self._next_note = now + (now - began) / _SHARE


class _Graph(Source):
    """Steps that are all known before."""

    def __init__(
        self,
        steps: list[Step],
        engine: Engine,
        quiet: bool,
        then: Callable[[set[str]], None] | None,
    ) -> None:
        self.engine, self.quiet, self.then = engine, quiet, then
        self.steps = {step.name: step for step in steps}
        self.done = {name for name, step in self.steps.items() if step.is_done()}
        # By name, in their order: quick to remove from.
        self.waiting = {step.name: step for step in steps if step.name not in self.done}
        self.cost = sum(step.cost for step in self.waiting.values())  # of those that are not over
        self.alone: set[str] = set()  # steps that ran out of memory beside others
        self.skipped: set[str] = set()
        for name, step in self.steps.items():
            engine.set_state(step, "done" if name in self.done else "waiting")
        if self.done and not quiet:
            say(f"{len(self.done)} of {len(steps)} steps are done already")

    def next(self, busy: Sequence[Step]) -> Step | None:
        folders = {step.out for step in busy}
        if any(step.name in self.alone for step in busy):
            return None
        chosen: Step | None = None
        passed: list[Step] = []
        for step in self.waiting.values():
            needs = [name for name in step.after if name in self.steps and name not in self.done]
            if any(name in self.engine.failures or name in self.skipped for name in needs):
                passed.append(step)
                self.skipped.add(step.name)
            elif not needs and step.out not in folders and not (busy and step.name in self.alone):
                if not step.is_done():
                    chosen = step
                    break
                passed.append(step)
                self.done.add(step.name)  # another step has made it
        for step in [*passed, *([chosen] if chosen else [])]:
            del self.waiting[step.name]
        self.cost -= sum(step.cost for step in passed)
        return chosen

    def progress(self) -> str:
        if self.quiet:
            return ""
        spent, seconds = self.engine.spent
        each = seconds / self.engine.jobs / spent if spent else 0.0
        left = f"; about {duration(each * self.cost)} left" if spent else ""
        return f" (step {len(self.steps) - len(self.waiting)} of {len(self.steps)}{left})"

    def is_over(self) -> bool:
        return not self.waiting

    def ended(self, step: Step, error: Failed | None) -> None:
        is_alone = not self.engine.is_busy or self.engine.remote is not None
        if error is not None and not is_alone and _is_of_memory(error):
            say(f"{step.name}: out of memory beside other steps; runs again alone")
            self.alone.add(step.name)
            self.waiting[step.name] = step
            return
        self.cost -= step.cost
        if error is None and not step.is_whole():
            error = Failed(f"it ended without its result; see {step.log}")
        if error is not None:
            self.engine.failures[step.name] = error
            say(f"failed: {step.name}: {error}")
        else:
            if step.note is not None:
                replace_file(step.note, json.dumps(step.decides, indent=2).encode())
            self.done.add(step.name)
            if not self.quiet:
                say(f"{len(self.done)} of {len(self.steps)} steps done: {step.name}")
        if self.then is not None:
            self.then(self.done | self.skipped | set(self.engine.failures))


def _wait(process: Process, is_urgent: Callable[[], bool]) -> None:
    """Wait for a process that was asked to end; kill it if that takes long, or is urgent."""
    until = time.monotonic() + PATIENCE
    try:
        while not process.check():
            if time.monotonic() > until or is_urgent():
                process.kill()
            time.sleep(_TICK / 2)
    except Failed:
        return  # it has ended


def _is_of_memory(error: Failed) -> bool:
    return error.code == -signal.SIGKILL or "out of memory" in str(error)


def _share(slot: int, jobs: int, share_gpus: bool) -> dict[str, str]:
    """The share of one of several jobs in this machine's cores and GPUs, as variables."""
    variables: dict[str, str] = {}
    if jobs == 1:
        return variables
    if "OMP_NUM_THREADS" not in os.environ:
        variables["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    if share_gpus:
        import torch

        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if gpus == [""]:
            gpus = [str(gpu) for gpu in range(torch.cuda.device_count())]
        if len(gpus) > 1:
            variables["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return variables
