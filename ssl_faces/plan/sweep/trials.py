"""Trials of a sweep as steps: settings from Optuna, watched, pruned, judged by their figures."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ssl_faces.common.errors import InputError
from ssl_faces.common.run_record import Held, claim
from ssl_faces.plan.processes import Failed
from ssl_faces.plan.steps import Source, Step, say
from ssl_faces.plan.sweep import search
from ssl_faces.plan.sweep.study import TRIALS, SweepStudy, database, folder_of, index_of, write_note
from ssl_faces.plan.sweep.words import command_of
from ssl_faces.training.logged import Curve, read_logged

if TYPE_CHECKING:
    from optuna import Trial

LOOK = 2.0
"""Seconds between two looks at a run's figures, and at the trials of other commands."""

MOST_KILLED = 3
"""How often a trial whose run is killed by a signal is queued again."""

MOST_FAILED = 3
"""A sweep ends after this many failed trials if none has given a figure."""


@dataclass
class _Running:
    """A trial that runs."""

    trial: Trial
    folder: str
    lock: int  # of its folder
    settings: dict[str, Any]
    command: list[str]
    reported: list[float] = field(default_factory=list)  # values of the metric that the study knows
    state: str = "running"  # as its note has it; `lost`: another command has it
    value: float | None = None
    error: str | None = None
    began: float = field(default_factory=time.monotonic)
    looked: float = 0.0
    size: int = -1


