"""Settings in a YAML file: of a comparison, a job, a sweep, a suite, claims or pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ssl_faces.common.arguments import check_text
from ssl_faces.common.config_files import FIT, find_config
from ssl_faces.common.errors import InputError, did_you_mean, reason_of
from ssl_faces.common.files import regular

PREVIOUS = "{previous}"
"""In a stage's arguments: the folder of the stage before it."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Arguments = dict[str, Any]


class Strict(BaseModel):
    """Settings of a file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, settings: Any) -> Any:
        """Before missing keys are reported, which a misspelt key may stand for."""
        for key in settings if isinstance(settings, Mapping) else ():
            if key not in cls.model_fields:
                near = did_you_mean(str(key), cls.model_fields)
                raise PydanticCustomError(
                    "unknown_key", "unknown key{near}", {"key": str(key), "near": near}
                )
        return settings


def read_yaml(path: Path, like: str) -> dict[str, Any]:
    """The settings in a YAML file. Raises InputError: no such file, not YAML, or nothing in it.

    Args:
        like: an example of such a file, for the messages.
    """
    try:
        settings = yaml.safe_load(regular(path).read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); give a file like {like}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({reason_of(error)}); mend it") from error
    if not isinstance(settings, dict):
        raise InputError(f"{path}: no settings in it; write it like {like}")
    check_text(settings, str(path))
    return settings


_Settings = TypeVar("_Settings", bound=Strict)


def read_as(kind: type[_Settings], path: Path, example: str) -> _Settings:
    """Settings of some kind from their YAML file. Raises InputError: no such file, not YAML, or
    invalid settings; says which.

    Args:
        example: a file of this kind, for the messages.
    """
    settings = read_yaml(path, example)
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"{path}: {sentence(error)}") from error


def check_configs(
    path: Path,
    configs: Iterable[str],
    command: str = "ssl-faces fit",
    folders: Sequence[str] = FIT,
) -> None:
    """Raises InputError if a config that the file `path` names doesn't exist.

    Args:
        folders: see `find_config`.
    """
    for config in configs:
        try:
            found = find_config(config, folders)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if not found.is_file():
            raise InputError(
                f"{path}: {config}: no such file from here; give the path of a config for "
                f"`{command}`"
            )


def settled(configs: Iterable[str], arguments: Arguments) -> dict[str, Any]:
    """All that decides a command, as JSON values; configs by the hash of their contents."""
    decides: dict[str, Any] = dict(arguments)
    for config in configs:
        content = regular(find_config(config)).read_bytes()
        decides[config] = hashlib.sha256(content).hexdigest()[:16]
    settings: dict[str, Any] = json.loads(json.dumps(decides, default=str))
    return settings


def first_change(before: dict[str, Any], now: dict[str, Any], configs: Iterable[str]) -> str | None:
    """The first difference between two `settled`, as text; None if they are equal."""
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if old is not None and new is not None and key in set(configs):
            return f"{key} has changed since"
        return f"{key} was {_text(old)} and is {_text(new)} now"
    return None


def _text(value: Any) -> str:
    return "not given" if value is None else json.dumps(value)


def flags(arguments: Arguments) -> list[str]:
    """`--KEY=VALUE` for the command line, also for values that begin with a minus."""
    words = []
    for key, value in arguments.items():
        if isinstance(value, dict | list):
            # On one line; JSON would make text of a mapping's numbers.
            value = yaml.safe_dump(value, default_flow_style=True, width=10**9).strip()
        words.append(f"--{key}={value if isinstance(value, str) else json.dumps(value)}")
    return words


def sentence(error: ValidationError) -> str:
    """The first error in a file's settings."""
    first = error.errors()[0]
    of_key = (first["ctx"]["key"],) if first["type"] == "unknown_key" else ()
    place = ".".join(str(part) for part in (*first["loc"], *of_key))
    if first["type"] == "unknown_key":
        what = f"{first['msg']}; take it out, or mend its name"
    elif first["type"] == "missing":
        what = "is missing"
    else:
        what = first["msg"].removeprefix("Value error, ")
        what = what[0].lower() + what[1:]
        if first["type"] != "value_error" and isinstance(first["input"], str | int | float):
            what += f", not {first['input']!r}"
    return f"{place}: {what}" if place else what
