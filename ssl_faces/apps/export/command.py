"""`ssl-faces export`: write an encoder to an ONNX file or a torch program, checked on faces."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_faces.common.arguments import Parser, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.outputs import add_overwrite, check_output
from ssl_faces.encoders.onnx_files import CALIBRATED, OPSET, OPSETS

ENDINGS = (".onnx", ".pt2")
BESIDE = (".md", ".json")
"""What is added to the name of an 8-bit file for the files on what that costs."""

INPUT_IN_WORDS = (
    "images: float32 [B, 3, {size}, {size}], RGB in [0, 1], any B; cropped faces; size, mean and "
    "standard deviation are dealt with inside"
)

KEPT = (
    *("licence", "limits", "data", "left_out", "uses_identity_labels", "method", "command"),
    *("commit", "steps", "pairs_seen", "seed", "precision", "weights", "encoder", "config"),
    "parameters",
)
"""Keys of the encoder's card that go into the file; its figures are too long for it."""


def run(arguments: Sequence[str]) -> None:
    """The command.

    Raises:
        InputError: wrong arguments, no such encoder, one that can't be exported, or a file whose
            features are not torch's; nothing is written.
    """
    parser = Parser(
        prog="ssl-faces export",
        description="Write an encoder to one file that runs without this workbench, and check it "
        "on faces: its features must be torch's to 1e-4 of their scale.",
    )
    parser.add_argument("encoder", metavar="ENCODER", help="a released name, or folder of a run")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="FILE.onnx, or FILE.pt2 for torch"
    )
    add_overwrite(parser)
    parser.add_argument("--spaces", metavar="S,S", help="feature spaces to keep; default: all")
    parser.add_argument(
        "--opset",
        type=whole(OPSETS[0], OPSETS[-1]),
        help=f"of ONNX, {OPSETS[0]} to {OPSETS[-1]}; default: {OPSET}",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help=f"8 bits, calibrated on {CALIBRATED} training pictures; what that costs is measured, "
        "and written beside the file as FILE.onnx.md and .json",
    )
    parser.add_argument(
        "--data",
        metavar="DIR|rendered",
        help="faces to check on, calibrate and score by; default: $SSL_FACES_DATA, else "
        "~/.cache/ssl-faces/data, else rendered ones",
    )
    parser.add_argument(
        "--faces",
        type=whole(32),
        default=128,
        metavar="N",
        help="to check on; default: %(default)s",
    )
    parser.add_argument(
        "--max-train",
        type=whole(100),
        default=5000,
        metavar="N",
        help="training pictures of the probe that tells what 8 bits cost; default: %(default)s",
    )
    given = parser.parse_args(arguments)
    _check(given)
    for line in export(
        given.encoder,
        given.out,
        spaces=None if given.spaces is None else given.spaces.split(","),
        opset=OPSET if given.opset is None else given.opset,
        int8=given.int8,
        data=given.data,
        faces=given.faces,
        max_train=given.max_train,
    ):
        print(line)


def _check(given: argparse.Namespace) -> None:
    out: Path = given.out
    if out.suffix not in ENDINGS:
        raise InputError(f"--out {out}: its ending tells the format; give FILE.onnx or FILE.pt2")
    if out.suffix != ".onnx":
        for option in ("opset", "int8"):
            if getattr(given, option):
                raise InputError(f"--{option} is of ONNX: leave it out, or give --out FILE.onnx")
    beside = [out.with_name(f"{out.name}{ending}") for ending in BESIDE] if given.int8 else []
    for path in (out, *beside):
        check_output(path, given.overwrite, [given.encoder])


