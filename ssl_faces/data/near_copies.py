"""Near-copies: training images of the same photograph as a test image.

Data sets that were gathered from the web hold one photograph many times: byte for byte, or in
another crop, size, brightness or compression, or mirrored. About every sixth test image of FER-2013
has a near-copy in the training part. Encoders and probes that memorise are rewarded for them.
"""

from __future__ import annotations

import hashlib
import logging
import os
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.hog import hog
from ssl_faces.data.pictures import BadImage, square
from ssl_faces.data.store.packs import default_cache_root

SIMILAR = 0.6
"""Cosine of standardised HOG descriptors from which two images count as near-copies. On FER-2013
labels agree above it as often as annotators do, and hardly more often than by chance below 0.5."""

SIDE = 48
"""Side of the grey images that are compared."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""

_FORMAT = 1  # raise it when the criterion changes
_BATCH = 512
_log = logging.getLogger(__name__)


class NearCopies(NamedTuple):
    """The near-copies between training and test images.

    Attributes:
        train: bool [N], training images with a near-copy among the test images. Byte-identical
            copies of test images are not among them.
        test: bool [M], test images with such a near-copy among the training images.
        hashes: uint8 [K, 32], SHA-256 of the stored bytes of these training images.
    """

    train: np.ndarray
    test: np.ndarray
    hashes: np.ndarray


class Described:
    """Some images of a face set, `rows` int64 [N] of its records (None: all), with what near-copies
    are found by; computed when needed."""

    def __init__(self, faces: FaceSet, rows: np.ndarray | None = None) -> None:
        self.faces = faces
        self.rows = np.arange(len(faces)) if rows is None else rows
        # By key, so that the parts of a set and the whole of it have one order.
        keys = [faces.records[i].key for i in self.rows.tolist()]
        self.order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the images' keys, places and versions."""
        digest = hashlib.sha256()
        for row in self.rows[self.order].tolist():
            record = self.faces.records[row]
            parts = [record.key.encode(errors="surrogateescape"), self.faces.version(row)]
            if isinstance(record.source, Path):
                parts.append(os.fsencode(record.source.absolute()))
            digest.update(b"\0".join(parts) + b"\n")
        return digest.hexdigest()

    @cached_property
    def hashes(self) -> np.ndarray:
        """uint8 [N, 32], SHA-256 of the stored bytes; zeros where they can't be read."""
        digests = (self.faces.hash_if_readable(row) or bytes(32) for row in self.rows.tolist())
        return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)

    @cached_property
    def descriptors(self) -> tuple[Tensor, np.ndarray]:
        """HOG float32 [K, D] of the images that can be decoded, and their places, int64 [K]."""
        return self._described(mirror=False)

    @cached_property
    def mirrored(self) -> Tensor:
        """`descriptors` of the mirror images."""
        return self._described(mirror=True)[0]

    def _described(self, mirror: bool) -> tuple[Tensor, np.ndarray]:
        descriptors, places = [describe(np.zeros((0, 3, SIDE, SIDE), np.uint8))], []
        starts = range(0, len(self), _BATCH)
        title = f"near-copies: {self.faces.name}"
        for start in tqdm(starts, title, unit=f"x{_BATCH} images", disable=len(starts) < 4):
            rows = self.rows[start : start + _BATCH].tolist()
            images = self.faces.read_many(rows, SIDE, shrink=partial(square, size=SIDE))
            whole = [(i, x) for i, x in enumerate(images, start) if not isinstance(x, BadImage)]
            if whole:
                places += [place for place, _ in whole]
                squares = np.stack([image for _, image in whole])
                descriptors.append(describe(squares[..., ::-1] if mirror else squares))
        return torch.from_numpy(np.concatenate(descriptors)), np.array(places, np.int64)


def describe(images: np.ndarray) -> np.ndarray:
    """HOG descriptors float32 [N, D] of uint8 [N, 3, SIDE, SIDE], of their grey images."""
    grey = np.einsum("bchw,c->bhw", images.astype(np.float32) / 255, np.array(LUMA, np.float32))
    return hog(grey)


def find_near_copies(train: Described, test: Described, cache: Path | None = None) -> NearCopies:
    """The near-copies of test images among training images, found once and kept in a file of
    `cache` (default: the folder of packed faces) until an image changes."""
    key = hashlib.sha256(f"{_FORMAT} {train.fingerprint} {test.fingerprint}".encode()).hexdigest()
    name = f"{train.faces.name}-{test.faces.name}-{key[:16]}.safetensors"
    path = (cache or default_cache_root()) / "near_copies" / name
    kept = _read(path, train, test)
    if kept is not None:
        return kept
    near = _compare(train, test)
    columns = {
        "train": near.train[train.order],
        "test": near.test[test.order],
        "hashes": np.ascontiguousarray(near.hashes),
    }
    try:
        replace_file(path, safetensors.numpy.save(columns))
    except InputError as error:
        _log.warning("near-copies will be looked for again at the next start: %s", error)
    return near


def _read(path: Path, train: Described, test: Described) -> NearCopies | None:
    """The result of an earlier call; None if there is no whole file of it."""
    try:
        columns = safetensors.numpy.load(path.read_bytes())
        both = [np.zeros(len(side), bool) for side in (train, test)]
        for mask, side, name in zip(both, (train, test), ("train", "test"), strict=True):
            mask[side.order] = columns[name]
        hashes = columns["hashes"].reshape(-1, 32)
    except Exception:  # missing or broken: safetensors has an error of its own
        return None
    return NearCopies(both[0], both[1], hashes)


def _compare(train: Described, test: Described) -> NearCopies:
    in_train, in_test = np.zeros(len(train), bool), np.zeros(len(test), bool)
    (bank, places), (tested, tested_places) = train.descriptors, test.descriptors
    tests = {digest.tobytes() for digest in test.hashes}
    other = np.array([train.hashes[i].tobytes() not in tests for i in places], bool)
    bank, places = bank[torch.from_numpy(other)], places[other]
    if len(bank) and len(tested):
        mean, scale = bank.mean(dim=0), bank.std(dim=0, correction=0)
        # Of a constant only rounding is left.
        scale[scale <= 1e-6 * mean.abs().clamp(min=1e-6)] = 1.0

        def directions(descriptors: Tensor) -> Tensor:
            return F.normalize((descriptors - mean) / scale)

        queries = directions(torch.cat((tested, test.mirrored))).T
        for start in range(0, len(bank), _BATCH):
            similar = directions(bank[start : start + _BATCH]) @ queries >= SIMILAR
            in_train[places[start : start + _BATCH]] = similar.any(dim=1).numpy()
            hits = similar.any(dim=0).view(2, -1).any(dim=0).numpy()
            in_test[tested_places[hits]] = True
    return NearCopies(in_train, in_test, np.unique(train.hashes[in_train], axis=0))
