"""Frozen features: each image goes through each encoder once; the results are kept on disk."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from linear_probe.features.cache import as_size, entries, make_room, note_use
from linear_probe.features.extraction import Chunk, Extracted, Features, cut, extract
from linear_probe.features.files import (
    PIECES_SUFFIX,
    Chunks,
    has_features,
    lock,
    read_features,
    read_skipped,
    space_name,
    write_features,
)
from linear_probe.features.source import Encoder, ImageSource, Precision, Source, add_weights
from ssl_faces import InputError
from ssl_faces.common.finite import non_finite_rows
from ssl_faces.common.shards import Shard
from ssl_faces.data import FaceSet, Skipped
from ssl_faces.encoders.encoder import FaceEncoder

__all__ = [
    "Encoder",
    "EncoderSource",
    "FeatureCache",
    "Features",
    "ImageSource",
    "KeyedSource",
    "Pictures",
    "Precision",
    "Source",
]

_log = logging.getLogger(__name__)
_FORMAT = 3  # part of the cache key: raise it when features of the same weights would change
_PIECE = 1024  # images of a chunk; an interrupted run loses no more than one


class KeyedSource(ABC):
    """A source whose features exist already, by the keys of images: nothing is computed.

    Attributes: as of `Source`.
    """

    name: str
    dims: dict[str, int]
    fingerprint: str

    @abstractmethod
    def missing(self, pictures: Pictures) -> list[Skipped]:
        """Images that it has no features of. Raises InputError: too many."""

    @abstractmethod
    def read(self, pictures: Pictures, space: str) -> Features:
        """The features of those images that it has."""


class EncoderSource:
    """A frozen encoder as a source.

    Args:
        name: its name in tables.
        spaces: which of its feature spaces; None is all.
        precision: of its arithmetic; `bf16` is about twice as fast where the hardware has it.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        spaces: Sequence[str] | None = None,
        precision: Precision = "32",
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.precision = precision
        self.input_size = encoder.input_size
        self.dims = {
            space: dim
            for space, dim in encoder.feature_dims.items()
            if spaces is None or space in spaces
        }

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(
            json.dumps([self.encoder.encoder_name, self.encoder.config], sort_keys=True).encode()
        )
        add_weights(digest, self.encoder.state_dict())
        if self.precision != "32":
            digest.update(self.precision.encode())
        return digest.hexdigest()

    def to(self, device: str) -> None:
        if isinstance(self.encoder, torch.nn.Module):
            self.encoder.to(device)
            self.encoder.to(memory_format=torch.channels_last)  # convolutions are faster so

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        with torch.autocast(images.device.type, torch.bfloat16, self.precision == "bf16"):
            if isinstance(self.encoder, FaceEncoder):
                return self.encoder(images, list(self.dims))  # and computes no others
            features = self.encoder(images)
        return {space: features[space] for space in self.dims if space in features}


