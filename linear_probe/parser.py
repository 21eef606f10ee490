"""The parser of `linear-probe`."""

from __future__ import annotations

from docstring_parser import parse as parse_docstring

from linear_probe.arguments import add_arguments
from linear_probe.commands import COMMANDS
from linear_probe.experiments.verbs import VERBS
from linear_probe.records.runner import Experiment
from ssl_faces.common.arguments import Parser


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
    return reader
