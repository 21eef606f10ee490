"""Settings in a YAML file: of a comparison, a job, a sweep, a suite, claims or pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, PlainValidator, StringConstraints, ValidationError

from ssl_faces.common.arguments import check_text, whole
from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.common.files import regular
from ssl_faces.common.ranges import PositiveInt

PREVIOUS = "{previous}"
"""In a stage's arguments: the folder of the stage before it."""

OWN_KEYS = {
    "out",
    "ckpt_path",
    "seed_everything",
    "data.seed",
    "trainer.max_steps",
    "trainer.max_epochs",
}
"""Settings of `fit` that follow from what starts it."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Arguments = dict[str, Any]


class Strict(BaseModel):
    """Settings of a file, in which other keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Probe(Strict):
    """Arguments of `linear-probe run`, in its words; those left out have its defaults."""

    task: str = "expression,pose,identity,attributes"
    features: str | None = None
    data: str | None = None
    or_rendered: bool = False
    baselines: bool = True
    precision: Literal["32", "bf16", "auto"] = "auto"
    device: Literal["cpu", "cuda", "auto"] = "auto"
    batch_size: PositiveInt = 256
    bootstrap: PositiveInt = 1000
    max_train: Annotated[int, PlainValidator(whole(100))] | None = None

    def words(self) -> list[str]:
        """As they stand on the command line."""
        found = []
        for name, value in self:
            if name == "baselines":
                found += [] if value else ["--no-baselines"]
            elif value is True:
                found.append(f"--{name.replace('_', '-')}")
            elif value not in (None, False):
                found += [f"--{name.replace('_', '-')}", str(value)]
        return found


def read_yaml(path: Path, like: str) -> dict[str, Any]:
    """The settings that a YAML file holds.

    Args:
        like: a file to write it like, for the messages.

    Raises:
        InputError: no such file, not YAML, or nothing in it.
    """
    try:
        found = yaml.safe_load(regular(path).read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); give a file like {like}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({reason_of(error)}); mend it") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: no settings in it; write it like {like}")
    check_text(found, str(path))
    return found


_Settings = TypeVar("_Settings", bound=Strict)


def read_as(kind: type[_Settings], path: Path, example: str) -> _Settings:
    """Settings of some kind from their YAML file.

    Args:
        example: a file of this kind, for whoever wrote another.

    Raises:
        InputError: no such file, not YAML, or settings that can't be; says which.
    """
    found = read_yaml(path, example)
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise InputError(f"{path}: {sentence(error)}") from error


def check_configs(path: Path, configs: Iterable[str], command: str = "ssl-faces fit") -> None:
    """Raises InputError where a config that the file `path` names isn't there."""
    for config in configs:
        if not Path(config).is_file():
            raise InputError(
                f"{path}: {config}: no such file from here; give the path of a config for "
                f"`{command}`"
            )


def settled(configs: Iterable[str], arguments: Arguments) -> dict[str, Any]:
    """All that decides a command, as JSON has it; of configs what is in them."""
    found: dict[str, Any] = dict(arguments)
    for config in configs:
        found[config] = hashlib.sha256(regular(Path(config)).read_bytes()).hexdigest()[:16]
    settings: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return settings


def first_change(was: dict[str, Any], now: dict[str, Any], configs: Iterable[str]) -> str | None:
    """The first that differs of two `settled`, in words; None where they are the same."""
    for key in sorted({*was, *now}):
        one, other = was.get(key), now.get(key)
        if one == other:
            continue
        if one is not None and other is not None and key in set(configs):
            return f"{key} has changed since"
        return f"{key} was {_told(one)} and is {_told(other)} now"
    return None


def _told(value: Any) -> str:
    return "not given" if value is None else json.dumps(value)


def flags(arguments: Arguments) -> list[str]:
    """`--KEY=VALUE` as the command line takes them, also values that begin with a minus."""
    found = []
    for key, value in arguments.items():
        if isinstance(value, dict | list):
            # On one line; JSON would turn a mapping's numbers into text.
            value = yaml.safe_dump(value, default_flow_style=True, width=10**9).strip()
        found.append(f"--{key}={value if isinstance(value, str) else json.dumps(value)}")
    return found


def sentence(error: ValidationError) -> str:
    """The first thing that is wrong with a file's settings."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    known = ""
    if first["type"] == "extra_forbidden":
        what = "unknown key"
        known = "; take it out, or mend its name"
    elif first["type"] == "missing":
        what = "is missing"
    else:
        what = first["msg"].removeprefix("Value error, ")
        what = what[0].lower() + what[1:]
        if first["type"] != "value_error" and isinstance(first["input"], str | int | float):
            what += f", not {first['input']!r}"
    return f"{place}: {what}{known}" if place else what
