"""The encoders of the records, each with its card if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from linear_probe.features.frozen import EncoderSource, Precision
from linear_probe.records.collect import Found
from linear_probe.records.record import Record
from linear_probe.sources.baselines import BASELINES
from ssl_faces import InputError, load_encoder
from ssl_faces.common.errors import shorten
from ssl_faces.encoders.encoder import read_card

UNTRAINED = ", untrained"

_MOST_LETTERS = 300
_PRECISIONS: tuple[Precision, ...] = ("32", "bf16")


class Compared(NamedTuple):
    """An encoder of the records.

    Attributes:
        about: the facts of the card, by name.
        warning: why the card is not shown, or can't be trusted.
    """

    name: str
    about: dict[str, str]
    warning: str


def is_trained(record: Record) -> bool:
    """Whether a record is of an encoder, and not of a baseline or an untrained one."""
    known = {baseline.name for baseline in BASELINES}
    return bool(
        record.feature_space and record.encoder not in known and UNTRAINED not in record.encoder
    )


def compared(found: Sequence[Found]) -> list[Compared]:
    """Each trained encoder, in the order of the records."""
    first: dict[str, Record] = {}
    for one in found:
        if is_trained(one.stored):
            first.setdefault(one.record.encoder, one.stored)
    return [_compared(name, record) for name, record in first.items()]


def _compared(name: str, record: Record) -> Compared:
    try:
        card = read_card(record.origin or record.encoder)
    except InputError:
        return Compared(name, {}, "no card found at this path")
    about = _about(card)
    if not record.fingerprint:
        return Compared(name, about, "")
    try:
        encoder = load_encoder(record.origin or record.encoder)
        same = any(
            EncoderSource("", encoder, None, precision).fingerprint.startswith(record.fingerprint)
            for precision in _PRECISIONS
        )
    except InputError as error:
        return Compared(name, {}, f"the weights beside the card can't be read: {error}")
    if not same:
        # The card of other weights would not describe these figures.
        return Compared(name, {}, "the encoder at this path differs from the one that was scored")
    return Compared(name, about, "")


def _about(card: dict[str, Any]) -> dict[str, str]:
    settings = card.get("method_settings")
    about = {
        "method": card.get("method"),
        "size": settings.get("size") if isinstance(settings, dict) else None,
        "data": _data(card.get("data")),
        "left out": card.get("left_out"),
        "steps": card.get("steps"),
        "pairs seen": card.get("pairs_seen"),
        "seed": card.get("seed"),
        "precision": card.get("precision"),
        "training": _duration(card.get("training_seconds")),
        "hardware": card.get("hardware"),
        "parameters": card.get("parameters"),
        "input": card.get("input_size"),
        "features": _dims(card.get("feature_dims")),
    }
    return {word: _text(value) for word, value in about.items() if value not in (None, "", [], {})}


def _text(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return shorten(text, _MOST_LETTERS)


def _data(sets: Any) -> Any:
    if not isinstance(sets, list) or not all(isinstance(part, dict) for part in sets):
        return sets
    return ", ".join(f"{part.get('name')} ({_text(part.get('pictures', '?'))})" for part in sets)


def _dims(dims: Any) -> Any:
    if not isinstance(dims, dict):
        return dims
    return ", ".join(f"{space} {_text(dim)}" for space, dim in dims.items())


def _duration(seconds: Any) -> str | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"
