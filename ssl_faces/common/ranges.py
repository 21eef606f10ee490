"""Types of numbers with a range, for settings and YAML files, and their check."""

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
PictureSide = Annotated[int, PlainValidator(SIDE)]
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
    """The range of a type such as `Count`; None if it has none."""
    if get_origin(hint) is Annotated:
        for validator in hint.__metadata__:
            if isinstance(validator, PlainValidator) and isinstance(validator.func, Range):
                return validator.func
    return None


def may_be_none(hint: Any) -> bool:
    """Whether None is a value of this type."""
    return hint in (Any, None, NoneType) or (
        get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)
    )


def check_ranges(function: Any, values: Mapping[str, Any], key: str) -> None:
    """Check the numbers among the arguments of a function, as its parser does.

    Args:
        function: has the type hints, such as a class's `__init__`.
        values: its arguments by name; others are ignored.
        key: stands before their names in the message, such as `model`.

    Raises:
        InputError: a number outside the range of its type.
    """
    for name, hint in get_type_hints(function, include_extras=True).items():
        if name in values:
            check_value(hint, values[name], f"{key}.{name}" if key else name)


def check_fields(settings: Any, key: str) -> None:
    """`check_ranges` of a dataclass, for its `__post_init__`."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    check_ranges(type(settings), values, key)


def check_value(hint: Any, value: Any, key: str) -> None:
    """Raise InputError where a number is outside the range of its type, or null for one."""
    if value is None and not may_be_none(hint):
        raise InputError(f"{key}: null; give a value, or leave it out")
    for allowed, one in _numbers(hint, value):
        try:
            allowed(one)
        except OutOfRange as error:
            raise InputError(f"{key}: {error}") from error


def _numbers(hint: Any, value: Any) -> Iterator[tuple[Range, Any]]:
    """Every number in a value that has a range."""
    allowed = range_of(hint)
    if allowed is not None:
        yield allowed, value
    elif isinstance(value, Mapping):
        inner = get_args(hint)[-1:]
        for one in value.values():
            for of in inner:
                yield from _numbers(of, one)
    elif isinstance(value, list | tuple):
        for of in {range_of(of): of for of in get_args(hint)}.values():
            for one in value:
                yield from _numbers(of, one)
    elif value is not None:
        for of in get_args(hint):
            yield from _numbers(of, value)


def check_order(settings: Any, names: Iterable[str], key: str) -> None:
    """Check the pairs of a dataclass that are a smallest and a largest number.

    Raises:
        InputError: the first of a pair is larger than the second.
    """
    for name in names:
        low, high = getattr(settings, name)
        if low > high:
            raise InputError(f"{key}.{name}: {low:g} to {high:g}; give the smaller number first")
