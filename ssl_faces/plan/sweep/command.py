"""`ssl-faces sweep`: runs a sweep's file in W&B's format without a server."""

from __future__ import annotations

import io
import os
import shlex
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.common.arguments import SEED, Parser, whole
from ssl_faces.common.children import Stopped, stoppable
from ssl_faces.common.csv_files import CsvWriter
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.outputs import refuse_input
from ssl_faces.common.passwords import hidden

if TYPE_CHECKING:
    from ssl_faces.plan.sweep.settings import Sweep
    from ssl_faces.plan.sweep.storage import Place

TABLE = "trials.csv"


def run(argv: Sequence[str]) -> int:
    """Run `ssl-faces sweep` with these arguments.

    Returns:
        0 when all is done, 1 where a trial failed, 128 and the signal's number where it was
        stopped.

    Raises:
        InputError: bad input.
    """
    arguments = _parser().parse_args(argv)
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            'a sweep needs Optuna, which is not installed; pip install "ssl-faces[sweep]"'
        ) from error
    # Late, so that `--help` is quick.
    from ssl_faces.plan.sweep.settings import read
    from ssl_faces.plan.sweep.storage import Place
    from ssl_faces.plan.sweep.study import SWEEP_FILE
    from ssl_faces.plan.sweep.words import check_command

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    refuse_input(arguments.out / SWEEP_FILE, [arguments.file])
    sweep = read(arguments.file)
    most = _most(sweep, arguments.file, arguments.trials)
    check_command(sweep, arguments.file)
    name = arguments.study or sweep.name or arguments.file.stem
    place = Place(arguments.out, arguments.storage, name)
    sweeping = _Sweeping(sweep, arguments, place, most)
    with stoppable():
        try:
            sweeping.run()
        except Stopped as stopped:
            again = hidden(shlex.join(["ssl-faces", "sweep", *argv]))
            _say(f"stopped; no trial is lost, and the same command goes on: {again}")
            return 128 + stopped.number
    return sweeping.summary()


def _parser() -> Parser:
    parser = Parser(
        prog="ssl-faces sweep",
        description="Try settings of a run, as a sweep file in W&B's format says. Each trial is a "
        "run in a folder of its own under --out. Stopped or killed, the same command goes on; in "
        "several shells at once they share the work.",
    )
    parser.add_argument("file", type=Path, help="such as configs/sweep/facecycle_losses.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study and all runs")
    parser.add_argument(
        "--workers", type=whole(1, 1024), default=1, help="trials at once (default: 1)"
    )
    parser.add_argument(
        "--trials", type=whole(1), help="most trials, instead of the file's run_cap"
    )
    parser.add_argument(
        "--storage", help="database instead of SQLite in --out, for workers on several machines"
    )
    parser.add_argument("--study", help="its name in the database (default: the file's `name`)")
    parser.add_argument("--seed", type=SEED, default=0, help="of what is drawn (default: 0)")
    parser.add_argument(
        "--pruner",
        choices=("file", "hyperband", "median", "none"),
        default="file",
        help="when bad trials are ended (default: as the file's early_terminate says)",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="take up trials again that failed"
    )
    return parser


def _say(line: str) -> None:
    # At once, also into a pipe: a sweep takes hours.
    print(line, flush=True)


def _most(sweep: Sweep, source: Path, trials: int | None) -> int:
    """How many trials there will be."""
    from ssl_faces.plan.sweep.search import grid

    cap = trials or sweep.run_cap
    if sweep.method == "grid":
        points = len(grid(sweep.parameters))
        return min(points, cap or points)
    if cap is None:
        raise InputError(
            f"{source}: no run_cap, so that it would never end; add it, or give --trials"
        )
    return cap