def export(
    encoder: str,
    out: Path,
    *,
    spaces: Sequence[str] | None = None,
    opset: int = OPSET,
    int8: bool = False,
    data: str | None = None,
    faces: int = 128,
    max_train: int = 5000,
) -> list[str]:
    """Write the encoder to `out`, whose ending tells the format; what was done, line by line.

    Args:
        spaces: feature spaces to keep; None is all.
        int8: in 8 bits; what that costs is measured and written beside it.
        data: folder of faces, or `rendered`; None is the usual folder.
        faces: how many the file is checked on.
        max_train: training pictures of the probe that tells what 8 bits cost.

    Raises:
        InputError: see `run`.
    """
    # Late, so that `--help` needs no torch.
    from ssl_faces.apps.export.faces import data_named, some_faces
    from ssl_faces.apps.export.formats import (
        Program,
        as_onnx,
        onnx_features,
        pt2_features,
        with_card,
    )
    from ssl_faces.apps.export.loss import in_words, measured_loss
    from ssl_faces.apps.export.parity import parity
    from ssl_faces.encoders.encoder import load_encoder
    from ssl_faces.encoders.onnx_files import need_onnx, quantised

    if out.suffix == ".onnx":
        need_onnx(f"--out {out}")
    network = load_encoder(encoder)
    kept = _spaces(encoder, network.feature_dims, spaces)
    root = data_named(data)
    shown = some_faces(root, "test", network.input_size, faces)
    card = card_of(encoder, network, kept)
    beside: dict[Path, str] = {}
    if out.suffix == ".onnx":
        content = as_onnx(network, encoder, kept, opset)
        card["opset"] = opset
        found = parity(network, kept, onnx_features(content, kept), *shown)
    else:
        program = Program(network, encoder, kept)
        found = parity(network, kept, pt2_features(program.data(card)), *shown)
    card["parity"] = found.card()
    told = [_parity_in_words(found.card(), "in 32 bits, " if int8 else "")]
    if int8:
        learnt = some_faces(root, "train", network.input_size, CALIBRATED)
        small = quantised(content, "static", learnt.images, pixels_in_float=True)
        card["eight_bits"] = {
            "how": "weights signed, by channel; activations unsigned, by layer (onnxruntime, QDQ)",
            "calibrated_on": learnt.of,
        }
        loss = measured_loss(content, small, kept, shown, root, max_train)
        card["eight_bits"]["loss"] = loss
        content = small
        text = in_words(loss, out.name)
        about = json.dumps(card["eight_bits"], indent=2) + "\n"
        for ending, content_beside in zip(BESIDE, (text, about), strict=True):
            beside[out.with_name(f"{out.name}{ending}")] = content_beside
        told.append(text.partition("\n\n")[2])
    content = with_card(content, card) if out.suffix == ".onnx" else program.data(card)
    for path, text in beside.items():
        replace_file(path, text.encode())
    replace_file(out, content)
    outputs = ", ".join(f"{space} [B, {network.feature_dims[space]}]" for space in kept)
    kind = f"ONNX, opset {opset}" if out.suffix == ".onnx" else "torch.export"
    told.append(f"{out}: {len(content) / 1e6:.2f} MB, {kind}; {card['input']} -> {outputs}")
    if out.suffix == ".onnx":
        told.append(f"score it with linear-probe run --encoder {out}")
    return told


def _spaces(encoder: str, known: dict[str, int], wanted: Sequence[str] | None) -> list[str]:
    for space in wanted or []:
        if space not in known:
            raise InputError(
                f"--spaces: {encoder} has no feature space '{space}'; it has {', '.join(known)}"
            )
    return list(dict.fromkeys(wanted or known))


def card_of(encoder: str, network: Any, spaces: Sequence[str]) -> dict[str, Any]:
    """What the file says of itself: of the encoder's card what matters to its users."""
    from importlib.metadata import version

    import torch

    from ssl_faces.training.run_record import git_state

    state, _ = git_state()
    by = {"ssl-faces": _version("ssl-faces", version), "torch": torch.__version__}
    if state is not None:
        by["commit"] = state["commit"] + (" and changes" if state["dirty"] else "")
    name = network.card.get("name") or Path(encoder).resolve().name
    return {
        "name": name,
        "input": INPUT_IN_WORDS.format(size=network.input_size),
        "feature_dims": {space: network.feature_dims[space] for space in spaces},
        **{key: network.card[key] for key in KEPT if key in network.card},
        "exported_by": by,
    }


def _version(package: str, version: Any) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return str(version(package))
    except PackageNotFoundError:
        return "not installed"


def _parity_in_words(card: dict[str, Any], what: str) -> str:
    rows = [
        f"  {space}: {one['absolute']:.2e}, {one['relative']:.2e}"
        for space, one in card["spaces"].items()
    ]
    batches = ", ".join(map(str, card["batches"]))
    head = (
        f"parity with torch, {what}{card['of']}, in batches of {batches} "
        f"({card['measure']}; {card['tolerance']:g} allowed):"
    )
    return "\n".join([head, *rows])
