"""A worker of a sweep: takes trial after trial, and tells what came of each."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_faces.common.children import Failed, Stopped
from ssl_faces.common.errors import InputError
from ssl_faces.plan.sweep import trial as trials_of
from ssl_faces.plan.sweep.settings import Sweep
from ssl_faces.plan.sweep.storage import Place, database, guard
from ssl_faces.plan.sweep.study import failures, originals, take_back_abandoned
from ssl_faces.plan.sweep.trial import NoFigure, RunningTrial, Surplus

if TYPE_CHECKING:
    from optuna import Study, Trial

MOST_FAILED = 3
"""So many failed trials and none that gave a figure end a sweep: it is not the settings' fault."""


@dataclass
class Worker:
    """One of a sweep's workers.

    Args:
        study: its own view of the study.
        most: trials of the whole sweep.
        say: tells a line to the user.
        stop: set when all workers have to end; their runs save a checkpoint before.
        environment: of the runs.
        guarded: holds `guard` while a trial is being taken.
    """

    sweep: Sweep
    source: Path
    place: Place
    study: Study
    seed: int
    most: int
    say: Callable[[str], None]
    stop: threading.Event
    environment: dict[str, str] = field(default_factory=dict)
    guarded: ExitStack = field(default_factory=ExitStack)

    def run(self) -> None:
        """Take trials until there are no more.

        Raises:
            InputError: the sweep can't go on; the trial that was under way is given back.
            Stopped: `stop` was set, likewise.
        """
        waited = False
        while True:
            self.check_stop()
            began = False
            with database(self.place):
                self.guarded.enter_context(guard(self.place.out))
                try:
                    for folder in take_back_abandoned(self.study, self.place):
                        self.say(f"trial {folder}: its worker is gone; it is taken up again")
                    if self._one_left():
                        began = True
                        self._next()
                    elif not self._others_run():
                        return
                finally:
                    self.guarded.close()
            if began:
                waited = False
                continue
            if not waited:
                self.say("no trial is left to begin; waiting for those of other workers")
                waited = True
            self.stop.wait(trials_of.LOOK)

    def _one_left(self) -> bool:
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False)
        if any(trial.state == TrialState.WAITING for trial in trials):
            return True
        return len(originals(trials)) < self.most

    def _others_run(self) -> bool:
        from optuna.trial import TrialState

        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return bool(running)

    def check_stop(self) -> None:
        """Raises Stopped where all workers have to end."""
        if self.stop.is_set():
            raise Stopped(signal.SIGTERM)

    # One trial -----------------------------------------------------------------------------

    def _next(self) -> None:
        """Take a trial, run it, and tell the study what came of it."""
        from optuna.exceptions import UpdateFinishedTrialError

        begun: list[RunningTrial] = []
        # Its lock is held until the study knows its end: a running trial that nobody holds is taken
        # to be abandoned.
        with ExitStack() as held:

            def objective(trial: Trial) -> float:
                begun.append(RunningTrial(self, trial))
                return begun[0].run(held)

            try:
                self.study.optimize(objective, n_trials=1, catch=(Failed, NoFigure, Surplus))
            except (UpdateFinishedTrialError, ValueError) as error:
                if isinstance(error, ValueError) and "Cannot tell" not in str(error):
                    raise
                # Taken to be dead, perhaps as its machine had slept, it was taken up by another.
                self.say(f"trial {begun[0].folder}: another worker has it now; it is left to that")
                return
            except BaseException:
                # Stopped, or the disk is full, or the database is gone: then it is found later.
                if begun and not begun[0].over:
                    begun[0].let_go()
                raise
            if begun:
                begun[0].told()
        if begun:
            self._check_failures(begun[0])

    def _check_failures(self, last: RunningTrial) -> None:
        from optuna.trial import TrialState

        if last.state != "failed":
            return
        trials = self.study.get_trials(deepcopy=False)
        good = any(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials)
        failed = failures(trials)
        if not good and len(failed) >= min(MOST_FAILED, self.most):
            raise InputError(
                f"{self.source}: {len(failed)} trials have failed and none has given a figure, "
                f"the last as: {last.error} (mend it; --retry-failed takes them up again)"
            )