class _Sweeping:
    """All workers of one command.

    Args:
        most: trials of the sweep.
    """

    def __init__(self, sweep: Sweep, arguments: Any, place: Place, most: int) -> None:
        self.sweep, self.arguments, self.place, self.most = sweep, arguments, place, most
        self.stop = threading.Event()
        self.errors: list[BaseException] = []

    def run(self) -> None:
        from ssl_faces.plan.sweep.storage import database, guard, open_storage, retry
        from ssl_faces.plan.sweep.study import failures, open_study
        from ssl_faces.plan.sweep.study import view as view_of
        from ssl_faces.plan.sweep.worker import Worker

        given = self.arguments
        storage = open_storage(self.place)
        open_study(self.sweep, given.file, self.place, storage, given.seed, self.most)
        workers = [
            Worker(
                self.sweep,
                given.file,
                self.place,
                view_of(self.sweep, self.place, storage, given.pruner),
                given.seed,
                self.most,
                _say,
                self.stop,
                self._environment(number),
            )
            for number in range(given.workers)
        ]
        self.study = workers[0].study
        if given.retry_failed:
            with database(self.place), guard(self.place.out):
                for trial in failures(self.study.get_trials(deepcopy=False)):
                    retry(self.study, trial)
        _say(
            f"{self.most} trials of {given.file} by {self.sweep.method}, judged by "
            f"{self.sweep.metric.name} ({self.sweep.metric.goal}); study: {self.place}"
        )
        ends = [threading.Event() for _ in workers]
        for one in zip(workers, ends, strict=True):
            threading.Thread(target=self._work, args=one).start()
        try:
            _wait(ends)
        except Stopped:
            self.stop.set()
            _say("stopping: each run saves its checkpoint")
            _wait(ends)
            for error in self.errors:
                if not isinstance(error, Stopped):
                    _say(f"while stopping: {error}")
            raise
        for error in self.errors:
            if not isinstance(error, Stopped):
                raise error

    def _work(self, worker: Any, ended: threading.Event) -> None:
        try:
            worker.run()
        except BaseException as error:
            # Told when all have ended: the others save their checkpoints.
            self.errors.append(error)
            self.stop.set()
        finally:
            ended.set()

    def _environment(self, number: int) -> dict[str, str]:
        """Of a worker's runs: its share of this machine's cores and GPUs."""
        workers = self.arguments.workers
        found = {"WANDB_RUN_GROUP": self.place.name}
        if workers == 1:
            return found
        import torch

        if "OMP_NUM_THREADS" not in os.environ:
            found["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if gpus == [""]:
            gpus = [str(gpu) for gpu in range(torch.cuda.device_count())]
        if len(gpus) > 1:
            found["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        return found

    def summary(self) -> int:
        """Tell the best trials and write the table of all."""
        from ssl_faces.plan.sweep.study import TRIALS, read_notes

        notes = read_notes(self.place.out)
        sign = -1 if self.sweep.metric.goal == "maximize" else 1
        judged = [note for note in notes if note.get("value") is not None]
        judged.sort(key=lambda note: (note["state"] != "complete", sign * note["value"]))
        names = list(self.sweep.parameters)
        stream = io.StringIO()
        writer = CsvWriter(stream)
        writer.writerow(["trial", "state", self.sweep.metric.name, *names, "seconds", "error"])
        rest = [note for note in notes if note.get("value") is None]
        for note in [*judged, *rest]:
            settings = [note.get("settings", {}).get(name) for name in names]
            row = [note["folder"], note.get("state"), note.get("value"), *settings]
            writer.writerow([*row, note.get("seconds"), note.get("error")])
        replace_file(self.place.out / TABLE, stream.getvalue().encode())
        for note in judged[:5]:
            told = ", ".join(f"{k}={v}" for k, v in note["settings"].items())
            early = " (ended early)" if note["state"] == "pruned" else ""
            _say(f"  trial {note['folder']}: {note['value']:.6g}{early}: {told}")
        if judged:
            _say(f"best: {self.place.out / TRIALS / judged[0]['folder']}")
        _say(f"table: {self.place.out / TABLE}")
        failed = [note for note in notes if note.get("state") == "failed"]
        for note in failed:
            _say(f"failed: trial {note['folder']}: {note.get('error')}")
        return 1 if failed else 0


def _wait(ends: Sequence[threading.Event]) -> None:
    """Until all have come.

    Not by `Thread.join`: interrupted by a signal whose handler raises, Python 3.11 takes the thread
    for ended (python/cpython#90882).
    """
    for end in ends:
        # A signal is heard between two waits.
        while not end.wait(0.2):
            pass
