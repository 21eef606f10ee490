"""The interface of encoders, and how they are saved and loaded.

A saved encoder is a folder with `encoder.safetensors` (the weights) and `card.json` (architecture,
training, data, the weights' SHA-256). Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import locked, regular, replace_file, replacing, write
from ssl_faces.common.finite import check_weights
from ssl_faces.common.registries import import_modules
from ssl_faces.encoders.places import CARD_FILE, find_encoder, read_card_file

WEIGHTS_FILE = "encoder.safetensors"
METHOD_FILE = "method.safetensors"
TRAINED_FILE = "trained_images.safetensors"
HASHES = "sha256"
"""Key of the card: the SHA-256 of each file of weights, by the file's name."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_STARTED = ("method", "steps", "pairs_seen", "data", "uses_identity_labels")
"""Keys of a card that the card of an encoder that started from it repeats."""

_KINDS: dict[str, type[FaceEncoder]] = {}
"""By `encoder_name`; cards can name only these, so that a foreign card can't import other code."""


@dataclass(frozen=True)
class Start:
    """Weights to start from.

    Attributes:
        name: as given: a released name, a folder, or a file of ours (`.safetensors`, `.ckpt`).
        state: tensors by name, of the encoder.
        folder: of the encoder whose weights they are, with its card; None if it is not there.
    """

    name: str
    state: dict[str, Tensor]
    folder: Path | None

    def card(self) -> dict[str, Any]:
        """What the card of an encoder that started from it has about it."""
        card = {} if self.folder is None else read_card(self.folder)
        return {"encoder": self.name, **{key: card[key] for key in _STARTED if key in card}}


class FaceEncoder(nn.Module, ABC):
    """Images to named feature vectors, with resizing and normalisation inside.

    Attributes:
        encoder_name: how cards call this class. A subclass with a name, in a file of
            `ssl_faces/networks`, is registered.
        config: the arguments that rebuild it, plain JSON values.
        input_size: side to which images are resized.
        feature_dims: length of the vector of each feature space.
        card: the card of the weights (empty for a new encoder).
        place: the folder that the weights were loaded from; None for a new encoder.
        start: the weights that a new encoder starts from; None if they are random.
    """

    encoder_name: str
    start: Start | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "encoder_name" in cls.__dict__:
            _KINDS[cls.encoder_name] = cls

    def __init__(self, input_size: int, config: dict[str, Any]) -> None:
        super().__init__()
        self.feature_dims: dict[str, int] = {}
        self.input_size = input_size
        self.config = config
        self.card: dict[str, Any] = {}
        self.place: Path | None = None
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images: Tensor, spaces: Collection[str] | None = None) -> dict[str, Tensor]:
        """Feature vectors [B, feature_dims[name]] of RGB images float [B, 3, S, S] in [0, 1].

        Args:
            spaces: feature spaces to compute; None is all.
        """
        wanted = self.feature_dims if spaces is None else spaces
        features = self.features(self.normalise(self.resize(images)), wanted)
        return {space: features[space] for space in wanted}

    def untrained(self, seed: int = 0) -> FaceEncoder:
        """The same architecture with random weights of a seed, frozen, in eval mode."""
        card = {"encoder": self.encoder_name, "config": self.config}
        return _build(card, Path("encoder"), seed).eval().requires_grad_(False)

    @abstractmethod
    def features(self, x: Tensor, spaces: Collection[str]) -> dict[str, Tensor]:
        """Feature vectors of normalised images [B, 3, input_size, input_size], at least of the
        given spaces."""

    def resize(self, images: Tensor) -> Tensor:
        size = (self.input_size, self.input_size)
        if images.shape[-2:] == size:
            return images
        return F.interpolate(images, size=size, mode="bilinear", antialias=True)

    def normalise(self, images: Tensor) -> Tensor:
        """[0, 1] to ImageNet-normalised."""
        return (images - self.mean) / self.std

    def denormalise(self, x: Tensor) -> Tensor:
        """ImageNet-normalised to [0, 1], clamped."""
        return (x.float() * self.std + self.mean).clamp(0, 1)


