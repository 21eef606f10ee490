"""`linear-probe suite`: runs the cells that are not done yet, several at once, then the report."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from linear_probe.experiments.probe import FEATURES_FOLDER
from linear_probe.plans.suite.data import with_data
from linear_probe.plans.suite.memory import free_memory, peak_memory
from linear_probe.plans.suite.settings import Cell, cells, read
from linear_probe.records.record import RECORDS_FILE, read_records
from linear_probe.tasks import TASKS
from ssl_faces import InputError
from ssl_faces.common import children
from ssl_faces.common.arguments import Parser, whole
from ssl_faces.common.children import Child, Failed, Stopped
from ssl_faces.common.files import replace_file, write_failure

NOTE = "cell.json"
"""In a cell's folder once it is done: what it was done with."""

REPORTS = ("report.html", "report.md")
LOCK = "suite.lock"
WHAT = "a suite, or a run that one has started,"

FIRST_GUESS = 3 * 2**30
"""Bytes that a cell is taken to need before one has shown what it does."""


def run(argv: Sequence[str]) -> int:
    """Run `linear-probe suite` with these arguments.

    Returns:
        0 when all is done, 1 where a cell failed, 128 and the signal's number where it was
        stopped.

    Raises:
        InputError: bad input.
    """
    parser = Parser(
        prog="linear-probe suite",
        description="Score encoders on tasks by probes and heads, each combination in a cell of "
        "its own, and write one report. Stopped or killed, the same command goes on.",
    )
    parser.add_argument(
        "-c", "--config", type=Path, required=True, help="such as configs/suite/standard.yaml"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of cells and report")
    parser.add_argument(
        "--jobs",
        type=whole(1, 1024),
        default=max(1, (os.cpu_count() or 2) // 2),
        metavar="N",
        help="cells at once, as far as memory allows; default: half of the cores, %(default)s",
    )
    parser.add_argument(
        "--data", metavar="DIR|rendered[:COUNT]", help="pictures for the report's galleries"
    )
    arguments = parser.parse_args(argv)
    suite = read(arguments.config)
    found = list(cells(suite, arguments.out))
    _check(arguments.config, found)
    with (
        children.only_one(arguments.out, WHAT, LOCK) as lock,
        children.stoppable(),
    ):
        try:
            found = with_data(found, arguments.out)
            running = _Running(found, arguments.out, arguments.jobs, lock)
            running.run()
        except Stopped as stopped:
            again = shlex.join(["linear-probe", "suite", *argv])
            _say(f"stopped; cells that are done are kept, and the same command goes on: {again}")
            return 128 + stopped.number
        done = [str(cell.folder) for cell in found if is_done(cell)]
        if done:
            _report(done, arguments.out, arguments.data)
    for cell, told in running.errors.items():
        _say(f"failed: {cell}: {told}")
    return 1 if running.errors else 0


def _say(line: str) -> None:
    # At once, also into a pipe: a suite takes hours.
    print(line, flush=True)


def _check(source: Path, found: Sequence[Cell]) -> None:
    """That every cell's arguments can be, before any is run.

    Raises:
        InputError: not so.
    """
    from linear_probe.arguments import parser
    from linear_probe.experiments.job_files import read_job

    for cell in found:
        try:
            if cell.words[0] == "head":
                read_job("head", cell.words[1:])
            else:
                task = parser().parse_args(cell.words).task
                if task not in TASKS:
                    raise InputError(
                        f"unknown task '{task}'; this version knows {', '.join(TASKS)}"
                    )
        except InputError as error:
            raise InputError(f"{source}: {cell.title}: {error}") from error


def is_done(cell: Cell) -> bool:
    """Whether a cell's records are there, made with just this command and these inputs."""
    try:
        return (cell.folder / NOTE).read_text() == _note(cell) and bool(
            read_records(cell.folder / RECORDS_FILE)
        )
    except (OSError, InputError):
        return False


def _note(cell: Cell) -> str:
    # Not the folder: a suite may be moved.
    return json.dumps({"words": cell.words[:-2], "inputs": cell.inputs}, indent=2) + "\n"


class _Running:
    """Runs cells, several at once.

    Attributes:
        errors: of the cells that failed, by title.
    """

    def __init__(self, found: Sequence[Cell], out: Path, jobs: int, lock: int) -> None:
        self.cells, self.out, self.jobs, self.lock = found, out, jobs, lock
        self.errors: dict[str, str] = {}
        self.at_work: dict[str, tuple[Cell, Child, float]] = {}
        self.most = 0  # bytes that a cell has taken
        self.finished = 0

    def run(self) -> None:
        """Run what is not done.

        Raises:
            Stopped: asked to end; all cells at work have ended before.
        """
        left = [cell for cell in self.cells if not is_done(cell)]
        self.finished = len(self.cells) - len(left)
        if self.finished:
            _say(f"{self.finished} of {len(self.cells)} cells are done already")
        try:
            again = self._run(deque(left), self.jobs)
            if again:
                _say(f"{len(again)} cells that ran out of memory beside others, one by one:")
                self._run(deque(again), 1)
        except BaseException:
            for _, child, _ in self.at_work.values():
                child.ask_to_end(signal.SIGTERM)
            for _, child, _ in self.at_work.values():
                child.end()
            raise

    def _run(self, waiting: deque[Cell], jobs: int) -> list[Cell]:
        """Those that ran out of memory while others were at work, which had better be alone."""
        crowded = []
        while waiting or self.at_work:
            while waiting and len(self.at_work) < jobs and self._has_room():
                self._start(waiting.popleft())
            for title, (cell, child, began) in list(self.at_work.items()):
                self.most = max(self.most, peak_memory(child.process.pid))
                if child.process.poll() is None:
                    continue
                others = len(self.at_work) > 1
                del self.at_work[title]
                try:
                    child.check()
                except Failed as error:
                    if others and _of_memory(child, str(error)):
                        crowded.append(cell)
                        continue
                    self._failed(cell, str(error))
                    continue
                self._keep(cell, time.monotonic() - began)
            time.sleep(0.1)
        return crowded

    def _has_room(self) -> bool:
        if not self.at_work:
            return True
        free = free_memory()
        # Those at work may still grow to what one has taken.
        need = self.most or FIRST_GUESS
        growing = sum(
            max(0, need - peak_memory(child.process.pid)) for _, child, _ in self.at_work.values()
        )
        return free is None or free - growing >= need

    def _start(self, cell: Cell) -> None:
        _say(f"  $ {shlex.join(['linear-probe', *cell.words])}")
        try:
            if (cell.folder / NOTE).exists():
                shutil.rmtree(cell.folder)  # done, but with other inputs
            cell.folder.mkdir(parents=True, exist_ok=True)
            if cell.features:
                _share_features(cell.folder, self.out)
        except OSError as error:
            raise InputError(f"{cell.folder}: {write_failure(error)}") from error
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        environment = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": threads}
        log = cell.folder.with_suffix(cell.folder.suffix + ".log")
        child = start("linear_probe.cli", cell.words, log, self.lock, environment)
        self.at_work[cell.title] = (cell, child, time.monotonic())

    def _keep(self, cell: Cell, seconds: float) -> None:
        if not (cell.folder / RECORDS_FILE).exists():
            self._failed(cell, "it left no records")
            return
        replace_file(cell.folder / NOTE, _note(cell).encode())
        self.finished += 1
        _say(f"{self.finished} of {len(self.cells)} done: {cell.title} ({seconds:.0f} s)")

    def _failed(self, cell: Cell, told: str) -> None:
        line = " ".join(told.split())
        self.errors[cell.title] = line
        _say(f"failed: {cell.title}: {line}")


start: Callable[..., Child] = Child


def _of_memory(child: Child, told: str) -> bool:
    return child.process.returncode == -signal.SIGKILL or "out of memory" in told


def _share_features(cell: Path, out: Path) -> None:
    """Give a cell the suite's features under their usual name, for whoever reads its folder."""
    (out / FEATURES_FOLDER).mkdir(exist_ok=True)
    link = cell / FEATURES_FOLDER
    if not link.exists():
        link.symlink_to(os.path.relpath(out / FEATURES_FOLDER, cell), target_is_directory=True)


def _report(folders: list[str], out: Path, data: str | None) -> None:
    from linear_probe.reports.write import write_report

    for name in REPORTS:
        write_report(folders, out / name, data if name.endswith(".html") else None)
        _say(f"report: {out / name}")
