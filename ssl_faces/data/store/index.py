"""The index of a pack: its images, shards, and what is left out of training."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import ArrayLike

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular, replace_file
from ssl_faces.data.store.held_out import HeldOut

INDEX = "index.json"
FORMAT = 3
"""Raise it when older packs can't be read any more, or when the same images would be packed to
other pixels."""

COPY, NEAR_COPY = "", "near-copy of a test image"
"""Reasons of images that are left out although they can be used."""

MEND = (
    "copy it again from where the pack came from, or delete it and pack its images again "
    "(`ssl-faces pack`, or `ssl-faces fit` where it lies in the cache)"
)


class Passed(NamedTuple):
    """An image that was listed and not packed.

    Attributes:
        face_set, key: which.
        reason: why it could not be used, or `COPY` or `NEAR_COPY`.
        version: as in `Images`; None if the listing itself skipped it.
    """

    face_set: str
    key: str
    reason: str
    version: int | None

    @property
    def is_skipped(self) -> bool:
        """Whether it could not be used."""
        return self.reason not in (COPY, NEAR_COPY)


@dataclass(frozen=True)
class ShardEntry:
    """A shard as the index lists it.

    Attributes:
        file: its name.
        pictures: how many it holds.
        bytes: its length.
        sha256: of the whole file, in hex.
        content: SHA-256 of the images, their people and their files' hashes, in hex: the same
            wherever the files lie and whatever their names and times are.
    """

    file: str
    pictures: int
    bytes: int
    sha256: str
    content: str


@dataclass(frozen=True)
class Images:
    """The table of n packed images, in the order of the shards.

    Attributes:
        versions: int64 [n], `number_of` set, key and stored version.
        sets: int32 [n], index into the pack's sets.
        people: int64 [n], `number_of` the person's name, or -1.
        hashes: uint8 [n, 32], SHA-256 of the bytes that the image was decoded from.
        dropped: bool [n], no longer trained on: changed, gone, or known as a test image since.
        key_lengths, key_text: int32 [n], uint8 [sum], the keys in their sets, as bytes.
    """

    versions: np.ndarray
    sets: np.ndarray
    people: np.ndarray
    hashes: np.ndarray
    dropped: np.ndarray
    key_lengths: np.ndarray
    key_text: np.ndarray

    def __len__(self) -> int:
        return len(self.versions)

    @staticmethod
    def of(
        versions: ArrayLike = (),
        sets: ArrayLike = (),
        people: ArrayLike = (),
        hashes: Sequence[bytes] = (),
        keys: Sequence[str] = (),
    ) -> Images:
        texts = [key.encode(errors="surrogateescape") for key in keys]
        return Images(
            np.asarray(versions, np.int64),
            np.asarray(sets, np.int32),
            np.asarray(people, np.int64),
            np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
            np.zeros(len(texts), bool),
            np.array([len(text) for text in texts], np.int32),
            np.frombuffer(b"".join(texts), np.uint8),
        )

    @staticmethod
    def joined(parts: Sequence[Images]) -> Images:
        columns = ([vars(part)[name] for part in parts] for name in vars(parts[0]))
        return Images(*(np.concatenate(column) for column in columns))

    def key_list(self) -> list[str]:
        data, ends = self.key_text.tobytes(), np.cumsum(self.key_lengths).tolist()
        return [
            data[begin:end].decode(errors="surrogateescape")
            for begin, end in zip([0, *ends[:-1]], ends, strict=True)
        ]


@dataclass(eq=False)
class Index:
    """The contents of a pack.

    Attributes:
        size: side of the images.
        sets: for each face set a dict: `name`, `part`, `people` (whether any are known), `tests`
            (whether test images are among them), `pictures` and the counts `left_out_as_…`.
        shards: in their order.
        passed: the images that were listed and not packed.
        images: the table of those that were.
        held_out: the test people and images that were left out.
        check: hash of all of it, when it was read.
    """

    size: int
    sets: list[dict[str, Any]] = field(default_factory=list)
    shards: list[ShardEntry] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    images: Images = field(default_factory=Images.of)
    held_out: HeldOut = field(default_factory=HeldOut.of)
    check: str = ""

    def write(self, folder: Path) -> str:
        """Write the index to its folder; returns the name of the table's file. Raises InputError:
        the folder can't be written, or the disk is full."""
        columns = vars(self.images) | {f"test_{k}": v for k, v in vars(self.held_out).items()}
        data = safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in columns.items()})
        table = hashlib.sha256(data).hexdigest()
        file = f"images-{table[:16]}.safetensors"
        replace_file(folder / file, data)
        fields = {
            "format": FORMAT,
            "size": self.size,
            "sets": self.sets,
            "shards": [asdict(entry) for entry in self.shards],
            "passed": [passed._asdict() for passed in self.passed],
            "images": table,
        }
        text = json.dumps({**fields, "check": _check_of(fields)}, indent=1) + "\n"
        replace_file(folder / INDEX, text.encode())
        return file

    @staticmethod
    def read(place: str | Path, read: Callable[[str], bytes] | None = None) -> Index:
        """Read the index of a pack. Raises InputError: it can't be read, or is broken or of another
        format.

        Args:
            place: the pack, for messages; its folder without `read`.
            read: gives the contents of a file of the pack.
        """
        read = read or (lambda file: regular(Path(place, file)).read_bytes())
        try:
            fields = json.loads(read(INDEX))
            if fields["format"] != FORMAT:
                raise InputError(
                    f"{place}/{INDEX}: a pack of format {fields['format']}, where {FORMAT} is read "
                    "here; pack the images again to another folder"
                )
            check = fields.pop("check")
            if check != _check_of(fields):
                raise ValueError("it was changed")
            data = read(f"images-{fields['images'][:16]}.safetensors")
            if hashlib.sha256(data).hexdigest() != fields["images"]:
                raise ValueError("the table of images was changed")
            columns = safetensors.numpy.load(data)
            tests = {k: columns.pop(f"test_{k}") for k in ("people", "hashes", "near")}
            shards = [ShardEntry(**entry) for entry in fields["shards"]]
            # Names from outside must not lead out of the pack's folder.
            if bad := [e.file for e in shards if os.path.basename(e.file) != e.file]:
                raise ValueError(f"no name of a shard: {bad[0]!r}")
            passed = [Passed(**one) for one in fields["passed"]]
            images, held_out = Images(**columns), HeldOut(**tests)
            return Index(fields["size"], fields["sets"], shards, passed, images, held_out, check)
        except OSError as error:
            raise InputError(
                f"{error.filename or place}: can't be read ({error.strerror}), so that this is no "
                "whole pack; if it was being packed, run the same `ssl-faces pack` again: it "
                "resumes"
            ) from error
        except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise InputError(
                f"{place}/{INDEX}: a broken index of a pack ({error!r}); {MEND}"
            ) from error

    def starts(self) -> np.ndarray:
        """int64 [shards + 1], the number of each shard's first image."""
        return np.cumsum([0, *(entry.pictures for entry in self.shards)])

    def counts(self, chosen: np.ndarray) -> np.ndarray:
        """int64 [sets], how many of the images chosen by bool [n] are of each face set."""
        return np.bincount(self.images.sets[chosen], minlength=len(self.sets))


def _check_of(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()
