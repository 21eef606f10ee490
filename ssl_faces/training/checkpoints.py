"""Checkpoint files: written whole or not at all, and read only if no byte of them has changed."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_fabric.utilities.cloud_io import _is_local_file_protocol

from ssl_faces.common.files import regular, replace_file

# A checkpoint of `torch.save` is a zip archive. Its comment, the last bytes of the file, holds the
# SHA-256 of all bytes before the digest: no second file can be lost or be of another save.
_LABEL = b"sha256 "
_DIGEST = 64
_COMMENT = len(_LABEL) + _DIGEST
_END = b"PK\x05\x06"
_END_SIZE = 22
_PIECE = 1 << 22


def save_checkpoint(path: Path, content: Any) -> None:
    """Write what `torch.save` can write to `path`, with its SHA-256.

    Raises:
        InputError: the folder can't be written, or the disk is full; `path` is as it was.
    """
    stream = io.BytesIO()
    torch.save(content, stream)
    stream.seek(-_END_SIZE, io.SEEK_END)
    end = stream.read()
    assert end[: len(_END)] == _END
    stream.seek(-2, io.SEEK_END)
    stream.write(struct.pack("<H", _COMMENT) + _LABEL)
    stream.write(hashlib.sha256(stream.getbuffer()).hexdigest().encode())
    replace_file(path, stream.getbuffer())


def load_checkpoint(path: Path | str) -> Any:
    """What `save_checkpoint` or `torch.save` wrote, on the CPU; no code in it is run.

    A file without a digest, such as one of an older version, is read without this check.

    Raises:
        OSError, RuntimeError, pickle.UnpicklingError, EOFError: no such file, or not a whole one.
        ValueError: bytes have changed since it was written.
    """
    with regular(Path(path)).open("rb") as file:
        if _changed(file):
            raise ValueError("its bytes have changed since it was saved: the copy is damaged")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def _changed(file: BinaryIO) -> bool:
    """Whether the file has a digest that isn't its own."""
    left = file.seek(0, io.SEEK_END) - _DIGEST
    if left < _COMMENT + _END_SIZE:
        return False
    file.seek(left - len(_LABEL))
    label, digest = file.read(len(_LABEL)), file.read()
    if label != _LABEL:
        return False
    file.seek(0)
    found = hashlib.sha256()
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            return True  # it has just become shorter
        found.update(piece)
        left -= len(piece)
    return found.hexdigest().encode() != digest


class CheckpointFiles(TorchCheckpointIO):
    """Has Lightning write its checkpoints by `save_checkpoint`.

    Lightning's own writes to the temporary folder first. Where that is another file system, it
    then copies over the last good checkpoint, which a kill or a full disk cuts short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        if storage_options is not None or not _is_local_file_protocol(path):
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            save_checkpoint(Path(path), checkpoint)
