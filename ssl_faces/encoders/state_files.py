"""Weights made elsewhere: `.safetensors`, and state dicts of `torch.save`. No file runs code."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.common.files import regular
from ssl_faces.common.finite import check_weights
from ssl_faces.encoders.encoder import read_weights

ENDINGS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")

_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile give to all names."""
_WITHIN = ("state_dict", "model_state_dict", "model")
"""Keys of training checkpoints that hold the state dict."""
_LIGHTNING = "pytorch-lightning_version"
_SAVE = "torch.save(module.state_dict(), FILE)"


def read_state(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a file of weights by name, without the names' `module.` and `_orig_mod.`.
    Raises InputError: no such file, or one of another kind; says which, and what to give.

    Args:
        path: `.safetensors`, or any file of `torch.save` with a state dict, also as `state_dict`,
            `model_state_dict` or `model` of a training checkpoint.
        prefix: only the names that begin with it, which is removed.
    """
    _refuse_text(path)
    if path.suffix == ".safetensors":
        missing = f"{path}: no such file; give a file of weights"
        state: Mapping[str, Tensor] = read_weights(path, missing=missing)
    else:
        state = _state_in(path, _unpickled(path), prefix)
    for wrapper in (*_WRAPPERS, *_WRAPPERS):  # in any order
        if state and all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): value for name, value in state.items()}
    if prefix:
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if not part:
            raise InputError(f"{path}: no name begins with '{prefix}'; it has {_parts(state)}")
        state = part
    return dict(state)


def load_state(network: nn.Module, state: Mapping[str, Tensor], name: object, mend: str) -> None:
    """Load all weights. Raises InputError, with the network's `name` and the advice `mend`:
    weights are NaN or infinite, or names or shapes differ."""
    check_weights(name, state, "fetch or save its weights again")
    own = network.state_dict()
    shapes = [
        f"{key} {list(state[key].shape)}, not {list(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    missing, unexpected = [k for k in own if k not in state], [k for k in state if k not in own]
    differences = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if what := "; ".join(f"{kind} {_some(keys)}" for kind, keys in differences.items() if keys):
        raise InputError(f"{name}: the weights given are not this network's ({what}); {mend}")
    network.load_state_dict(state)


def _refuse_text(path: Path) -> None:
    """Raises InputError for pages and pointers that were downloaded instead of a file."""
    with suppress(OSError), regular(path).open("rb") as file:  # reported by the reader
        start = file.read(200).lstrip().lower()
        if start.startswith((b"<!doctype", b"<html", b"<?xml")):
            raise InputError(f"{path}: is a web page, not weights; download the file it links to")
        if start.startswith(b"version https://git-lfs"):
            raise InputError(f"{path}: is a pointer of Git LFS, not weights; run `git lfs pull`")


def _unpickled(path: Path) -> Any:
    try:
        with regular(path).open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a file of weights") from error
    except Exception as error:  # torch raises many types for broken files
        if isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower():
            raise InputError(
                f"{path}: holds objects, such as a whole module, and reading them would run code; "
                f"where its class is installed, save the weights alone: {_SAVE}"
            ) from error
        raise _not_weights(path, reason_of(error)) from error


def _state_in(path: Path, content: Any, prefix: str) -> Mapping[str, Tensor]:
    if _is_state(content):
        return content
    if not isinstance(content, Mapping):
        raise _not_weights(path, f"holds a {type(content).__name__}")
    if _LIGHTNING in content and not prefix:
        raise InputError(
            f"{path}: is a Lightning checkpoint, which holds the weights of a whole "
            f"LightningModule: {_parts(content.get('state_dict', {}))}; name the part with "
            "&prefix=encoder. or the like, or save the network's weights alone; of a run of "
            "ssl-faces, give its folder"
        )
    for key in _WITHIN:
        if _is_state(content.get(key)):
            return content[key]
    raise _not_weights(path, f"holds {_some([str(key) for key in content]) or 'nothing'}")


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    )


def _not_weights(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: not a state dict ({reason}); save one: {_SAVE}")


def _parts(names: Collection[str]) -> str:
    """The first parts of names, such as `encoder., head.`."""
    return _some(list(dict.fromkeys(f"{name.partition('.')[0]}." for name in names)))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
