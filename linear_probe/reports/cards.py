"""The encoders of the records, each with its card if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from linear_probe.records.card import fingerprints
from linear_probe.records.collect import Found
from linear_probe.records.record import Record
from linear_probe.sources.baselines import BASELINES
from ssl_faces import InputError, load_encoder
from ssl_faces.common.errors import shorten
from ssl_faces.encoders.encoder import read_card

UNTRAINED = ", untrained"

_MOST_LETTERS = 300


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
    for each in found:
        if is_trained(each.stored):
            first.setdefault(each.record.encoder, each.stored)
    return [_compared(name, record) for name, record in first.items()]


def _compared(name: str, record: Record) -> Compared:
    path = record.origin or record.encoder
    try:
        card = read_card(path)
    except InputError:
        return Compared(name, {}, "no card found at this path")
    try:
        if record.fingerprint and record.fingerprint not in fingerprints(load_encoder(path)):
            # The card of other weights would not describe these figures.
            problem = "the encoder at this path differs from the one that was scored"
            return Compared(name, {}, problem)
    except InputError as error:
        return Compared(name, {}, f"the weights beside the card can't be read: {error}")
    return Compared(name, _about(card), "")


def _about(card: dict[str, Any]) -> dict[str, str]:
    """What a card says, in words; parts that are missing or malformed are left out."""
    settings, seconds, dims = (
        card.get(key) for key in ("method_settings", "training_seconds", "feature_dims")
    )
    training = None
    if isinstance(seconds, int | float):
        hours = seconds >= 5400
        training = f"{seconds / 3600:.1f} h" if hours else f"{seconds / 60:.0f} min"
    about = {
        "method": card.get("method"),
        "size": settings.get("size") if isinstance(settings, dict) else None,
        "data": _data(card.get("data")),
        "left out": card.get("left_out"),
        "steps": card.get("steps"),
        "pairs seen": card.get("pairs_seen"),
        "seed": card.get("seed"),
        "precision": card.get("precision"),
        "training": training,
        "hardware": card.get("hardware"),
        "parameters": card.get("parameters"),
        "input": card.get("input_size"),
        "features": ", ".join(f"{space} {_text(dim)}" for space, dim in dims.items())
        if isinstance(dims, dict)
        else dims,
    }
    return {word: _text(value) for word, value in about.items() if value not in (None, "", [], {})}


def _text(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return shorten(text, _MOST_LETTERS)


def _data(sets: Any) -> Any:
    if not isinstance(sets, list) or not all(isinstance(part, dict) for part in sets):
        return sets
    return ", ".join(f"{part.get('name')} ({_text(part.get('pictures', '?'))})" for part in sets)
