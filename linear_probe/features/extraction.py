"""Runs images through encoders: batches are decoded ahead, finished chunks written behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from linear_probe.features.files import Span
from linear_probe.sources.source import ImageSource
from ssl_faces import InputError
from ssl_faces.data import BadPicture, FaceSet, Skipped
from ssl_faces.data.store.packing import square

_AHEAD = 2  # batches that may lie decoded in memory


class Piece(NamedTuple):
    """A run of pictures that some sources of one input size lack the features of."""

    span: Span
    size: int
    sources: list[ImageSource]


class Extracted(NamedTuple):
    """What became of a piece.

    Attributes:
        values: float32 [N, D] on the CPU by space, for each of the piece's sources.
        records: N, which record of the face set each row is of.
        skipped: pictures without a row.
    """

    values: list[dict[str, Tensor]]
    records: list[int]
    skipped: list[Skipped]


class _Batch(NamedTuple):
    images: Tensor | None  # uint8 [B, 3, S, S]; None where no picture can be decoded
    records: list[int]
    skipped: list[Skipped]


def extract(
    faces: FaceSet,
    indices: np.ndarray,
    pieces: Sequence[Piece],
    batch_size: int,
    device: str,
    keep: Callable[[Piece, Extracted], None],
    done: Callable[[Piece], object],
) -> None:
    """Features of all pieces, in their order.

    While encoders are at one batch the next ones are decoded, of the next piece too, and the piece
    before is kept; what is done in other threads changes no figure.

    Args:
        indices: int64 [M], which records of `faces` the pieces' spans run through.
        keep: keeps a piece; called in another thread, one piece after another, all of those that
            were finished even where the rest fails.
        done: called when a piece is finished.

    Raises:
        InputError: a source gives other features than it says; and whatever `keep` raises.
    """
    with ThreadPoolExecutor(1, "keeping") as keeper:
        keeping: Future[None] | None = None
        for piece, batches in _decoded(faces, indices, pieces, batch_size):
            found = _features(piece, batches, device)
            if keeping is not None:
                keeping.result()  # no more than one waits, and its error is soon told
            keeping = keeper.submit(keep, piece, found)
            done(piece)
        if keeping is not None:
            keeping.result()


def _decoded(
    faces: FaceSet, indices: np.ndarray, pieces: Sequence[Piece], batch_size: int
) -> Iterator[tuple[Piece, Iterator[_Batch]]]:
    """Each piece with its batches, which are decoded in another thread, `_AHEAD` of them ahead."""
    jobs = (
        (indices[start : min(start + batch_size, piece.span.stop)].tolist(), piece.size)
        for piece in pieces
        for start in range(piece.span.start, piece.span.stop, batch_size)
    )
    decoder = ThreadPoolExecutor(1, "decoding")
    waiting: deque[Future[_Batch]] = deque()

    def following() -> _Batch:
        while len(waiting) <= _AHEAD and (job := next(jobs, None)) is not None:
            waiting.append(decoder.submit(_decode, faces, *job))
        return waiting.popleft().result()

    try:
        for piece in pieces:
            count = -(-piece.span.size // batch_size)
            yield piece, (following() for _ in range(count))
    finally:
        decoder.shutdown(cancel_futures=True)


def _decode(faces: FaceSet, indices: list[int], size: int) -> _Batch:
    records: list[int] = []
    skipped: list[Skipped] = []
    decoded = []
    pictures = faces.read_many(indices, at_least=size, shrink=partial(square, size=size))
    for index, picture in zip(indices, pictures, strict=True):
        if isinstance(picture, BadPicture):
            skipped.append(Skipped(faces.records[index].key, str(picture)))
        else:
            decoded.append(picture)
            records.append(index)
    return _Batch(torch.from_numpy(np.stack(decoded)) if decoded else None, records, skipped)


@torch.inference_mode()
def _features(piece: Piece, batches: Iterator[_Batch], device: str) -> Extracted:
    found: list[dict[str, list[Tensor]]] = [{name: [] for name in s.dims} for s in piece.sources]
    records: list[int] = []
    skipped: list[Skipped] = []
    for batch in batches:
        records += batch.records
        skipped += batch.skipped
        if batch.images is None:
            continue
        images = batch.images.to(device).float().div_(255)
        for source, of in zip(piece.sources, found, strict=True):
            features = source(images)
            _check_shapes(source, features, len(images))
            for space, rows in of.items():
                # Fetched from a GPU only when the piece is through, so that it need not wait.
                rows.append(features[space])
    values = [
        {space: _joined(rows, source.dims[space]) for space, rows in of.items()}
        for source, of in zip(piece.sources, found, strict=True)
    ]
    return Extracted(values, records, skipped)


def _joined(rows: list[Tensor], dim: int) -> Tensor:
    return torch.cat(rows).float().cpu() if rows else torch.zeros(0, dim)


def _check_shapes(source: ImageSource, found: Mapping[str, Tensor], rows: int) -> None:
    """Check that a source's features of `rows` images have the spaces and lengths it declares.

    Raises:
        InputError: a space is missing, not [rows, D], or of another length; says which.
    """
    for space, dim in source.dims.items():
        if space not in found:
            raise InputError(
                f"{source.name}: gave no features '{space}', though it says it has them; give an "
                "encoder whose feature_dims are those of its output"
            )
        shape = tuple(found[space].shape)
        if len(shape) != 2 or shape[0] != rows:
            raise InputError(
                f"{source.name}, {space}: gave features of shape {list(shape)} for {rows} "
                f"pictures, not [{rows}, {dim}]; give an encoder with one vector for each picture"
            )
        if shape[1] != dim:
            raise InputError(
                f"{source.name}, {space}: gave features of length {shape[1]}, though it says "
                f"{dim}; give an encoder whose feature_dims are those of its output"
            )
