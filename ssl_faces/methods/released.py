"""Released methods: the networks that edit images, in half precision beside a released encoder.

They are in `method.safetensors`; the card holds the settings to build the method from.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.common.finite import check_weights
from ssl_faces.encoders.encoder import (
    METHOD_FILE,
    check_hash,
    load_encoder,
    read_card,
    read_weights,
)
from ssl_faces.encoders.places import CARD_FILE, released_folder
from ssl_faces.methods.method import Method

REBUILD = "method_rebuilt_from"
"""Key of the card: the method's name and its settings."""


def find_released(name_or_path: str | os.PathLike[str]) -> Path | None:
    """The folder of a released encoder, by path or name; None if there is none.

    Folders of runs don't count, though they hold an encoder.
    """
    path = Path(name_or_path)
    for folder in (path, released_folder(path)):
        if folder is None or (folder / "checkpoints").is_dir():
            continue
        if (folder / CARD_FILE).is_file():
            return folder
    return None


def edit_state(method: Method) -> dict[str, Tensor]:
    """State of the networks beside the encoder that edits need, each tensor once."""
    seen = {value.data_ptr() for value in method.encoder.state_dict().values()}
    prefixes = tuple(f"{name}." for name in method.edit_networks())
    state = {}
    for name, value in method.state_dict().items():
        if name.startswith(prefixes) and value.data_ptr() not in seen:
            seen.add(value.data_ptr())
            state[name] = value
    return state


def settings_from(folder: Path) -> tuple[str, dict[str, Any]]:
    """The name and the settings of a released method. Raises InputError: only an encoder was
    released, or the card is broken."""
    card = read_card(folder)
    kept = card.get(REBUILD)
    if kept is None or not (folder / METHOD_FILE).is_file():
        raise InputError(
            f"{folder}: released as an encoder alone, without the networks that edit pictures; "
            "give a method's own run, or a release of one (ssl-faces release RUN)"
        )
    try:
        name, settings = str(kept["method"]), dict(kept["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / CARD_FILE}: its '{REBUILD}' can't be used ({error}); release it again"
        ) from error
    return name, settings


def read_state(folder: Path) -> dict[str, Tensor]:
    """The weights in a release's `method.safetensors`. Raises InputError: the file is missing or
    broken, or its bytes have changed since the release."""
    path = folder / METHOD_FILE
    state = read_weights(path, "copy or release it again")
    check_weights(path, state, "the file is damaged: copy or release it again")
    check_hash(read_card(folder), path)
    return state


def load_released(folder: Path, method: Method, prefix: str = "") -> None:
    """Load a release's weights into a method; networks for training only are unchanged.

    Args:
        prefix: of the networks' names, if `method` is a part of the released one.

    Raises:
        InputError: names or shapes differ, or a file is broken.
    """
    kept = read_state(folder)
    state = {k.removeprefix(prefix): v for k, v in kept.items() if k.startswith(prefix)}
    wanted = edit_state(method)
    of_encoder = load_encoder(folder).state_dict()
    try:
        own = method.encoder.state_dict()
        method.encoder.load_state_dict({k: v for k, v in of_encoder.items() if k in own})
        if state.keys() != wanted.keys():
            raise RuntimeError(f"{min(state.keys() ^ wanted.keys())} is in one of them only")
        with torch.no_grad():
            for name, value in state.items():
                if value.shape != wanted[name].shape:
                    raise RuntimeError(f"{name} has another shape")
                wanted[name].copy_(value)
    except RuntimeError as error:
        raise InputError(
            f"{folder / METHOD_FILE}: its weights are not those of the {method.name} that "
            f"{CARD_FILE} describes; copy both from the same release"
        ) from error
