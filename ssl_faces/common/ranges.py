"""Types of numbers with a range, for settings and YAML files, and their checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import PlainValidator

from ssl_faces.common.arguments import SEED, SIDE, OutOfRange, Range, number, whole
from ssl_faces.common.errors import InputError

PositiveInt = Annotated[int, PlainValidator(whole(1))]
NonNegativeInt = Annotated[int, PlainValidator(whole(0))]
Seed = Annotated[int, PlainValidator(SEED)]
GlobalSeed = Annotated[int, PlainValidator(whole(0, 2**32 - 1))]  # numpy's limit
ImageSide = Annotated[int, PlainValidator(SIDE)]
LayerWidth = Annotated[int, PlainValidator(whole(1, 2**17))]
LayerCount = Annotated[int, PlainValidator(whole(1, 1000))]
WidthFactor = Annotated[float, PlainValidator(number(1 / 16, 16))]
FiniteFloat = Annotated[float, PlainValidator(number())]
PositiveFloat = Annotated[float, PlainValidator(number(0, above=True))]
NonNegativeFloat = Annotated[float, PlainValidator(number(0))]
UnitFloat = Annotated[float, PlainValidator(number(0, 1))]
UnitAbove0 = Annotated[float, PlainValidator(number(0, 1, above=True))]
UnitBelow1 = Annotated[float, PlainValidator(number(0, 1, below=True))]
OpenUnit = Annotated[float, PlainValidator(number(0, 1, above=True, below=True))]


def range_of(hint: Any) -> Range | None:
    """The range of a type such as `PositiveInt`; None if it has none."""
    if get_origin(hint) is Annotated:
        for validator in hint.__metadata__:
            if isinstance(validator, PlainValidator) and isinstance(validator.func, Range):
                return validator.func
    return None


def may_be_none(hint: Any) -> bool:
    """Whether None is valid for this type."""
    return hint in (Any, None, NoneType) or (
        get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)
    )


def check_ranges(function: Any, values: Mapping[str, Any], key: str) -> None:
    """Check the numbers among the arguments of a function. Raises InputError: a number outside the
    range of its type.

    Args:
        function: has the type hints, such as the `__init__` of a class.
        values: arguments by name; unknown names are ignored.
        key: prefix of their names in messages, such as `model`.
    """
    for name, hint in get_type_hints(function, include_extras=True).items():
        if name in values:
            check_value(hint, values[name], f"{key}.{name}" if key else name)


def check_fields(settings: Any, key: str) -> None:
    """`check_ranges` for a dataclass, in its `__post_init__`."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    check_ranges(type(settings), values, key)


def check_value(hint: Any, value: Any, key: str) -> None:
    """Raise InputError if a number is outside the range of its type, or None."""
    if value is None and not may_be_none(hint):
        raise InputError(f"{key}: null; give a value, or leave it out")
    for allowed, number_ in _numbers(hint, value):
        try:
            allowed(number_)
        except OutOfRange as error:
            raise InputError(f"{key}: {error}") from error


def _numbers(hint: Any, value: Any) -> Iterator[tuple[Range, Any]]:
    """All numbers with a range in a value."""
    allowed = range_of(hint)
    if allowed is not None:
        yield allowed, value
    elif isinstance(value, Mapping):
        for item in value.values():
            for kind in get_args(hint)[-1:]:
                yield from _numbers(kind, item)
    elif isinstance(value, list | tuple):
        for kind in {range_of(k): k for k in get_args(hint)}.values():
            for item in value:
                yield from _numbers(kind, item)
    elif value is not None:
        for kind in get_args(hint):
            yield from _numbers(kind, value)


def check_order(settings: Any, names: Iterable[str], key: str) -> None:
    """Raise InputError if the first number of a dataclass's pair is larger than the second."""
    for name in names:
        check_increasing(getattr(settings, name), f"{key}.{name}")


def check_increasing(pair: tuple[float, float], key: str) -> None:
    """Raise InputError if the first number of a pair is larger than the second."""
    low, high = pair
    if low > high:
        raise InputError(f"{key}: {low:g} to {high:g}; give the smaller number first")
