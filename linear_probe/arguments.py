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
    docs = {
        part.arg_name: part.description for part in parse_docstring(target.__doc__ or "").params
    }
    for one in _arguments(target):
        text = " ".join((docs[one.name] or "").split())
        usual = one.how.get("default")
        if usual is not None and usual is not False and usual != []:
            text += f"; default: {','.join(map(str, usual)) if isinstance(usual, list) else usual}"
        parser.add_argument(*one.flags, help=text.replace("%", "%%"), **one.how)


def call(target: Callable[..., Any], given: argparse.Namespace) -> Any:
    """Call a function, or make a dataclass, with parsed arguments; a parameter `words` gets the
    command as it was typed.

    Raises:
        InputError: a value that can't be used.
    """
    positional, named = [], {}
    for one in _arguments(target):
        value = getattr(given, one.dest)
        if one.names and isinstance(value, str):
            value = names_in(value, one.flags[0])
        if one.flags[0].startswith("-"):
            named[one.name] = value
        else:
            positional.append(value)
    if "words" in inspect.signature(target).parameters:
        named["words"] = given.words
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
    made = {}
    if is_dataclass(target):
        made = {f.name: f.default_factory for f in fields(target) if f.default_factory != MISSING}
    hints = get_type_hints(target, include_extras=True)
    for name, parameter in inspect.signature(target).parameters.items():
        kind, option = _kind(hints[name])
        if option is not None and not option.flags:
            continue
        usual = made[name]() if name in made else parameter.default
        keyword = is_dataclass(target) or parameter.kind is parameter.KEYWORD_ONLY
        flags = option.flags if option else (f"--{name.replace('_', '-')}",) if keyword else (name,)
        repeated = option is not None and option.repeated
        how = {} if keyword else {"metavar": name.upper().removesuffix("S")}
        how |= _reading(kind, keyword, usual is inspect.Parameter.empty, repeated)
        if usual is not inspect.Parameter.empty and kind is not bool:
            how["default"] = usual
        yield _Argument(name, flags, how, keyword and get_origin(kind) is list and not repeated)


def _kind(hint: Any) -> tuple[Any, Option | None]:
    """A type without None and without its `Option`, and that."""
    if may_be_none(hint):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    option = None
    if get_origin(hint) is Annotated:
        option = next((one for one in hint.__metadata__ if isinstance(one, Option)), None)
    if option is not None and range_of(hint) is None:
        hint = hint.__origin__
    return hint, option


def _reading(kind: Any, keyword: bool, required: bool, repeated: bool) -> dict[str, Any]:
    if kind is bool:
        return {"action": "store_true"}
    listed = get_origin(kind) is list
    if not keyword:
        nargs = ("+" if required else "*") if listed else (None if required else "?")
        return {"nargs": nargs}
    how: dict[str, Any] = {"required": True} if required else {}
    if repeated:
        return {"action": "append", "metavar": "NAME", **how}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind), **how}
    allowed = range_of(get_args(kind)[0] if listed else kind)
    if allowed is None:
        return {"metavar": "A,B", **how} if listed else how
    many: Any = comma_separated(allowed) if listed else allowed
    return {"type": many, "metavar": "N,N" if listed else "N", **how}
