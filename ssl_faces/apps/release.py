"""`ssl-faces release`: an encoder as a small folder that is loaded by its name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from ssl_faces.common.arguments import Parser
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file, write_failure
from ssl_faces.common.outputs import refuse_input
from ssl_faces.encoders.encoder import (
    HASHES,
    METHOD_FILE,
    TRAINED_FILE,
    WEIGHTS_FILE,
    FaceEncoder,
    load_encoder,
    read_card,
    save_encoder,
)
from ssl_faces.encoders.places import CARD_FILE, RELEASED, find_encoder, version_of
from ssl_faces.encoders.saved_probe import probe_file
from ssl_faces.encoders.trained_images import load_trained_images

if TYPE_CHECKING:
    from ssl_faces.methods.method import Method

MOST_BYTES = 16_000_000
"""Largest released file of weights."""

LIMITS = (
    "made for cropped faces of about this input size; its behaviour on other pictures is not known",
    "its figures are from small research sets that do not represent people worldwide: evaluate it "
    "on your own data before you rely on it, also by groups of people",
    "not for deciding about people: predictions of identity, emotion or attributes by a linear "
    "probe are often wrong",
)

LICENCE = "research only, like its training pictures (see `data`)"


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces release`; bad input raises InputError."""
    parser = Parser(
        prog="ssl-faces release",
        description="Write an encoder in half precision, with its card, to a folder that is loaded "
        "by its name; for a run of FaceCycle or the hybrid also the networks that edit faces.",
    )
    add = parser.add_argument
    add("encoder", metavar="RUN", help="folder of the run, or of its encoder")
    add("--name", required=True, help="of the new folder")
    place = "parent folder; default: %(default)s"
    add("--out", type=Path, default=RELEASED, metavar="DIR", help=place)
    replace = "replace the release of that name, with its probe"
    add("--overwrite", action="store_true", help=replace)
    keep = "keep the release of that name as NAME@VERSION, and release the next version"
    add("--new-version", action="store_true", help=keep)
    add("--command", default="", help="the command that made it, for the card")
    add("--licence", default=LICENCE, help="for the card; default: %(default)s")
    add("--limit", action="append", default=[], help="one more for the card; may be repeated")
    add("--encoder-only", action="store_true", help="without the networks that edit faces")
    options = vars(parser.parse_args(arguments))
    options["limits"] = (*LIMITS, *options.pop("limit"))
    print(release(**options))


def release(
    encoder: str | Path,
    name: str,
    out: Path,
    *,
    command: str = "",
    licence: str = LICENCE,
    limits: Sequence[str] = LIMITS,
    encoder_only: bool = False,
    overwrite: bool = False,
    new_version: bool = False,
) -> str:
    """Write `out/name` with weights in half precision and the encoder's card; returns a summary.

    Weights of layers become float16; vectors (biases, normalisation) keep their precision. If
    `encoder` is a run whose checkpoint `load_method` can load, the networks of its edits go to
    `method.safetensors`, and `load_method(name)` loads them.

    Args:
        encoder_only: without these networks.
        overwrite: replace a release of that name: its encoder, networks and probes.
        new_version: keep a release of that name as `NAME@VERSION`; the new one is the next version.

    Raises:
        InputError: no such encoder, an invalid name, an existing folder of that name, a weight
            beyond float16, a file larger than `MOST_BYTES`, or a checkpoint that does not match the
            encoder.
    """
    if not name.replace("-", "_").isidentifier():
        raise InputError(f"--name: '{name}'; give letters, digits, - and _, a letter first")
    directory = out / name
    _check_folder(directory, encoder, overwrite, new_version)
    released = (directory / CARD_FILE).is_file()
    version = version_of(read_card(directory)) + new_version if released else 1
    whole, half = load_encoder(encoder), load_encoder(encoder)
    weights = halved(half.state_dict())
    _check_size(encoder, weights, "encoder", "train a narrower one (a lower --model.encoder.width)")
    half.load_state_dict(weights)
    method = None if encoder_only else _method_of(Path(encoder), whole)
    card = {
        key: value
        for key, value in whole.card.items()
        if key not in ("encoder", "config", "input_size", "feature_dims", "parameters", HASHES)
    }
    added: dict[str, Any] = {
        "name": name,
        "weights": "float16, vectors float32",
        "largest_change_by_float16": change(whole, half),
        "licence": licence,
        "limits": list(limits),
    }
    if version > 1:
        added["version"] = version
    if command:
        added["command"] = command
    settings = card.get("method_settings")
    if isinstance(settings, dict):
        card["method_settings"] = {key: _named(value) for key, value in settings.items()}
    networks_text = ""
    files: dict[str, bytes] = {}  # beside the encoder
    if load_trained_images(encoder) is not None:
        files[TRAINED_FILE] = (find_encoder(encoder) / TRAINED_FILE).read_bytes()
    if method is not None:
        from ssl_faces.methods.loading import rebuild_settings
        from ssl_faces.methods.released import REBUILD, edit_state

        networks = halved(edit_state(method))
        _check_size(encoder, networks, "method", "leave its networks out by --encoder-only")
        added[REBUILD] = rebuild_settings(method)
        added["largest_change_of_edits_by_float16"] = _change_of_edits(method, half, networks)
        files[METHOD_FILE] = save(networks)
        networks_text = f", and {_bytes(networks) / 1e6:.1f} MB that edit pictures (--with {name})"
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{name}.", dir=out) as place:
            for file, content in files.items():
                replace_file(Path(place, file), content)
            save_encoder(half, place, added | card | {HASHES: hashes}, weights)
            if new_version:
                directory.rename(_kept(directory))
            _move(Path(place), directory)
    except OSError as error:
        raise InputError(f"{directory}: {write_failure(error)}") from error
    written = (directory / WEIGHTS_FILE).stat().st_size
    return (
        f"{directory}: {written / 1e6:.1f} MB{networks_text}; "
        f"score it with linear-probe run --encoder {name}"
    )


