"""Runs the verbs whose settings are a YAML file, read by jsonargparse."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace

from linear_probe.experiments.verbs import VERBS
from linear_probe.records.record import Record
from ssl_faces import InputError
from ssl_faces.common.class_paths import CONFIGS_ARE_CODE, restrict_class_paths
from ssl_faces.common.settings_parser import SettingsErrors


class _Parser(SettingsErrors):
    """Reads a settings file and the arguments that change it."""


def parser(verb: str) -> ArgumentParser:
    """What reads the arguments of a verb."""
    asked = VERBS[verb]
    restrict_class_paths()
    about = f"{asked.says[:1].upper()}{asked.says[1:]}. {CONFIGS_ARE_CODE}"
    found = _Parser(prog=f"linear-probe {verb}", description=about)
    found.add_argument("-c", "--config", action="config", help="such as one of configs/head")
    found.add_argument("--out", type=Path, required=True, help="for records.jsonl and the runs")
    found.add_class_arguments(getattr(import_module(asked.module), asked.job), as_group=False)
    return found


def read_job(verb: str, arguments: Sequence[str]) -> tuple[Any, dict[str, Any], Path]:
    """What the arguments of a verb say: the job, the same as plain JSON values, and `out`.

    Raises:
        InputError: a setting that there isn't, or that can't be.
    """
    kind = getattr(import_module(VERBS[verb].module), VERBS[verb].job)
    reader = parser(verb)
    given = reader.parse_args(list(arguments))
    names = kind.__dataclass_fields__
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and not isinstance(given[name], Namespace):
            raise InputError(f"{name}: {given[name]}; give its settings by their names")
    whole = yaml.safe_load(reader.dump(given))
    # What is not set is not there.
    plain = {name: whole.get(name) for name in names}
    ready: Any = reader.instantiate(given)
    return kind(**{name: ready[name] for name in names}), plain, given.out


def run_job(verb: str, arguments: Sequence[str]) -> list[Record]:
    """Run what the arguments of a verb say.

    Raises:
        InputError: as of `read_job` or of the verb's runner.
    """
    job, plain, out = read_job(verb, arguments)
    run = getattr(import_module(VERBS[verb].module), VERBS[verb].run)
    records: list[Record] = run(job, plain, out)
    return records
