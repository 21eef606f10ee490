"""The command line of a trial: the file's `command` with its placeholders filled in, as by W&B."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_faces.common.errors import InputError, bad_input
from ssl_faces.plan.sweep.settings import Parameter, Sweep
from ssl_faces.training.without_effect import flat, plain_name, without_effect

PROGRAM = "ssl-faces"

_ENVIRONMENT = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")


def command_of(sweep: Sweep, settings: Mapping[str, Any]) -> list[str]:
    """The command line of a trial, as `wandb agent` makes it.

    Source: `Agent._command_run` of wandb's `wandb_agent.py`, and
    https://docs.wandb.ai/guides/sweeps/sweep-config-keys#command.

    Raises:
        InputError: a placeholder that is unknown, or has no value.
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
        word = _ENVIRONMENT.sub(lambda match: os.environ.get(match[1], match[1]), word)
        if not (word.startswith("${") and word.endswith("}")):
            words.append(word)
        elif word[2:-1] in stands:
            words += stands[word[2:-1]]
        else:
            raise InputError(
                f"command: {word} has no value here; take one of "
                + ", ".join(f"${{{name}}}" for name in stands)
            )
    return words


def check_command(sweep: Sweep, source: Path) -> None:
    """Check that the command takes the parameters, and `ssl-faces fit` all their kinds of values.

    Commands of other programs are not checked.

    Raises:
        InputError: it doesn't; with the message of `fit`.
    """
    if not any(str(word).startswith("${args") for word in sweep.command):
        raise InputError(
            f"{source}: command: no ${{args}} in it, so that no setting would reach a trial; add it"
        )
    parsed = []
    try:
        for settings in examples(sweep.parameters):
            words = fit_words(command_of(sweep, settings))
            if words is None:
                return
            parsed.append(flat(_parse(words)))
        _check_effects(sweep.parameters, parsed)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _check_effects(
    parameters: Mapping[str, Parameter], trials: Sequence[Mapping[str, Any]]
) -> None:
    """Raises InputError if a parameter that varies changes nothing.

    Args:
        trials: settings of trials that have each value at least once.
    """
    idle = [without_effect(settings) for settings in trials]
    for key, parameter in parameters.items():
        name = plain_name(key)
        if len({json.dumps(value) for value in parameter.examples}) < 2:
            continue
        if all(name in settings for settings in idle):
            raise InputError(f"parameters.{key}: has no effect, since {idle[0][name]}; take it out")
        read = [settings[name] for settings in trials if name in settings]
        if len(read) == len(trials) and all(value == read[0] for value in read):
            raise InputError(
                f"parameters.{key}: is {read[0]} in every trial, whatever its value; take "
                f"--{key} out of the command"
            )


def fit_words(command: Sequence[str]) -> list[str] | None:
    """The arguments of `ssl-faces` if the command is `ssl-faces fit`; None for another one."""
    words = list(command)
    if words[:1] == ["/usr/bin/env"]:
        words = words[1:]
    if len(words) > 1 and Path(words[0]).name == PROGRAM and words[1] == "fit":
        return words[1:]
    return None


def _parse(words: Sequence[str]) -> dict[str, Any]:
    """The settings of `fit`, with every key and type checked; nothing is built."""
    from ssl_faces.training.fit import check

    try:
        return check(words)
    except Exception as error:
        if (message := bad_input(error)) is None:
            raise
        raise InputError(message) from error


def examples(parameters: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """Settings of trials that have each named value and each end of a range at least once."""
    values = {name: parameter.examples for name, parameter in parameters.items()}
    most = max(map(len, values.values()))
    return [{k: of[i % len(of)] for k, of in values.items()} for i in range(most)]
