"""Arguments of `linear-probe`: made of the functions and settings that they are for.

A parameter's type is the check of its argument, its part of the docstring the help. Parameters of
a function without a `*` before them are positional; all others, and the fields of a dataclass, are
options. Nothing here needs torch, so that `--help` is fast.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring

from ssl_faces.common.arguments import comma_separated
from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import may_be_none, range_of


class Option:
    """Marks a parameter whose option differs from its name.

    Args:
        flags: the option's names; none: it has no option.
        repeated: the option takes one value each time, instead of names with commas between them.
    """

    def __init__(self, *flags: str, repeated: bool = False) -> None:
        self.flags, self.repeated = flags, repeated


class _Argument(NamedTuple):
    """A parameter as argparse reads it."""

    name: str
    flags: tuple[str, ...]
    how: dict[str, Any]
    names: bool  # a list of names with commas between them

    @property
    def dest(self) -> str:
        long = next((flag for flag in self.flags if flag.startswith("--")), self.flags[0])
        return long.removeprefix("--").replace("-", "_")


def add_arguments(parser: argparse.ArgumentParser, target: Callable[..., Any]) -> None:
    """Add an argument for each parameter of a function or field of a dataclass."""
    documented = reversed(target.__mro__) if isinstance(target, type) else (target,)
    docs = {
        part.arg_name: part.description
        for owner in documented
        for part in parse_docstring(owner.__doc__ or "").params
    }
    for argument in _arguments(target):
        text = " ".join((docs[argument.name] or "").split())
        default = argument.how.get("default")
        if default is not None and default is not False and default != []:
            shown = ",".join(map(str, default)) if isinstance(default, list) else default
            text += f"; default: {shown}"
        parser.add_argument(*argument.flags, help=text.replace("%", "%%"), **argument.how)


def call(target: Callable[..., Any], parsed: argparse.Namespace) -> Any:
    """Call a function, or make a dataclass, with parsed arguments; a parameter `words` gets the
    command as it was typed.

    Raises:
        InputError: a value that can't be used.
    """
    positional, named = [], {}
    for argument in _arguments(target):
        value = getattr(parsed, argument.dest)
        if argument.names and isinstance(value, str):
            value = names_in(value, argument.flags[0])
        if argument.flags[0].startswith("-"):
            named[argument.name] = value
        else:
            positional.append(value)
    if "words" in inspect.signature(target).parameters:
        named["words"] = parsed.words
    return target(*positional, **named)


def names_in(text: str, argument: str) -> list[str]:
    """Names with commas between them.

    Raises:
        InputError: an empty name.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"{argument} '{text}': an empty name; give names with commas between")
    return names


def _arguments(target: Callable[..., Any]) -> Iterator[_Argument]:
    factories = {}
    if is_dataclass(target):
        factories = {f.name: f.default_factory for f in fields(target)}
    hints = get_type_hints(target, include_extras=True)
    for name, parameter in inspect.signature(target).parameters.items():
        kind, option = _kind(hints[name])
        if option is not None and not option.flags:
            continue
        factory = factories.get(name, MISSING)
        default = parameter.default if factory is MISSING else factory()
        required = default is inspect.Parameter.empty
        keyword = is_dataclass(target) or parameter.kind is parameter.KEYWORD_ONLY
        flags = option.flags if option else (f"--{name.replace('_', '-')}",) if keyword else (name,)
        repeated = option is not None and option.repeated
        how = _reading(kind, required, repeated) if keyword else _placed(name, kind, required)
        if not required and kind is not bool:
            how["default"] = default
        yield _Argument(name, flags, how, keyword and get_origin(kind) is list and not repeated)


def _kind(hint: Any) -> tuple[Any, Option | None]:
    """A type without None and without its `Option`, and that."""
    if may_be_none(hint):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    option = None
    if get_origin(hint) is Annotated:
        option = next((mark for mark in hint.__metadata__ if isinstance(mark, Option)), None)
    if option is not None and range_of(hint) is None:
        hint = hint.__origin__
    return hint, option


def _placed(name: str, kind: Any, required: bool) -> dict[str, Any]:
    """How a positional argument is read."""
    several, single = ("+", None) if required else ("*", "?")
    nargs = several if get_origin(kind) is list else single
    return {"metavar": name.upper().removesuffix("S"), "nargs": nargs}


def _reading(kind: Any, required: bool, repeated: bool) -> dict[str, Any]:
    """How an option is read."""
    if kind is bool:
        return {"action": "store_true"}
    how: dict[str, Any] = {"required": True} if required else {}
    if repeated:
        return {"action": "append", "metavar": "NAME", **how}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind), **how}
    listed = get_origin(kind) is list
    allowed = range_of(get_args(kind)[0] if listed else kind)
    if allowed is None:
        return {"metavar": "A,B", **how} if listed else how
    many: Any = comma_separated(allowed) if listed else allowed
    return {"type": many, "metavar": "N,N" if listed else "N", **how}