def save_encoder(
    encoder: FaceEncoder,
    directory: Path | str,
    card: dict[str, Any],
    state: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write the weights and the card to `directory`, each file whole; returns the directory.

    Args:
        encoder: from a method, or a new one.
        directory: the folder, which is made.
        card: plain JSON values; `encoder`, `config`, `input_size`, `feature_dims`, `parameters` and
            the weights' SHA-256 are added.
        state: weights to write instead of the encoder's, such as those of another precision.

    Raises:
        InputError: weights are NaN or infinite, the encoder's class is not registered, or the
            directory can't be written.
    """
    from safetensors.torch import save

    directory = Path(directory)
    if encoder.encoder_name not in _KINDS:
        raise InputError(
            f"{directory}: an encoder of kind '{encoder.encoder_name}' can't be built again from a "
            "card; save its weights by torch.save(network.state_dict(), FILE)"
        )
    state = encoder.state_dict() if state is None else state
    check_weights(directory, state, "train again, with a lower learning rate")
    weights = {name: value.contiguous() for name, value in state.items()}
    card = {
        **card,
        "encoder": encoder.encoder_name,
        "config": encoder.config,
        "input_size": encoder.input_size,
        "feature_dims": encoder.feature_dims,
        "parameters": sum(p.numel() for p in encoder.parameters()),
    }
    data = save(weights)
    card[HASHES] = {**card.get(HASHES, {}), WEIGHTS_FILE: hashlib.sha256(data).hexdigest()}
    card_text = json.dumps(card, indent=2) + "\n"
    # The card is renamed last, so that a folder with a card has its weights. It is written first,
    # so that a full disk leaves both files unchanged.
    with replacing(directory / CARD_FILE) as temporary:
        write(temporary, card_text.encode())
        replace_file(directory / WEIGHTS_FILE, data)
    return directory


def load_encoder(
    name_or_path: str | os.PathLike[str], *, untrained: bool = False, seed: int = 0
) -> FaceEncoder:
    """A saved encoder in eval mode, with its `card`.

    Args:
        name_or_path: folder with `encoder.safetensors` and `card.json`, a run folder that has
            one as `encoder/`, or the name of a released encoder (a folder of `checkpoints/`);
            `NAME@1` is the first version of a release, `NAME` the newest.
        untrained: the same architecture with random weights instead, as a baseline.
        seed: of the random weights.

    Raises:
        InputError: no such encoder, files that are not one, or weights that are NaN or infinite.
    """
    directory = find_encoder(name_or_path)
    card = read_card_file(directory / CARD_FILE)
    encoder = _build(card, directory / CARD_FILE, seed)
    encoder.card = card
    if not untrained:
        _load_weights(encoder, directory / WEIGHTS_FILE)
        check_hash(card, directory / WEIGHTS_FILE)
        encoder.place = directory
    return encoder.eval().requires_grad_(False)


def check_hash(card: Mapping[str, Any], path: Path) -> None:
    """Raises InputError if a file of weights differs from its SHA-256 in the card, if any."""
    hashes = card.get(HASHES)
    expected = hashes.get(path.name) if isinstance(hashes, dict) else None
    if expected is None:
        return  # the card of an older version
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise InputError(
                f"{path}: its bytes are not those that {CARD_FILE} beside it has the SHA-256 of; "
                "copy both again from where they were saved"
            )


def is_whole(directory: Path) -> bool:
    """Whether the folder holds an encoder whose weights match its card."""
    try:
        check_hash(read_card_file(directory / CARD_FILE), directory / WEIGHTS_FILE)
    except (InputError, OSError):
        return False
    return True


def read_card(name_or_path: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of a saved encoder, named as in `load_encoder`. Raises InputError: no such encoder,
    or a file that is no card."""
    return read_card_file(find_encoder(name_or_path) / CARD_FILE)


def _build(card: dict[str, Any], path: Path, seed: int) -> FaceEncoder:
    name = card.get("encoder")
    import_modules("ssl_faces.networks")
    if not isinstance(name, str) or name not in _KINDS:
        raise InputError(
            f"{path}: unknown encoder '{name}'; this version knows {', '.join(sorted(_KINDS))}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            encoder = _KINDS[name](**card["config"])
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{path}: its 'config' does not fit encoder '{name}' ({error}); "
                "save the encoder again with save_encoder"
            ) from error
    return encoder


def read_weights(
    path: Path, mend: str = "copy or save it again", missing: str = ""
) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises InputError: the file is missing (with the message
    `missing`) or broken (with the advice `mend`)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = load_file(regular(path))
    except (SafetensorError, OSError) as error:
        if missing and isinstance(error, FileNotFoundError):
            raise InputError(missing) from error
        raise InputError(f"{path}: not a whole safetensors file ({error}); {mend}") from error
    return state


def _load_weights(encoder: FaceEncoder, path: Path) -> None:
    state = read_weights(path, missing=f"{path}: missing beside its card; copy it there")
    check_weights(path, state, "the file is damaged, or training diverged: copy or train it again")
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{path}: its weights are not those of the encoder that {CARD_FILE} describes; "
            "copy both from the same run"
        ) from error


def update_card(directory: Path, **added: Any) -> None:
    """Set keys of the card in a folder; InputError if it can't be written."""
    path = directory / CARD_FILE
    with locked(path):
        card = json.loads(path.read_text()) | added
        replace_file(path, (json.dumps(card, indent=2) + "\n").encode())
