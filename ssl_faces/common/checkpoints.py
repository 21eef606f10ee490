"""Checkpoint files: written atomically, and checked by a hash when read."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_fabric.utilities.cloud_io import _is_local_file_protocol

from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.common.files import regular, replace_file
from ssl_faces.common.finite import check_weights

# A checkpoint of `torch.save` is a zip archive. Its comment, the last bytes of the file, is the
# SHA-256 of all bytes before the digest. A separate file could be lost or belong to another save.
_LABEL = b"sha256 "
_DIGEST = 64
_COMMENT = len(_LABEL) + _DIGEST
_END = b"PK\x05\x06"
_END_SIZE = 22
_CHUNK = 1 << 22


def save_checkpoint(path: Path, content: Any) -> None:
    """`torch.save` to `path`, with a SHA-256. Raises InputError: the folder can't be written, or
    the disk is full; `path` is unchanged."""
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
    """Load a file of `save_checkpoint` or `torch.save` to the CPU, without running code in it.

    Files without a digest (of older versions) are not checked.

    Raises:
        OSError, RuntimeError, pickle.UnpicklingError, EOFError: no such file, or a truncated one.
        ValueError: the digest differs.
    """
    with regular(Path(path)).open("rb") as file:
        if _changed(file):
            raise ValueError("its bytes have changed since it was saved: the copy is damaged")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a training checkpoint without running code in it. Raises InputError: no such file, not a
    whole checkpoint, or weights that are NaN or infinite."""
    try:
        checkpoint = load_checkpoint(path)
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
            raise ValueError("it holds no training state")
    except FileNotFoundError as error:
        raise InputError(
            f"checkpoint {path}: no such file; give a run's checkpoints/last.ckpt"
        ) from error
    except Exception as error:
        raise InputError(
            f"checkpoint {path}: can't be used ({reason_of(error)}); give a run's "
            "checkpoints/last.ckpt"
        ) from error
    check_weights(
        f"checkpoint {path}",
        checkpoint["state_dict"],
        "the file is damaged, or training diverged: give another, or train again",
    )
    return checkpoint


def _changed(file: BinaryIO) -> bool:
    """Whether the file has a wrong digest."""
    left = file.seek(0, io.SEEK_END) - _DIGEST
    if left < _COMMENT + _END_SIZE:
        return False
    file.seek(left - len(_LABEL))
    label, digest = file.read(len(_LABEL)), file.read()
    if label != _LABEL:
        return False
    file.seek(0)
    actual = hashlib.sha256()
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            return True  # truncated meanwhile
        actual.update(chunk)
        left -= len(chunk)
    return actual.hexdigest().encode() != digest


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's checkpoints, written by `save_checkpoint`.

    Lightning writes to the temporary folder first. On another file system it then copies over the
    last good checkpoint, and a kill or a full disk would truncate it.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        if storage_options is not None or not _is_local_file_protocol(path):
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            save_checkpoint(Path(path), checkpoint)
