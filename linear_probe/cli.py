"""`linear-probe`: score frozen encoders, and print what was scored, from the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from docstring_parser import parse as parse_docstring

from linear_probe.arguments import add_arguments, call
from linear_probe.commands import COMMANDS
from linear_probe.experiments.settings import ProbeSettings
from linear_probe.experiments.verbs import VERBS
from linear_probe.records.runner import Experiment, run_experiment
from ssl_faces import InputError
from ssl_faces.common.arguments import Parser, check_files
from ssl_faces.common.children import exit_code
from ssl_faces.common.errors import out_of_memory
from ssl_faces.common.passwords import hidden
from ssl_faces.common.pipes import exit_on_closed_pipe
from ssl_faces.common.safe_path import protect
from ssl_faces.common.shards import add_shards, run_shards


@exit_on_closed_pipe
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 for success, 2 for bad input, which is reported in one
    sentence, 128 and the signal's number if one stopped it."""
    if argv is None:
        protect()
    words = list(sys.argv[1:] if argv is None else argv)
    return exit_code("linear-probe", lambda: _main(words))


def _main(words: list[str]) -> int:
    try:
        check_files(words)
        if words and words[0] in VERBS:
            from linear_probe.experiments.job_files import run_job

            run_job(words[0], words[1:], True)
            return 0
        if words and words[0] == "suite":
            from linear_probe.plans.suite import run as run_suite

            return run_suite(words[1:])
        code = run(words)
        sys.stdout.flush()
        return code
    except InputError as error:
        # Without the tasks, which take long to import, no error is of their data.
        tasks = sys.modules.get("linear_probe.tasks")
        # For missing data the exit code that the plan which runs this command asks for.
        lacks = tasks is not None and isinstance(error, tasks.MissingData)
        return _fail(str(error), int(os.environ.get("LINEAR_PROBE_NO_DATA", 2)) if lacks else 2)
    except OSError as error:
        from ssl_faces.common.files import path_failure

        message = path_failure(error)
        if message is None:
            raise
        return _fail(message)
    except (MemoryError, RuntimeError) as error:
        what = out_of_memory(error)
        if what is None:
            raise
        return _fail(
            f"{what}; lower --batch-size, or --max-train, or take fewer --features; what was "
            "computed is kept, and the same command resumes"
        )


def parser() -> Parser:
    """The parser of all commands; those with a settings file are read by
    `linear_probe.experiments.job_files`, `suite` by its own."""
    reader = Parser(
        prog="linear-probe",
        description="Score frozen features: linear probes of expression, head pose, identity and "
        "attributes, with 95 % intervals, beside raw pixels, HOG, LBP and the untrained encoder.",
    )
    commands = reader.add_subparsers(dest="command", required=True, parser_class=Parser)
    for verb, experiment in VERBS.items():
        commands.add_parser(verb, help=experiment.says)
    commands.add_parser(
        "suite", help="every task, encoder, probe and head of a file, resumed, then the report"
    )
    for name, target in COMMANDS.items():
        says = parse_docstring(target.__doc__ or "").short_description or ""
        command = commands.add_parser(name, help=says.rstrip("."), description=says)
        add_arguments(command, target)
        if isinstance(target, type) and issubclass(target, Experiment):
            command.add_argument("--out", required=True, metavar="DIR", help=target.writes)
        if name == "run":
            command.add_argument(
                "--no-baselines",
                dest="baselines",
                action="store_const",
                const="none",
                help="the same as --baselines none",
            )
            add_shards(command)
    return reader


def run(words: Sequence[str]) -> int:
    """Run a command that has no settings file with its arguments; its exit code.

    Raises:
        InputError: bad input.
    """
    given = parser().parse_args(words)
    given.words = list(words)
    experiment = call(COMMANDS[given.command], given)
    if isinstance(experiment, int):
        return experiment
    if not isinstance(experiment, Experiment):
        from linear_probe.experiments.saved_probes import make_probe

        make_probe(experiment)
        return 0
    if isinstance(experiment, ProbeSettings):
        out = Path(given.out)
        run_shards(given, ["linear-probe", *words], out, gpus=None)
        if given.shard is not None:
            from linear_probe.experiments.probe import extract_shard

            extract_shard(experiment, out, given.shard)
            return 0
    # Late, so that `--help` needs no torch.
    from linear_probe.records.recorder import RunFolder
    from linear_probe.reports.command import tables_of_run

    records = run_experiment(experiment, given.out, brief=getattr(experiment, "brief", False))
    RunFolder(Path(given.out)).add_command(words)
    print(experiment.summary(given.out, records) or tables_of_run(given.out, records))
    return 0


def _fail(message: str, code: int = 2) -> int:
    print(f"linear-probe: error: {hidden(message)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
