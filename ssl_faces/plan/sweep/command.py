"""`ssl-faces sweep`: runs a sweep's file in W&B's format without a server."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_faces.common.arguments import SEED, Parser, whole
from ssl_faces.common.config_files import find_config
from ssl_faces.common.csv_files import csv_bytes
from ssl_faces.common.errors import InputError
from ssl_faces.common.executors import add_executor, where
from ssl_faces.common.files import replace_file
from ssl_faces.common.outputs import refuse_input
from ssl_faces.plan.command import run_plan
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.steps import say

if TYPE_CHECKING:
    from ssl_faces.plan.sweep.settings import Sweep

TABLE = "trials.csv"


def run(argv: Sequence[str]) -> int:
    """Run `ssl-faces sweep`; the exit code is 1 if a trial failed. Raises InputError."""
    arguments = _parser().parse_args(argv)
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            'a sweep needs Optuna, which is not installed; pip install "ssl-faces[sweep]"'
        ) from error
    # Late, so that `--help` is quick.
    from ssl_faces.plan.sweep.search import pruner
    from ssl_faces.plan.sweep.settings import read
    from ssl_faces.plan.sweep.study import SWEEP_FILE, Place, SweepStudy
    from ssl_faces.plan.sweep.trials import Trials
    from ssl_faces.plan.sweep.words import check_command

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # The engine records heartbeats itself.
    warnings.filterwarnings("ignore", "Heartbeat of storage is supposed", UserWarning)
    source, out, seed = arguments.file, arguments.out, arguments.seed
    refuse_input(out / SWEEP_FILE, [source])
    sweep = read(source)
    most = _most(sweep, source, arguments.trials)
    check_command(sweep, source)
    place = Place(out, arguments.storage, arguments.study or sweep.name or source.stem)

    def work(engine: Engine) -> int:
        study = SweepStudy(sweep, source, place, seed, most)
        study.study.pruner = pruner(sweep, arguments.pruner)
        engine.begin(seed=seed)
        if arguments.retry_failed:
            with place.alone():
                for trial in study.failures():
                    study.retry(trial.number)
        say(
            f"{most} trials of {source} by {sweep.method}, judged by {sweep.metric.name} "
            f"({sweep.metric.goal}); study: {place}"
        )
        engine.take_from(Trials(study))
        return summary(sweep, out)

    command = ["ssl-faces", "sweep", *argv]
    # Several commands may share the work, on several machines too.
    settings = {"jobs": arguments.workers, "resources": sweep.resources, **where(arguments)}
    return run_plan(command, out, work, shared=True, by_memory=False, **settings)


def _parser() -> Parser:
    parser = Parser(
        prog="ssl-faces sweep",
        description="Try settings of a run, by a sweep file in W&B's format. Each trial is a run "
        "in its own folder under --out. Stopped or killed, the same command resumes; in several "
        "shells at once they share the work.",
    )
    kind = partial(find_config, folders=("sweep",))
    text = "a file or the name of a sweep, such as facecycle_losses"
    parser.add_argument("file", type=kind, help=text)
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
    parser.add_argument("--seed", type=SEED, default=0, help="of random settings (default: 0)")
    parser.add_argument(
        "--pruner",
        choices=("file", "hyperband", "median", "none"),
        default="file",
        help="when bad trials are ended (default: by the file's early_terminate)",
    )
    parser.add_argument("--retry-failed", action="store_true", help="run failed trials again")
    add_executor(parser)
    return parser


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


def summary(sweep: Sweep, out: Path) -> int:
    """Print the best trials and write the table of all; 1 if some failed."""
    from ssl_faces.plan.sweep.study import TRIALS, read_notes

    notes = read_notes(out)
    sign = -1 if sweep.metric.goal == "maximize" else 1
    judged = [note for note in notes if note.get("value") is not None]
    judged.sort(key=lambda note: (note["state"] != "complete", sign * note["value"]))
    rest = [note for note in notes if note.get("value") is None]
    names = list(sweep.parameters)
    rows = [["trial", "state", sweep.metric.name, *names, "seconds", "error"]]
    for note in [*judged, *rest]:
        settings = [note.get("settings", {}).get(name) for name in names]
        keys = ("folder", "state", "value")
        row = [*map(note.get, keys), *settings, note.get("seconds"), note.get("error")]
        rows.append(row)
    replace_file(out / TABLE, csv_bytes(rows))
    for note in judged[:5]:
        text = ", ".join(f"{k}={v}" for k, v in note["settings"].items())
        early = " (ended early)" if note["state"] == "pruned" else ""
        say(f"  trial {note['folder']}: {note['value']:.6g}{early}: {text}")
    if judged:
        say(f"best: {out / TRIALS / judged[0]['folder']}")
    say(f"table: {out / TABLE}")
    failed = [note for note in notes if note.get("state") == "failed"]
    for note in failed:
        say(f"failed: trial {note['folder']}: {note.get('error')}")
    return 1 if failed else 0
