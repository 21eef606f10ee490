"""`linear-probe card`: add an encoder's figures to its card."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from linear_probe.features.frozen import EncoderSource
from linear_probe.features.source import Precision
from linear_probe.records.collect import read_folders
from linear_probe.records.record import Record
from ssl_faces import FaceEncoder, InputError, load_encoder
from ssl_faces.encoders.encoder import update_card
from ssl_faces.encoders.places import find_encoder

_PRECISIONS: tuple[Precision, ...] = ("32", "bf16")


def fingerprints(encoder: FaceEncoder) -> set[str]:
    """The fingerprints that records of an encoder may have."""
    return {EncoderSource("", encoder, precision=p).fingerprint[:16] for p in _PRECISIONS}


def add_records(encoder: str, folders: Sequence[str | Path]) -> list[Record]:
    """Replace `records` in an encoder's card by all records of its present weights; the records.

    Raises:
        InputError: no such encoder or records, or none of them is of these weights.
    """
    directory = find_encoder(encoder)
    current = fingerprints(load_encoder(directory))
    records = read_folders(folders)
    own = [record for record in records if record.fingerprint in current]
    if not own:
        raise InputError(
            f"{encoder}: none of the {len(records):,} records in "
            f"{', '.join(map(str, folders))} is of its weights; score it first: "
            f"linear-probe run --encoder {encoder}"
        )
    update_card(directory, records=[dataclasses.asdict(record) for record in own])
    return own
