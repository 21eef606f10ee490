"""The command line of a trial: the file's `command` with its placeholders filled in, as by W&B."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_faces.common.errors import InputError, bad_input
from ssl_faces.common.safe_path import python
from ssl_faces.plan.sweep.settings import Parameter, Sweep
from ssl_faces.training.without_effect import flat, plain_name, without_effect

PROGRAM = "ssl-faces"

_ENVIRONMENT = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")


def command_of(sweep: Sweep, settings: Mapping[str, Any]) -> list[str]:
    """The command line that `wandb agent` makes of these settings.

    Source: `Agent._command_run` of wandb's `wandb_agent.py`, and
    https://docs.wandb.ai/guides/sweeps/sweep-config-keys#command.

    Raises:
        InputError: a placeholder that it doesn't know, or that has nothing to stand for.
    """
    flags = [f"--{name}={value}" for name, value in settings.items()]
    stands: dict[str, list[str]] = {
        "env": ["/usr/bin/env"],
        "interpreter": ["python"],
        "args": flags,
        "args_no_equals": [w for k, v in settings.items() for w in (f"--{k}", str(v))],
        "args_no_hyphens": [flag.removeprefix("--") for flag in flags],
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in settings.items()
            if value is not False
        ],
        "args_json": [json.dumps(dict(settings))],
    }
    if sweep.program:
        stands["program"] = [sweep.program]
    words: list[str] = []
    for word in map(str, sweep.command):
        word = _ENVIRONMENT.sub(lambda found: os.environ.get(found[1], found[1]), word)
        if not (word.startswith("${") and word.endswith("}")):
            words.append(word)
        elif word[2:-1] in stands:
            words += stands[word[2:-1]]
        else:
            raise InputError(
                f"command: {word} has nothing to stand for here; take one of "
                + ", ".join(f"${{{name}}}" for name in stands)
            )
    return words


def check_command(sweep: Sweep, source: Path) -> None:
    """That the command takes the parameters, and `ssl-faces fit` all their kinds of values.

    Other programs are taken at their word.

    Raises:
        InputError: it doesn't; says what `fit` says of it.
    """
    if not any(str(word).startswith("${args") for word in sweep.command):
        raise InputError(
            f"{source}: command: no ${{args}} in it, so that no setting would reach a trial; add it"
        )
    found = []
    try:
        for settings in _examples(sweep.parameters):
            words = fit_words(command_of(sweep, settings))
            if words is None:
                return
            found.append(flat(_parse(words)))
        _check_effects(sweep.parameters, found)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _check_effects(
    parameters: Mapping[str, Parameter], examples: Sequence[Mapping[str, Any]]
) -> None:
    """Raises InputError where a parameter that varies changes nothing.

    Args:
        examples: the settings of trials in which each value stands.
    """
    idle = [without_effect(settings) for settings in examples]
    for given, parameter in parameters.items():
        name = plain_name(given)
        values = [json.dumps(value) for value in _choices(parameter)]
        if len(set(values)) < 2:
            continue
        if all(name in one for one in idle):
            raise InputError(
                f"parameters.{given}: has no effect, since {idle[0][name]}; take it out"
            )
        read = [one[name] for one in examples if name in one]
        if len(read) == len(examples) and all(value == read[0] for value in read):
            raise InputError(
                f"parameters.{given}: is {read[0]} in every trial, whatever its value; take "
                f"--{given} out of the command"
            )


def fit_words(command: Sequence[str]) -> list[str] | None:
    """The words behind `ssl-faces` of a command that runs `ssl-faces fit`; None of another one."""
    words = list(command)
    if words[:1] == ["/usr/bin/env"]:
        words = words[1:]
    if len(words) > 1 and Path(words[0]).name == PROGRAM and words[1] == "fit":
        return words[1:]
    return None


def runnable(command: Sequence[str]) -> list[str]:
    """The command as this process can run it: the same installation, also where none is on the
    PATH."""
    words = fit_words(command)
    if words is not None:
        return python("-m", "ssl_faces.cli", *words)
    if command[0] == "python":
        return [sys.executable, *command[1:]]
    return list(command)


def _parse(words: Sequence[str]) -> dict[str, Any]:
    """The settings of `fit`, every key and type checked; nothing is built."""
    from ssl_faces.training.fit import check

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            settings = check(words)
    except SystemExit as ended:
        if ended.code:
            raise InputError("command: `ssl-faces fit` refuses it; try it by itself") from ended
        return {}  # as of --help
    except Exception as error:
        told = bad_input(error)
        if told is None:
            raise
        raise InputError(told) from error
    return settings


def _examples(parameters: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """Settings in which each named value and each end of a range stands at least once."""
    choices = {name: _choices(one) for name, one in parameters.items()}
    most = max(map(len, choices.values()))
    return [{k: values[i % len(values)] for k, values in choices.items()} for i in range(most)]


def _choices(parameter: Parameter) -> list[Any]:
    """Its values, or the ends of its range."""
    if parameter.kind == "constant":
        return [parameter.value]
    if parameter.values is not None:
        return parameter.values
    assert parameter.min is not None
    assert parameter.max is not None
    ends = [parameter.min, parameter.max]
    return [float(end) for end in ends] if "log" in parameter.kind else ends
