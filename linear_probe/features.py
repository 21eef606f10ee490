"""Frozen features: every picture through every encoder once, kept on disk from then on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from ssl_faces import InputError
from ssl_faces.data import BadPicture, FaceSet, Skipped
from ssl_faces.data.packing import square
from ssl_faces.files import replace_file

_log = logging.getLogger(__name__)
_FORMAT = 1  # part of the cache key: raise it when features of the same weights would change
_MOST_BYTES = 4 << 30  # of features in memory at once


Precision = Literal["32", "bf16"]


class Encoder(Protocol):
    """What a frozen encoder must offer; `ssl_faces.load_encoder` gives one."""

    encoder_name: str
    input_size: int
    config: dict[str, Any]
    feature_dims: dict[str, int]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Features [B, D] by space, of RGB images float [B, 3, S, S] in [0, 1]."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]: ...


class Source(Protocol):
    """Where features come from: an encoder or a baseline.

    Attributes:
        name: how tables call it.
        fingerprint: SHA-256 (hex) of all that decides its features.
        input_size: side of the pictures it takes.
        dims: length of the features of each space.
    """

    name: str
    input_size: int
    dims: dict[str, int]

    @property
    def fingerprint(self) -> str: ...

    def to(self, device: str) -> None: ...

    def __call__(self, images: Tensor) -> dict[str, Tensor]: ...


class EncoderSource:
    """A frozen encoder as a source.

    Args:
        name: how tables call it.
        encoder: the encoder.
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
        for name, value in sorted(self.encoder.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            data = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            digest.update(data.tobytes())
        if self.precision != "32":
            digest.update(self.precision.encode())
        return digest.hexdigest()

    def to(self, device: str) -> None:
        if isinstance(self.encoder, torch.nn.Module):
            self.encoder.to(device)
            self.encoder.to(memory_format=torch.channels_last)  # convolutions are faster so

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        with torch.autocast(images.device.type, torch.bfloat16, self.precision == "bf16"):
            features = self.encoder(images)
        return {space: features[space] for space in self.dims}


class Pictures:
    """Some pictures of a face set, and what identifies their content.

    Attributes:
        faces: the face set.
        indices: int64 [N], which of its records.
        hashes: SHA-256 of each picture's stored bytes; empty where they can't be read.
    """

    def __init__(self, faces: FaceSet, indices: np.ndarray) -> None:
        self.faces = faces
        self.indices = indices
        self.hashes = [self._hash(int(index)) for index in indices]

    def __len__(self) -> int:
        return len(self.indices)

    def _hash(self, index: int) -> bytes:
        try:
            return self.faces.content_hash(index)
        except BadPicture:
            return b""

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


@dataclass(frozen=True)
class Features:
    """Frozen features of one space.

    Attributes:
        values: float32 [N, D].
        records: int64 [N], which record of the face set each row is of; those whose picture can't
            be decoded have no row.
    """

    values: Tensor
    records: np.ndarray


class FeatureCache:
    """Features of some pictures from some sources, computed where they are not in `folder` yet.

    Args:
        folder: where features are kept, one safetensors file for each source, pictures and space.
        batch_size: pictures given to an encoder at once.
        device: where encoders run.
    """

    def __init__(self, folder: Path, batch_size: int = 256, device: str = "cpu") -> None:
        self.folder = folder
        self.batch_size = batch_size
        self.device = device

    def fill(self, sources: Sequence[Source], pictures: Pictures) -> list[Skipped]:
        """Make sure that `read` finds the features of every source; tells what was skipped.

        Each picture is decoded once and goes through every source that lacks its features. A
        failed or interrupted run leaves no half-written file.

        Raises:
            InputError: no picture can be decoded, or the features can't be written.
        """
        missing = [s for s in sources if not self._has(s, pictures)]
        for group in _groups(missing, len(pictures)):
            self._extract(group, pictures)
        # Not only of what was extracted now: a second run must list them too.
        skipped: dict[str, str] = {}
        for source in sources:
            for space in source.dims:
                skipped.update(self._about(source, pictures, space)["skipped"])
        return [Skipped(key, reason) for key, reason in skipped.items()]

    def read(self, source: Source, pictures: Pictures, space: str) -> Features:
        """The features of one space, after `fill`.

        Raises:
            InputError: the file can't be read.
        """
        path = self._path(source, pictures, space)
        try:
            with safe_open(path, framework="pt") as file:
                return Features(file.get_tensor("features"), file.get_tensor("records").numpy())
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: can't be read ({error}); delete it, run again") from error

    def _path(self, source: Source, pictures: Pictures, space: str) -> Path:
        text = f"{_FORMAT} {source.fingerprint} {source.input_size} {pictures.fingerprint}"
        name = hashlib.sha256(text.encode()).hexdigest()[:20]
        readable = "".join(c if c.isalnum() else "_" for c in space)
        return self.folder / f"{pictures.faces.name}-{name}-{readable}.safetensors"

    def _about(self, source: Source, pictures: Pictures, space: str) -> dict[str, Any]:
        with safe_open(self._path(source, pictures, space), framework="pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["about"])
        return about

    def _has(self, source: Source, pictures: Pictures) -> bool:
        for space, dim in source.dims.items():
            path = self._path(source, pictures, space)
            if not path.exists():
                return False
            try:
                with safe_open(path, framework="pt") as file:
                    rows, columns = file.get_slice("features").get_shape()
                    whole = columns == dim and [rows] == file.get_slice("records").get_shape()
                    skipped = json.loads(file.metadata()["about"])["skipped"]
                whole = whole and rows + len(skipped) == len(pictures)
            except (OSError, SafetensorError, ValueError, KeyError, TypeError):
                whole = False
            if not whole:
                _log.warning("%s is damaged: its features are computed anew", path)
                return False
        return True

    def _extract(self, sources: Sequence[Source], pictures: Pictures) -> None:
        faces = pictures.faces
        values = {
            (source.name, space): np.empty((len(pictures), dim), dtype=np.float32)
            for source in sources
            for space, dim in source.dims.items()
        }
        records: list[int] = []
        skipped: list[Skipped] = []
        for source in sources:
            source.to(self.device)
        at_least = max(source.input_size for source in sources)
        with tqdm(
            total=len(pictures), desc=f"features of {faces.name}", unit="faces", mininterval=1
        ) as bar:
            for start in range(0, len(pictures), self.batch_size):
                piece = pictures.indices[start : start + self.batch_size].tolist()
                decoded = []
                before = len(records)
                for index, picture in zip(
                    piece, faces.read_many(piece, at_least=at_least), strict=True
                ):
                    if isinstance(picture, BadPicture):
                        skipped.append(Skipped(faces.records[index].key, str(picture)))
                    else:
                        decoded.append(picture)
                        records.append(index)
                if decoded:
                    for source in sources:
                        for space, found in self._features(source, decoded).items():
                            values[source.name, space][before : len(records)] = found
                bar.update(len(piece))
        if not records:
            raise InputError(
                f"{faces.name}: none of its {len(pictures)} pictures can be decoded "
                f"({skipped[0].key}: {skipped[0].reason}); check that they are whole"
            )
        about = json.dumps({"skipped": [tuple(item) for item in skipped]})
        for source in sources:
            for space in source.dims:
                # Popped, so that the copy in the file's bytes is the only second one.
                rows = torch.from_numpy(values.pop((source.name, space))[: len(records)])
                tensors = {"features": rows, "records": torch.tensor(records)}
                data = save(tensors, metadata={"about": about})
                replace_file(self._path(source, pictures, space), data)

    @torch.inference_mode()
    def _features(self, source: Source, decoded: list[np.ndarray]) -> dict[str, np.ndarray]:
        size = source.input_size
        images = torch.from_numpy(np.stack([square(picture, size) for picture in decoded]))
        found = source(images.to(self.device).float().div_(255))
        return {space: value.float().cpu().numpy() for space, value in found.items()}


def _groups(sources: Sequence[Source], pictures: int) -> Iterator[list[Source]]:
    """Sources that are extracted together, as many as fit in memory."""
    group: list[Source] = []
    size = 0
    for source in sources:
        more = 4 * pictures * sum(source.dims.values())
        if group and size + more > _MOST_BYTES:
            yield group
            group, size = [], 0
        group.append(source)
        size += more
    if group:
        yield group