class Pictures:
    """Some images of a face set, and the hashes that identify their content.

    Attributes:
        faces: the face set.
        indices: int64 [N], which of its records.
        hashes: SHA-256 of each image's stored bytes; empty where they can't be read.
        changed: the images of `faces` are changed ones, so that reports show none of their
            features.
    """

    def __init__(self, faces: FaceSet, indices: np.ndarray, changed: bool = False) -> None:
        self.faces, self.indices, self.changed = faces, indices, changed
        self.hashes = [faces.hash_if_readable(int(index)) for index in indices]

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the keys and the content."""
        digest = hashlib.sha256(self.faces.name.encode())
        for index, content in zip(self.indices, self.hashes, strict=True):
            key, box = self.faces.records[index].key, self.faces.records[index].box
            digest.update(f"{len(key)} ".encode() + key.encode(errors="surrogateescape") + content)
            if box is not None:
                digest.update(repr(box).encode())
        return digest.hexdigest()


class FeatureCache:
    """Features of images from sources, computed if they are not in `folder` yet.

    They are computed in chunks, which are kept until all are finished: an interrupted run resumes.
    If several processes want the same, one computes it and the others wait. Features that were not
    used for long make room for others, see `linear_probe.features.cache`.

    Args:
        folder: one safetensors file for each source, images and space.
        batch_size: images given to an encoder at once.
        device: where encoders run.
        shard: `fill` computes only this part of the chunks, beside processes that compute the
            others; `fill` of a cache without it then joins them.
    """

    def __init__(
        self,
        folder: Path,
        batch_size: int = 256,
        device: str = "cpu",
        shard: Shard | None = None,
    ) -> None:
        self.folder = folder
        self.batch_size = batch_size
        self.device = device
        self.shard = shard
        self._in_use: set[Path] = set()

    def fill(self, sources: Sequence[Source], pictures: Pictures) -> list[Skipped]:
        """Make sure that `read` finds the features of every source; the skipped images.

        Each image is decoded once for all sources of one input size that lack its features. A
        failed or interrupted run leaves whole chunks and no half-written file.

        Raises:
            InputError: no image can be decoded, features are not finite or not of the length
                that their source declares, or can't be written.
        """
        sources = [*{(s.fingerprint, *s.dims): s for s in sources}.values()]
        computed: list[Any] = [s for s in sources if not isinstance(s, KeyedSource)]
        skipped: dict[str, str] = {}
        # Before anything is computed: it may be the reason to stop.
        for source in sources:
            if isinstance(source, KeyedSource):
                skipped.update(source.missing(pictures))
        lacking = [s for s in computed if not self._has(s, pictures)]
        if self.shard is not None:
            self._extract([*self._by_file(lacking, pictures).values()], pictures)
            return []
        while lacking:
            try:
                done = self._compute_some(lacking, pictures)
            except InputError:
                with suppress(OSError):
                    self.folder.rmdir()  # if it is empty
                raise
            lacking = [s for s in lacking if s not in done]
        paths = [self._path(source, pictures, s) for source in computed for s in source.dims]
        # Also of features that existed before: a second run lists them too.
        for path in paths:
            skipped.update(read_skipped(path))
        note_use(paths)
        self._in_use.update(paths)
        make_room(self.folder, self._in_use)
        return [Skipped(key, reason) for key, reason in skipped.items()]

    def read(self, source: Source, pictures: Pictures, space: str) -> Features:
        """The features of one space, after `fill`; memory-mapped if they come from a file.

        If another process has removed them meanwhile, they are computed again.

        Raises:
            InputError: the file can't be read, or holds features that are not finite.
        """
        if isinstance(source, KeyedSource):
            return source.read(pictures, space)
        path = self._path(source, pictures, space)
        if not path.exists():
            self.fill([source], pictures)
        values, records = read_features(path)
        if len(non_finite_rows(values)):
            raise InputError(f"{path}: holds NaN or infinite features; delete it and run again")
        return Features(values, records.numpy())

    def about(self) -> str:
        """Where the features are, and their size, in words."""
        size = sum(entry.size for entry in entries(self.folder))
        return (
            f"features: {self.folder}, {as_size(size)}, kept for other runs; "
            "`linear-probe cache --clean` removes them"
        )

    def _path(self, source: Source, pictures: Pictures, space: str) -> Path:
        return self.folder / f"{self._stem(source, pictures)}-{space_name(space)}.safetensors"

    def _stem(self, source: Source, pictures: Pictures) -> str:
        """The start of the names of a source's files: a hash of all that decides the features, so
        that features of older weights or other images are never found."""
        size = getattr(source, "input_size", "")
        text = f"{_FORMAT} {source.fingerprint} {size} {pictures.fingerprint}"
        return f"{pictures.faces.name}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"

    def _by_file(
        self, sources: Sequence[ImageSource], pictures: Pictures
    ) -> dict[str, ImageSource]:
        return {self._stem(source, pictures): source for source in reversed(sources)}

    def _has(self, source: Source, pictures: Pictures) -> bool:
        return all(
            has_features(self._path(source, pictures, space), dim, len(pictures))
            for space, dim in source.dims.items()
        )

    def _compute_some(
        self, sources: Sequence[ImageSource], pictures: Pictures
    ) -> list[ImageSource]:
        """Compute those that no other process computes, or wait for one; those that exist now.

        No lock is held while waiting, so that no two processes wait for each other.
        """
        with ExitStack() as locks:

            def mine(source: ImageSource, wait: bool) -> bool:
                path = self.folder / f".{self._stem(source, pictures)}.lock"
                return locks.enter_context(lock(path, wait))

            # By file: two names of one encoder are computed once.
            first = self._by_file(sources, pictures)
            held = [s for s in first.values() if mine(s, wait=False)]
            if not held:
                of = f"{pictures.faces.name}, {sources[0].name}"
                _log.warning("%s: another process computes these features; waiting for it", of)
                held = [sources[0]]
                mine(sources[0], wait=True)
            wanted = [s for s in held if not self._has(s, pictures)]
            if wanted:
                self._extract(wanted, pictures)
        return [s for s in sources if s in held or self._has(s, pictures)]

    def _extract(self, sources: Sequence[ImageSource], pictures: Pictures) -> None:
        finished = {
            id(s): Chunks(self.folder / f"{self._stem(s, pictures)}{PIECES_SUFFIX}", s.dims)
            for s in sources
        }
        for source in sources:
            source.to(self.device)
        # Decoded for each size by itself: large images are decoded at a size near the one wanted,
        # and a source's features must not depend on which others are computed with it.
        sizes = sorted({source.input_size for source in sources})
        every = cut(range(len(pictures)), max(_PIECE, self.batch_size))
        chunks = []
        for images in every if self.shard is None else self.shard.of(every):
            for size in sizes:
                lacking = [
                    s for s in sources if s.input_size == size and not finished[id(s)].has(images)
                ]
                if lacking:
                    chunks.append(Chunk(images, size, lacking))

        def write(chunk: Chunk, extracted: Extracted) -> None:
            for source, values in zip(chunk.sources, extracted.values, strict=True):
                for space in source.dims:
                    path = finished[id(source)].path(chunk.images, space)
                    write_features(path, values[space], extracted.records, extracted.skipped)

        total = sum(len(chunk.images) for chunk in chunks)
        extracted = extract(pictures.faces, pictures.indices, chunks, self.batch_size, self.device)
        with (
            tqdm(total=total, desc=f"features of {pictures.faces.name}", unit="faces") as bar,
            closing(extracted),
            ThreadPoolExecutor(1, "writing") as writer,  # behind; at its end all is written
        ):
            writing: Future[None] | None = None
            for chunk, features in extracted:
                if writing is not None:
                    writing.result()  # an error of writing stops the run
                writing = writer.submit(write, chunk, features)
                bar.update(len(chunk.images))
            if writing is not None:
                writing.result()
        if self.shard is not None:
            return
        failure: InputError | None = None
        for source in sources:
            try:
                self._join(source, pictures, finished[id(source)], every)
            except InputError as error:
                failure = failure or error  # the others' work is not lost
            else:
                finished[id(source)].remove()
        if failure is not None:
            raise failure

    def _join(
        self, source: ImageSource, pictures: Pictures, chunks: Chunks, every: Sequence[range]
    ) -> None:
        """One file of each space, once all chunks are there."""
        for space in source.dims:
            values, records, skipped = chunks.join(every, space)
            try:
                if not records:
                    raise InputError(
                        f"{pictures.faces.name}: none of its {len(pictures)} pictures can be "
                        f"decoded ({skipped[0].key}: {skipped[0].reason}); check that they are "
                        "whole"
                    )
                _check_finite(source, space, values, records, pictures.faces)
            except InputError:
                chunks.remove()  # the next run must not find the same
                raise
            keys = [] if pictures.changed else [pictures.faces.records[i].key for i in records]
            path = self._path(source, pictures, space)
            write_features(path, values, records, skipped, source.fingerprint, keys)


def _check_finite(
    source: Source, space: str, values: Tensor, records: Sequence[int], faces: FaceSet
) -> None:
    """InputError if features float [N, D] of these N records are not finite."""
    bad = non_finite_rows(values)
    if len(bad):
        raise InputError(
            f"{source.name}, {space}: features of {len(bad):,} of {len(values):,} pictures of "
            f"{faces.name} are NaN or infinite, the first of {faces.records[records[bad[0]]].key}; "
            "check the encoder's weights, or take --precision 32"
        )
