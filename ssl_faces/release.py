"""`ssl-faces release`: a trained encoder as a small folder that others load by its name."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from ssl_faces.encoder import (
    CARD_FILE,
    RELEASED,
    WEIGHTS_FILE,
    FaceEncoder,
    load_encoder,
    save_encoder,
)
from ssl_faces.errors import InputError

MOST_BYTES = 16_000_000
"""Largest file of weights that is released."""

LIMITS = (
    "made for cropped faces of about this input size; what it tells of other pictures is not known",
    "its figures are of small research sets, whose people are not those of the world: score it on "
    "your own before you rest on it, by groups of people too",
    "not for deciding about people: identity, emotion or attributes read off a face by a linear "
    "probe are often wrong",
)

LICENCE = "research only, as the pictures that it was trained on are (see `data`)"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


def run(arguments: Sequence[str]) -> None:
    """The command.

    Raises:
        InputError: wrong arguments, no such encoder, or one that is too large.
    """
    parser = _Parser(
        prog="ssl-faces release",
        description="Write an encoder in half precision, with its card, to a folder that is loaded "
        "by its name.",
    )
    parser.add_argument("encoder", metavar="RUN", help="folder of the run, or of its encoder")
    parser.add_argument("--name", required=True, help="of the new folder")
    parser.add_argument(
        "--out", type=Path, default=RELEASED, metavar="DIR", help="its place; default: %(default)s"
    )
    parser.add_argument("--command", default="", help="what made it, for the card")
    parser.add_argument("--licence", default=LICENCE, help="for the card; default: %(default)s")
    parser.add_argument(
        "--limit", action="append", default=[], help="one more for the card; may be repeated"
    )
    given = parser.parse_args(arguments)
    told = release(
        given.encoder,
        given.name,
        given.out,
        command=given.command,
        licence=given.licence,
        limits=(*LIMITS, *given.limit),
    )
    print(told)


def release(
    encoder: str | Path,
    name: str,
    out: Path,
    *,
    command: str = "",
    licence: str = LICENCE,
    limits: Sequence[str] = LIMITS,
) -> str:
    """Write `out/name` with weights in half precision and the encoder's card; what was written,
    in words.

    Weights of layers become float16; vectors (biases, normalisation) stay as they are.

    Raises:
        InputError: no such encoder, a name that is no folder's, a weight that float16 can't hold,
            or a file larger than `MOST_BYTES`.
    """
    if not name.replace("-", "_").isidentifier():
        raise InputError(f"--name: '{name}'; give letters, digits, - and _, a letter first")
    whole, half = load_encoder(encoder), load_encoder(encoder)
    weights = halved(half)
    size = sum(value.numel() * value.element_size() for value in weights.values())
    if size > MOST_BYTES:
        raise InputError(
            f"{encoder}: {size / 1e6:.1f} MB in half precision, and a released encoder has at most "
            f"{MOST_BYTES / 1e6:g}; train a narrower one (a lower --model.encoder.width)"
        )
    half.load_state_dict(weights)
    card = {
        key: value
        for key, value in whole.card.items()
        if key not in ("encoder", "config", "input_size", "feature_dims", "parameters")
    }
    added: dict[str, Any] = {
        "name": name,
        "weights": "float16, vectors float32",
        "largest_change_by_float16": change(whole, half),
        "licence": licence,
        "limits": list(limits),
    }
    if command:
        added["command"] = command
    settings = card.get("method_settings")
    if isinstance(settings, dict):
        card["method_settings"] = {key: _named(value) for key, value in settings.items()}
    directory = save_encoder(half, out / name, added | card, weights)
    written = (directory / WEIGHTS_FILE).stat().st_size
    return f"{directory}: {written / 1e6:.1f} MB; score it with linear-probe run --encoder {name}"


def _named(value: Any) -> Any:
    """A path on the machine that it was trained on as its last parts, all else as it is."""
    if isinstance(value, str) and Path(value).is_absolute():
        return "/".join(Path(value).parts[-3:])
    return value


def halved(encoder: FaceEncoder) -> dict[str, Tensor]:
    """The state of an encoder, float16 where it has two dimensions or more.

    Raises:
        InputError: a weight that float16 can't hold.
    """
    found = {}
    for name, value in encoder.state_dict().items():
        if value.is_floating_point() and value.ndim >= 2:
            value = value.half()
            if not value.isfinite().all():
                raise InputError(f"{name} has weights that float16 can't hold; train it again")
        found[name] = value.contiguous()
    return found


@torch.no_grad()
def change(a: FaceEncoder, b: FaceEncoder) -> dict[str, float]:
    """By feature space: the largest distance between features of a and b of a face, as a share of
    their length from the mean; over 64 rendered faces."""
    from ssl_faces.data.rendered import RenderedFaces

    faces = RenderedFaces(64, 64, "all", size=a.input_size).render_batch(range(64)).float() / 255
    of_a, of_b = a(faces), b(faces)
    found = {}
    for space, features in of_a.items():
        length = (features - features.mean(0)).norm(dim=1).mean().clamp(min=1e-12)
        found[space] = round(float((features - of_b[space]).norm(dim=1).max() / length), 6)
    return found


def update_card(directory: Path, **added: Any) -> None:
    """Set keys of the card in a folder.

    Raises:
        InputError: the file can't be written.
    """
    from ssl_faces.files import replace_file

    path = directory / CARD_FILE
    card = json.loads(path.read_text()) | added
    replace_file(path, (json.dumps(card, indent=2) + "\n").encode())