def _kept(directory: Path) -> Path:
    """The folder that keeps the version of a release."""
    return directory.with_name(f"{directory.name}@{version_of(read_card(directory))}")


def _check_folder(directory: Path, encoder: str | Path, overwrite: bool, new_version: bool) -> None:
    """Raises InputError if a release must not be written to a folder."""
    source = find_encoder(encoder)
    # The checkpoint and probes of a run are inputs, too.
    refuse_input(directory, [encoder, source, source.parent], "--name")
    is_release = (directory / CARD_FILE).is_file()
    if new_version and (overwrite or not is_release or _kept(directory).exists()):
        raise InputError(
            f"--new-version: needs a release {directory}, without --overwrite and without "
            "a folder of its version beside it"
        )
    if not os.path.lexists(directory):
        return
    if not is_release:
        if directory.is_dir() and not any(directory.iterdir()):
            return
        raise InputError(f"{directory}: exists and is no release; give another --name or --out")
    if not overwrite and not new_version:
        raise InputError(
            f"{directory}: there is a release of that name; give another --name, --overwrite to "
            "replace it and its probe, or --new-version to keep it"
        )


def _move(place: Path, directory: Path) -> None:
    """Move the files of a release to its folder, replacing those of another release.

    A folder without a card is no release, so the card is removed first and added last.
    """
    directory.mkdir(exist_ok=True)
    (directory / CARD_FILE).unlink(missing_ok=True)
    for name in (METHOD_FILE, TRAINED_FILE, probe_file("*")):
        for old in directory.glob(name):
            old.unlink()
    for name in (METHOD_FILE, TRAINED_FILE, WEIGHTS_FILE, CARD_FILE):
        if (place / name).exists():
            os.replace(place / name, directory / name)


def _bytes(weights: Mapping[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in weights.values())


def _check_size(encoder: str | Path, weights: Mapping[str, Tensor], what: str, mend: str) -> None:
    if _bytes(weights) > MOST_BYTES:
        raise InputError(
            f"{encoder}: {_bytes(weights) / 1e6:.1f} MB in half precision, and a released {what} "
            f"has at most {MOST_BYTES / 1e6:g}; {mend}"
        )


def _method_of(run: Path, encoder: FaceEncoder) -> Method | None:
    """The method of a run, if it edits faces; InputError if its checkpoint is broken, or of another
    step than its encoder."""
    from ssl_faces.methods.loading import editable, load_method

    checkpoint = run / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file() or not editable(checkpoint):
        return None
    method = load_method(run)
    state = method.encoder.state_dict()
    for name, value in encoder.state_dict().items():
        if name not in state or not torch.equal(value, state[name]):
            raise InputError(
                f"{run}: its encoder/ and its checkpoint are not of one step; end the run "
                "(ssl-faces fit … --ckpt_path last), or leave its networks out by --encoder-only"
            )
    return method


def _named(value: Any) -> Any:
    """The last parts of a path on the training machine; other values unchanged."""
    if isinstance(value, str) and Path(value).is_absolute():
        return "/".join(Path(value).parts[-3:])
    return value


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by name, float16 if they have two dimensions or more; InputError beyond its range."""
    weights = {}
    for name, value in state.items():
        if value.is_floating_point() and value.ndim >= 2:
            value = value.half()
            if not value.isfinite().all():
                raise InputError(f"{name} has weights that float16 can't hold; train it again")
        weights[name] = value.contiguous()
    return weights


@torch.no_grad()
def change(a: FaceEncoder, b: FaceEncoder) -> dict[str, float]:
    """By feature space: the largest distance between features of a and b, as a share of their mean
    distance from the mean, over 64 rendered faces."""
    from ssl_faces.rendered import RenderedFaces

    faces = RenderedFaces(64, 64, "all", size=a.input_size).render_batch(range(64)).float() / 255
    of_a, of_b = a(faces), b(faces)
    changes = {}
    for space, features in of_a.items():
        length = (features - features.mean(0)).norm(dim=1).mean().clamp(min=1e-12)
        changes[space] = round(float((features - of_b[space]).norm(dim=1).max() / length), 6)
    return changes


def _change_of_edits(
    method: Method, half: FaceEncoder, networks: Mapping[str, Tensor]
) -> dict[str, float]:
    """By edit: the largest change of a pixel of 16 rendered faces by half precision, as a share of
    the range; `method` has the halved weights afterwards."""
    from ssl_faces.methods.method import TWO_FACE_EDITS
    from ssl_faces.methods.released import edit_state
    from ssl_faces.rendered import RenderedFaces

    faces = RenderedFaces(16, 16, "all", size=method.picture_size).render_batch(range(16))
    images = faces.float() / 255

    def pictures() -> dict[str, Tensor]:
        return {
            name: edit(images, images.roll(1, 0)) if name in TWO_FACE_EDITS else edit(images)
            for name, edit in method.edits().items()
        }

    exact = pictures()
    method.encoder.load_state_dict(half.state_dict())
    with torch.no_grad():
        for name, value in edit_state(method).items():
            value.copy_(networks[name])
    return {
        name: round(float((images - exact[name]).abs().max()), 6)
        for name, images in pictures().items()
    }
