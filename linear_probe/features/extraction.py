"""Runs images through encoders, with the next batches decoded ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from linear_probe.features.source import ImageSource
from ssl_faces import InputError
from ssl_faces.data import BadImage, FaceSet, Skipped
from ssl_faces.data.pictures import square

_AHEAD = 2  # batches that may lie decoded in memory
T = TypeVar("T")


class Chunk(NamedTuple):
    """Images, by their places, that some sources of one input size lack the features of."""

    images: range
    size: int
    sources: list[ImageSource]


class Extracted(NamedTuple):
    """The features of a chunk: float32 [N, D] on the CPU by space, for each of its sources; which
    of the N records each row is of; and images without a row."""

    values: list[dict[str, Tensor]]
    records: list[int]
    skipped: list[Skipped]


@dataclass(frozen=True)
class Features:
    """Frozen features of one space, float32 [N, D], and int64 [N], which record of the face set
    each row is of; those whose image can't be decoded have no row."""

    values: Tensor
    records: np.ndarray


@dataclass(frozen=True)
class Decoded:
    """The images of a face set that can be decoded: uint8 [N, 3, S, S], their records int64 [N],
    and those that can't."""

    images: Tensor
    records: np.ndarray
    skipped: list[Skipped]

    @property
    def rows(self) -> Features:
        """Rows without features, for splits."""
        return Features(torch.empty(len(self.records), 0), self.records)


def decoded(faces: FaceSet, indices: Sequence[int], size: int) -> Decoded:
    """The images of these records at side `size`."""
    images, records, skipped = [], [], []
    pictures = faces.read_many(indices, at_least=size, shrink=partial(square, size=size))
    for index, picture in zip(indices, pictures, strict=True):
        if isinstance(picture, BadImage):
            skipped.append(Skipped(faces.records[index].key, str(picture)))
        else:
            images.append(picture)
            records.append(index)
    stack = np.stack(images) if images else np.empty((0, 3, size, size), np.uint8)
    return Decoded(torch.from_numpy(stack), np.array(records, dtype=np.int64), skipped)


def extract(
    faces: FaceSet, indices: np.ndarray, chunks: Sequence[Chunk], batch_size: int, device: str
) -> Generator[tuple[Chunk, Extracted], None, None]:
    """Each chunk, in order, with its features.

    While encoders compute a batch, the next ones are decoded in another thread, those of the next
    chunk too; that changes no feature.

    Args:
        indices: int64 [M], the records of `faces` that the chunks' places number.

    Raises:
        InputError: a source gives other features than it declares.
    """
    calls = (
        partial(decoded, faces, indices[places.start : places.stop].tolist(), chunk.size)
        for chunk in chunks
        for places in cut(chunk.images, batch_size)
    )
    with closing(_ahead(calls)) as batches:
        for chunk in chunks:
            count = len(cut(chunk.images, batch_size))
            yield chunk, _features(chunk, islice(batches, count), device)


def cut(places: range, size: int) -> list[range]:
    """A range cut into ranges of `size`, the last maybe shorter."""
    return [places[start : start + size] for start in range(0, len(places), size)]


def _ahead(calls: Iterable[Callable[[], T]]) -> Generator[T, None, None]:
    """Results of calls in order, `_AHEAD` of them computed ahead in another thread."""
    pool = ThreadPoolExecutor(1, "decoding")
    waiting: deque[Future[T]] = deque()
    try:
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@torch.inference_mode()
def _features(chunk: Chunk, batches: Iterator[Decoded], device: str) -> Extracted:
    rows: list[dict[str, list[Tensor]]] = [{name: [] for name in s.dims} for s in chunk.sources]
    records: list[int] = []
    skipped: list[Skipped] = []
    for batch in batches:
        records += batch.records.tolist()
        skipped += batch.skipped
        if not len(batch.images):
            continue
        images = batch.images.to(device).float().div_(255)
        for source, of_source in zip(chunk.sources, rows, strict=True):
            features = source(images)
            check_shapes(source, features, len(images))
            for space, of_space in of_source.items():
                # Fetched from a GPU only at the end of the chunk, so that it need not wait.
                of_space.append(features[space])
    values = [
        {
            space: torch.cat(parts).float().cpu() if parts else torch.zeros(0, source.dims[space])
            for space, parts in of_source.items()
        }
        for source, of_source in zip(chunk.sources, rows, strict=True)
    ]
    return Extracted(values, records, skipped)


def check_shapes(source: ImageSource, found: Mapping[str, Tensor], rows: int) -> None:
    """InputError if a source's features of `rows` images lack a space, are not [rows, D], or have
    another length than it declares."""
    for space, dim in source.dims.items():
        if space not in found:
            raise InputError(
                f"{source.name}: gave no features '{space}', though it says it has them; give an "
                "encoder whose feature_dims are those of its output"
            )
        shape = list(found[space].shape)
        if len(shape) != 2 or shape[0] != rows:
            raise InputError(
                f"{source.name}, {space}: gave features of shape {shape} for {rows} "
                f"pictures, not [{rows}, {dim}]; give an encoder with one vector for each picture"
            )
        if shape[1] != dim:
            raise InputError(
                f"{source.name}, {space}: gave features of length {shape[1]}, though it says "
                f"{dim}; give an encoder whose feature_dims are those of its output"
            )
