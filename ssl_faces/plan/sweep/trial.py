"""A trial of a sweep that is under way: its run as a process, watched, ended early, and judged."""

from __future__ import annotations

import platform
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.common import children
from ssl_faces.common.children import Failed, Held
from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import read_card
from ssl_faces.plan.sweep import search
from ssl_faces.plan.sweep.study import (
    TRIALS,
    folder_for,
    give_back,
    lock_of,
    originals,
    write_note,
)
from ssl_faces.plan.sweep.words import command_of, runnable
from ssl_faces.training.logged import Curve, read_logged

if TYPE_CHECKING:
    from optuna import Trial

    from ssl_faces.plan.sweep.worker import Worker

LOOK = 2.0
"""Seconds between two looks at a run's figures, and at other workers' trials."""

MOST_KILLED = 3
"""How often a trial whose run is killed by a signal is taken up again."""


class NoFigure(Exception):
    """A trial whose run is over without the metric."""


class Surplus(Exception):
    """A trial that is one too many, as workers on two machines began one at once."""


class RunningTrial:
    """A trial that is under way.

    Attributes:
        folder: name of its run's folder.
        error: why it failed; None where it did not.
        over: whether it was given back, or has an end that the study knows.
    """

    def __init__(self, worker: Worker, trial: Trial) -> None:
        self.worker, self.trial = worker, trial
        self.folder = ""
        self.error: str | None = None
        self.over = False
        self.state = "running"
        self.value: float | None = None
        self.settings: dict[str, Any] = {}
        self.command: list[str] = []
        self._reported: list[float] = []
        self._size = -1
        self._began = time.monotonic()

    @property
    def run_folder(self) -> Path:
        return self.worker.place.out / TRIALS / self.folder

    def run(self, held: ExitStack) -> float:
        """The figure that the trial is judged by.

        Args:
            held: gets the lock of its run.

        Raises:
            TrialPruned: it was ended as others do better.
            Failed, NoFigure: it failed.
            InputError: nothing that has to do with this trial alone.
        """
        from optuna.exceptions import TrialPruned

        worker = self.worker
        lock = self._claim(held)
        worker.guarded.close()  # the next trial can be given out
        again = " goes on" if (self.run_folder / "checkpoints").exists() else ""
        told = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        worker.say(f"trial {self.folder}{again}: {told}")
        self._note()
        try:
            children.run_command(
                runnable(self.command),
                self.run_folder.with_suffix(".log"),
                lock,
                worker.environment,
                self._watch,
                LOOK,
            )
            self.value = self._figure()
        except TrialPruned:
            self.state = "pruned"
            self.value = self._reported[-1]
            raise
        except Failed as error:
            self._failed(str(error), error.code)
            raise
        except NoFigure as error:
            self.state, self.error = "failed", str(error)
            raise
        except InputError:
            self._again()
            raise
        self.state = "complete"
        return self.value

    def _claim(self, held: ExitStack) -> int:
        """Its folder, its lock and its settings."""
        worker, trial = self.worker, self.trial
        trials = worker.study.get_trials(deepcopy=False)
        numbers = originals(trials)
        # Counted without those that are others again, so that what is drawn doesn't depend on them.
        index = trial.user_attrs.get("index")
        if index is None:
            # Of one whose worker was lost before it said so, that of the first.
            first = trial.user_attrs.get("retry_of", [trial.number])[0]
            index = numbers.index(first)
            if index >= worker.most and first == trial.number:
                trial.set_user_attr("surplus", True)
                self.over = True
                raise Surplus
        self.folder = trial.user_attrs.get("folder") or folder_for(trials, index)
        lock = held.enter_context(self._lock())
        trial.set_user_attr("index", index)
        trial.set_user_attr("folder", self.folder)
        trial.set_user_attr("out", str(worker.place.out.absolute()))
        trial.set_user_attr("host", platform.node())
        worker.study.sampler = search.sampler(worker.sweep, worker.seed, index)
        self.settings = search.suggest(trial, worker.sweep.parameters)
        own = ["--out", str(self.run_folder), "--ckpt_path", "last"]
        self.command = [*command_of(worker.sweep, self.settings), *own]
        return lock

    @contextmanager
    def _lock(self) -> Iterator[int]:
        """Its run's lock, once an orphaned run of it has ended."""
        waited = False
        while True:
            with ExitStack() as stack:
                try:
                    lock = stack.enter_context(lock_of(self.worker.place.out, self.folder))
                except Held as error:
                    if not waited:
                        self.worker.say(f"trial {self.folder}: waiting, as {error}")
                    waited = True
                else:
                    yield lock
                    return
            self.worker.guarded.close()
            self.worker.check_stop()
            self.worker.stop.wait(LOOK)

    # While it runs -------------------------------------------------------------------------

    def _watch(self) -> None:
        self.worker.check_stop()
        files = list((self.run_folder / "csv").glob("version_*/metrics.csv"))
        size = sum(path.stat().st_size for path in files)
        if size != self._size:
            self._size = size
            self._report(read_logged(self.run_folder))

    def _report(self, logged: dict[str, Curve]) -> None:
        from optuna.exceptions import TrialPruned

        metric = self.worker.sweep.metric.name
        if metric not in logged:
            group = metric.rpartition("/")[0].partition("/")[0]
            if group and any(name.startswith(f"{group}/") for name in logged):
                # What is logged together with it is there.
                self._no_metric(logged)
            return
        values = list(logged[metric].values())
        if self._is_bad(values):
            raise TrialPruned(f"ended after {len(values)} values, as others do better")

    def _no_metric(self, logged: dict[str, Curve]) -> None:
        """Raises InputError where no trial has logged the metric, which then no run logs."""
        worker = self.worker
        metric = worker.sweep.metric.name
        if any(t.intermediate_values for t in worker.study.get_trials(deepcopy=False)):
            return
        names = [name for name in logged if name.partition("/")[0] != "lr"]
        near = [name for name in names if name.partition("/")[0] == metric.partition("/")[0]]
        raise InputError(
            f"{worker.source}: metric.name: the runs log no '{metric}'; take one of "
            f"{', '.join((near or names)[:24])}"
        )

    def _figure(self) -> float:
        """The metric's last value, of a run that is over."""
        logged = read_logged(self.run_folder)
        metric = self.worker.sweep.metric.name
        with_metric = logged.get(metric)
        if with_metric:
            # Others are compared with it; that it is over itself can't be changed any more.
            self._is_bad(list(with_metric.values()))
            return list(with_metric.values())[-1]
        found = self._of_card(metric)
        if found is not None:
            return found
        if logged:
            self._no_metric(logged)
        raise NoFigure(
            f"its run has logged no '{metric}'; see {self.run_folder.with_suffix('.log')}"
        )

    def _is_bad(self, values: list[float]) -> bool:
        """Report the values that are new; whether by one of them the trial is to be ended."""
        bad = False
        for value in values[len(self._reported) :]:
            self._reported.append(value)
            self.trial.report(value, len(self._reported))
            # Asked at each one, since what later trials are compared with is noted there.
            bad |= self.trial.should_prune()
        return bad

    def _of_card(self, metric: str) -> float | None:
        """Of a run that was killed after its last checkpoint, before its files were written."""
        try:
            figures = read_card(self.run_folder / "encoder")["online"]["figures"]
            return float(figures[metric])
        except (InputError, KeyError, TypeError, ValueError):
            return None

    # When it ends --------------------------------------------------------------------------

    def _failed(self, told: str, code: int | None) -> None:
        if "the disk is full" in told:
            self._again()
            raise InputError(f"trial {self.folder}: {told}")
        killed = int(self.trial.user_attrs.get("killed", 0)) + 1
        if code is not None and code < 0 and killed <= MOST_KILLED:
            self.trial.set_user_attr("killed", killed)
            self._again()
        else:
            self.state = "failed"
        self.error = told

    def _again(self) -> None:
        """Note that whoever comes next shall take it up again, as its settings are not at fault."""
        self.state = "waiting"
        again = [*self.trial.user_attrs.get("again", []), self.trial.number]
        self.trial.set_user_attr("again", again)
        self._note()

    def let_go(self) -> None:
        """Give it back, for whoever comes next."""
        self.over = True
        self.state = "waiting"
        if self.folder:
            give_back(self.worker.study, self.trial.number)
            self._note()

    def told(self) -> None:
        """Tell the user and the trial's note what came of it."""
        if self.over:
            return
        self.over = True
        self._note()
        metric = self.worker.sweep.metric.name
        said = {
            "complete": f"{metric} {self.value}",
            "pruned": f"ended early at {metric} {self.value}",
            "waiting": f"{self.error}; it is taken up again",
        }.get(self.state, f"failed: {self.error}")
        self.worker.say(f"trial {self.folder}: {said}")

    def _note(self) -> None:
        write_note(
            self.worker.place.out,
            self.folder,
            {
                "state": self.state,
                "value": self.value,
                "values": self._reported,
                "settings": self.settings,
                "params": self.trial.params,
                "command": shlex.join(self.command),
                "error": self.error,
                "seconds": round(time.monotonic() - self._began, 1),
            },
        )
