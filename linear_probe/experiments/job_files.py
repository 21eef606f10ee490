"""Reads and runs the experiments whose settings are a YAML file, by jsonargparse."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace

from linear_probe.experiments.verbs import VERBS
from linear_probe.records.record import Record
from linear_probe.records.runner import Experiment, run_experiment
from linear_probe.reports.command import tables_of_run
from ssl_faces import InputError
from ssl_faces.common.class_paths import CONFIGS_ARE_CODE, restrict_class_paths
from ssl_faces.common.config_files import with_files
from ssl_faces.common.settings_parser import SettingsErrors

_OPTION = re.compile(r"(?<=^--)[\w.-]+")


def parser(verb: str) -> ArgumentParser:
    """The parser of a verb's arguments."""
    says = VERBS[verb].says
    restrict_class_paths()
    about = f"{says[:1].upper()}{says[1:]}. {CONFIGS_ARE_CODE}"
    reader = SettingsErrors(prog=f"linear-probe {verb}", description=about)
    text = f"a file or the name of a config of configs/{VERBS[verb].configs}"
    reader.add_argument("-c", "--config", action="config", help=text)
    reader.add_argument("--out", type=Path, required=True, help="for records.jsonl and the runs")
    reader.add_class_arguments(_kind(verb), as_group=False)
    return reader


def _kind(verb: str) -> Any:
    return getattr(import_module(VERBS[verb].module), VERBS[verb].job)


def read_job(verb: str, arguments: Sequence[str]) -> tuple[Any, dict[str, Any], Path]:
    """The experiment that a verb's arguments give, its settings as plain JSON values, and `out`.
    Raises InputError: an unknown setting, or a value that can't be used."""
    kind = _kind(verb)
    reader = parser(verb)
    # `--max-train` is written as in the commands without a config.
    words = [_OPTION.sub(lambda name: name[0].replace("-", "_"), word) for word in arguments]
    given = reader.parse_args(with_files(words, (VERBS[verb].configs,)))
    names = kind.__dataclass_fields__
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and not isinstance(given[name], Namespace):
            raise InputError(f"{name}: {given[name]}; give its settings by their names")
    whole = yaml.safe_load(reader.dump(given))
    # Settings without a value are missing there.
    plain = {name: whole.get(name) for name in names}
    ready: Any = reader.instantiate(given)
    return kind(**{name: ready[name] for name in names}), plain, given.out


def run_job(verb: str, arguments: Sequence[str], show: bool = False) -> list[Record]:
    """Run a verb with its arguments; the new records. `show`: print the tables at the end. Raises
    InputError: as of `read_job` or of the experiment."""
    job, plain, out = read_job(verb, arguments)
    experiment: Experiment = job
    records = run_experiment(experiment, out, plain)
    if show:
        print(experiment.summary(out, records) or tables_of_run(out, records))
    return records