class Trials(Source):
    """The trials of a sweep, for the engine."""

    def __init__(self, study: SweepStudy) -> None:
        self.trials, self.study = study, study.study
        self.sweep, self.place = study.sweep, study.place
        self._running: dict[str, _Running] = {}
        self._held: list[Trial] = []  # whose folders other processes have
        self._over = False
        self._looked = 0.0

    def is_over(self) -> bool:
        return self._over

    def next(self, busy: Sequence[Step]) -> Step | None:
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        if time.monotonic() - self._looked < LOOK:
            return None
        with self.place.alone():
            for trial in list(self._held):
                self._beat(trial)
                step = self._start(trial)
                if step is not None:
                    return step
            fail_stale_trials(self.study)
            trials = self.trials.trials()
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and not self.trials.add_next():
                # Those that run may be queued again, also by other commands.
                self._looked = time.monotonic()
                self._over = not any(t.state == TrialState.RUNNING for t in trials)
                return None
            return self._start(self.study.ask())

    def _start(self, trial: Trial) -> Step | None:
        """The trial as a step; None if its folder is in use, such as by an orphaned run."""
        folder = folder_of(trial)
        try:
            lock = claim(self.place.out / TRIALS, f"{folder}.lock", patience=0.0)
        except Held as error:
            if trial not in self._held:
                self._held.append(trial)
                say(f"trial {folder}: waiting, as {error}")
            self._beat(trial)
            self._looked = time.monotonic()
            return None
        if trial in self._held:
            self._held.remove(trial)
        self.study.sampler = search.sampler(self.sweep, self.trials.seed, index_of(trial))
        settings = search.suggest(trial, self.sweep.parameters)
        run = self.place.out / TRIALS / folder
        command = [*command_of(self.sweep, settings), "--out", str(run), "--ckpt_path", "last"]
        resumes = "resumes: " if (run / "checkpoints").exists() else ""
        running = _Running(trial, folder, lock, settings, command)
        self._running[folder] = running
        self._note(running)
        self._beat(trial)
        return Step(
            f"trial {folder}",
            command,
            run.with_suffix(".log"),
            run,
            detail=resumes + ", ".join(f"{name}={value}" for name, value in settings.items()),
            environment={"WANDB_RUN_GROUP": self.place.name},
            lock=lock,
        )

    def _beat(self, trial: Trial) -> None:
        self.trials.storage.record_heartbeat(trial._trial_id)

    def watch(self, step: Step) -> bool:
        running, now = self._running[step.out.name], time.monotonic()
        if now - running.looked < LOOK:
            return True
        running.looked = now
        files = (step.out / "csv").glob("version_*/metrics.csv")
        size = sum(path.stat().st_size for path in files)
        with database(self.place):
            self._beat(running.trial)
            if size != running.size:
                running.size = size
                self._look(running, read_logged(step.out))
        return running.state == "running"

    def _look(self, running: _Running, logged: dict[str, Curve]) -> None:
        metric = self.sweep.metric.name
        group = metric.rpartition("/")[0].partition("/")[0]
        if metric in logged:
            if self._is_bad(running, list(logged[metric].values())):
                running.state, running.value = "pruned", running.reported[-1]
        elif group and any(name.startswith(f"{group}/") for name in logged):
            # What is logged together with it is there.
            self._refuse_metric(logged)

    def _is_bad(self, running: _Running, values: list[float]) -> bool:
        """Report the new values; whether the pruner ends the trial at one of them."""
        from optuna.exceptions import UpdateFinishedTrialError

        bad = False
        try:
            for value in values[len(running.reported) :]:
                running.trial.report(value, len(running.reported) + 1)
                running.reported.append(value)
                # At each value, as the pruner notes there what later trials are compared with.
                bad |= running.trial.should_prune()
        except UpdateFinishedTrialError:
            running.state = "lost"
        return bad and running.state != "lost"

    def _refuse_metric(self, logged: dict[str, Curve]) -> None:
        """Raises InputError if no trial has logged the metric."""
        metric = self.sweep.metric.name
        if any(trial.intermediate_values for trial in self.trials.trials()):
            return
        names = [name for name in logged if name.partition("/")[0] != "learning_rate"]
        near = [name for name in names if name.partition("/")[0] == metric.partition("/")[0]]
        raise InputError(
            f"{self.trials.source}: metric.name: the runs log no '{metric}'; take one of "
            f"{', '.join((near or names)[:24])}"
        )

    def ended(self, step: Step, error: Failed | None) -> None:
        from optuna.trial import TrialState

        running = self._running[step.out.name]
        self._looked = 0.0
        ends = {
            "complete": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }
        try:
            with database(self.place):
                if running.state == "running":
                    self._judge(running, step, error)
                if running.state == "waiting":
                    self.trials.retry(running.trial.number)
                elif running.state != "lost":
                    state = ends[running.state]
                    value = running.value if running.state == "complete" else None
                    known = self.study.tell(running.trial, value, state, skip_if_finished=True)
                    if known.state != state:
                        running.state = "lost"
        except BaseException:
            # Such as a wrong metric, or a full disk: the trial is queued again.
            self.stopped(step)
            raise
        del self._running[running.folder]
        self._close(running)
        if running.state == "failed":
            self._check_failures(running)

    def _close(self, running: _Running) -> None:
        """Note and print the result; free the folder."""
        if running.state != "lost":
            self._note(running)
        metric = self.sweep.metric.name
        result = {
            "complete": f"{metric} {running.value}",
            "pruned": f"ended early at {metric} {running.value}, as others do better",
            "waiting": f"{running.error}; it is queued again",
            # After its machine was suspended, for example.
            "lost": "another worker has it now; it is left to that",
        }.get(running.state, f"failed: {running.error}")
        say(f"trial {running.folder}: {result}")
        # Only now: until the study knows its end, the folder is in use.
        os.close(running.lock)

    def _judge(self, running: _Running, step: Step, error: Failed | None) -> None:
        """The trial's state and figure once its run has ended."""
        metric = self.sweep.metric.name
        if error is not None:
            if "the disk is full" in str(error):
                raise InputError(f"trial {running.folder}: {error}")
            killed = int(running.trial.user_attrs.get("killed", 0)) + 1
            again = error.code is not None and error.code < 0 and killed <= MOST_KILLED
            running.trial.set_user_attr("killed", killed)
            running.state, running.error = "waiting" if again else "failed", str(error)
            return
        logged = read_logged(step.out)
        if logged.get(metric):
            values = list(logged[metric].values())
            # Later trials are compared with it; it has ended, so that it can't be pruned.
            self._is_bad(running, values)
            running.value = values[-1]
        if running.value is None:
            if logged:
                self._refuse_metric(logged)
            running.error = f"its run has logged no '{metric}'; see {step.log}"
        if running.state != "lost":
            running.state = "failed" if running.value is None else "complete"

    def stopped(self, step: Step) -> None:
        running = self._running.pop(step.out.name, None)
        if running is None:
            return
        # If the database can't be written, the trial's heartbeat stops.
        with suppress(InputError), database(self.place):
            self.trials.retry(running.trial.number)
        running.state = "waiting"
        self._note(running)
        os.close(running.lock)

    def _check_failures(self, last: _Running) -> None:
        good = any(trial.state.name in ("COMPLETE", "PRUNED") for trial in self.trials.trials())
        failed = len(self.trials.failures())
        if not good and failed >= min(MOST_FAILED, self.trials.most):
            raise InputError(
                f"{self.trials.source}: {failed} trials have failed and none has given a figure, "
                f"the last as: {last.error} (mend it; --retry-failed queues them again)"
            )

    def _note(self, running: _Running) -> None:
        write_note(
            self.place.out,
            running.folder,
            {
                "state": running.state,
                "value": running.value,
                "values": running.reported,
                "settings": running.settings,
                "params": running.trial.params,
                "command": shlex.join(running.command),
                "error": running.error,
                "seconds": round(time.monotonic() - running.began, 1),
            },
        )
