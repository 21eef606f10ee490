"""`ssl-faces export`: write an encoder as an ONNX file or a torch program, checked on faces."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.apps.arguments import RENDERED, face_folder
from ssl_faces.common.arguments import Parser, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.outputs import add_overwrite, check_output
from ssl_faces.encoders.onnx_files import CALIBRATED, OPSET, OPSETS
from ssl_faces.encoders.places import saved_encoder

if TYPE_CHECKING:
    from ssl_faces.apps.export.faces import Faces

BESIDE = (".md", ".json")
"""Endings of the files beside an 8-bit file that report its loss."""

LEAST_CALIBRATED = 32
"""Faces below which ranges of activations can't be trusted."""

INPUT = (
    "images: float32 [B, 3, {size}, {size}], RGB in [0, 1], any B; cropped faces; resizing and "
    "normalisation happen inside"
)

KEPT = (
    *("licence", "limits", "data", "left_out", "uses_identity_labels", "method", "command"),
    *("commit", "steps", "pairs_seen", "seed", "precision", "weights", "encoder", "config"),
    "parameters",
)
"""Keys of the encoder's card that are copied to the file."""


def _parser() -> Parser:
    parser = Parser(
        prog="ssl-faces export",
        description="Write an encoder to one file that runs without this workbench, and check on "
        "faces that its outputs equal torch's to 1e-4 of their scale.",
    )
    add = parser.add_argument
    names = "a released name, or folder of a run"
    add("encoder", type=saved_encoder, metavar="ENCODER", help=names)
    out = "FILE.onnx, or FILE.pt2 for torch"
    add("--out", type=Path, required=True, metavar="FILE", help=out)
    add_overwrite(parser)
    add("--spaces", metavar="S,S", help="feature spaces to keep; default: all")
    opset = f"of ONNX, {OPSETS[0]} to {OPSETS[-1]}; default: {OPSET}"
    add("--opset", type=whole(OPSETS[0], OPSETS[-1]), help=opset)
    add(
        "--pipeline",
        action="store_true",
        help="from aligned crops, uint8 [B, S, S, 3], to codes and the probabilities of the saved "
        "probes, with the template of the alignment inside; .onnx only",
    )
    add(
        "--int8",
        action="store_true",
        help=f"8 bits, calibrated on {CALIBRATED} real training images of --data; the loss is "
        "measured and written to the file, FILE.onnx.md and FILE.onnx.json; .onnx only",
    )
    add(
        "--data",
        type=face_folder,
        metavar="DIR|rendered",
        help="faces for check, calibration and scores; default: $SSL_FACES_DATA, else "
        "~/.cache/ssl-faces/data, else rendered ones",
    )
    faces = "for the check; default: %(default)s"
    add("--faces", type=whole(32), default=128, metavar="N", help=faces)
    train = "training images of the probe that measures the loss by 8 bits; default: %(default)s"
    add("--max-train", type=whole(100), default=5000, metavar="N", help=train)
    return parser


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces export`.

    Raises:
        InputError: wrong arguments, no such encoder, one that can't be exported, or a file whose
            features differ from torch's; nothing is written.
    """
    options = _parser().parse_args(arguments)
    out: Path = options.out
    if out.suffix not in (".onnx", ".pt2"):
        raise InputError(f"--out {out}: its ending sets the format; give FILE.onnx or FILE.pt2")
    for option in ("opset", "int8", "pipeline"):
        if out.suffix == ".pt2" and getattr(options, option):
            raise InputError(
                f"--{option} is only valid for .onnx output: leave it out, or give --out FILE.onnx"
            )
    for path in (out, *(_beside(out) if options.int8 else ())):
        check_output(path, options.overwrite, [options.encoder])
    _export(options)


def _beside(out: Path) -> list[Path]:
    return [out.with_name(f"{out.name}{ending}") for ending in BESIDE]


def _export(options: argparse.Namespace) -> None:
    # Imported late, so that `--help` needs no torch.
    from ssl_faces.apps.export import formats, loss
    from ssl_faces.apps.export.faces import data_named, some_faces
    from ssl_faces.apps.export.parity import check_parity, in_words
    from ssl_faces.apps.export.pipeline import Pipeline, as_crops, changes, probes_of
    from ssl_faces.encoders.encoder import load_encoder
    from ssl_faces.encoders.onnx_files import need_onnx

    out, name = options.out, options.encoder
    is_onnx = out.suffix == ".onnx"
    opset = options.opset or OPSET
    root = data_named(options.data)
    if options.int8 and root == RENDERED:
        raise InputError(
            "--int8: 8 bits are calibrated on real faces, and rendered ones differ too much; give "
            "a folder of face crops by --data DIR, or leave out --int8"
        )
    if is_onnx:
        need_onnx(f"--out {out}")
    encoder = load_encoder(name)
    spaces = _spaces(name, encoder.feature_dims, options.spaces)
    faces = some_faces(root, "test", encoder.input_size, options.faces)
    card = card_of(name, encoder, spaces)
    # The file's function in torch: its outputs, those of the encoder that it needs, its input.
    network: Any = partial(encoder, spaces=spaces)
    outputs, needed, inputs, pipeline = spaces, spaces, faces.images, None
    if options.pipeline:
        network = pipeline = Pipeline(encoder, spaces, probes_of(name))
        outputs, needed, inputs = pipeline.outputs, pipeline.needed, as_crops(faces.images)
        card |= pipeline.about()

    def wrapped(content: bytes) -> bytes:
        return pipeline.wrapped(content) if pipeline else content

    if is_onnx:
        content = formats.as_onnx(encoder, name, needed, opset)
        card["opset"] = opset
        features = formats.onnx_features(wrapped(content), outputs)
    else:
        program = formats.as_program(encoder, name, spaces)
        features = formats.pt2_features(formats.program_file(program, card))
    probabilities = pipeline.probabilities if pipeline else ()
    parity = check_parity(network, outputs, features, inputs, faces.of, probabilities)
    card["parity"] = parity
    lines = in_words(parity, "in 32 bits, " if options.int8 else "")
    beside: list[str] = []
    if options.int8:
        small, about = _in_eight_bits(content, needed, faces, root, options.max_train)
        if pipeline is not None:
            rounded = formats.onnx_features(wrapped(small), outputs)
            about["loss"]["probabilities"] = changes(
                features(inputs), rounded(inputs), pipeline.probes
            )
        content, card["eight_bits"] = small, about
        page = loss.in_words(about["loss"], out.name)
        beside = [page, json.dumps(about, indent=2) + "\n"]
        lines.append(page.partition("\n\n")[2])
    if is_onnx:
        file = formats.with_card(wrapped(content), card)
    else:
        file = formats.program_file(program, card)
    for path, text in zip(_beside(out), beside, strict=False):
        replace_file(path, text.encode())
    replace_file(out, file)
    dims = card["outputs"] if pipeline else card["feature_dims"]
    shapes = ", ".join(f"{output} [B, {length}]" for output, length in dims.items())
    kind = f"ONNX, opset {opset}" if is_onnx else "torch.export"
    lines.append(f"{out}: {len(file) / 1e6:.2f} MB, {kind}; {card['input']} -> {shapes}")
    if is_onnx and pipeline is None:
        lines.append(f"score it with linear-probe run --encoder {out}")
    print("\n".join(lines))


def _in_eight_bits(
    content: bytes, spaces: Sequence[str], faces: Faces, root: str, max_train: int
) -> tuple[bytes, dict[str, Any]]:
    """An ONNX file in 8 bits, and for its card how it was made and what it lost.

    Raises:
        InputError: too few faces to calibrate on.
    """
    from ssl_faces.apps.export.faces import some_faces
    from ssl_faces.apps.export.loss import measured_loss
    from ssl_faces.encoders.onnx_files import quantised

    train = some_faces(root, "train", faces.images.shape[-1], CALIBRATED)
    if len(train.images) < LEAST_CALIBRATED:
        raise InputError(
            f"--int8: {root} has {len(train.images)} faces to calibrate 8 bits on; give at least "
            f"{LEAST_CALIBRATED}"
        )
    small = quantised(content, "static", train.images, pixels_in_float=True)
    return small, {
        "how": "weights signed, by channel; activations unsigned, by layer (onnxruntime, QDQ)",
        "calibrated_on": train.of,
        "loss": measured_loss(content, small, spaces, faces, root, max_train),
    }


def _spaces(encoder: str, known: dict[str, int], names: str | None) -> list[str]:
    spaces = list(dict.fromkeys(known if names is None else names.split(",")))
    for space in spaces:
        if space not in known:
            raise InputError(
                f"--spaces: {encoder} has no feature space '{space}'; it has {', '.join(known)}"
            )
    return spaces


def card_of(encoder: str, network: Any, spaces: Sequence[str]) -> dict[str, Any]:
    """The card inside the file: the keys of the encoder's card that its users need."""
    import torch

    from ssl_faces.common import __version__
    from ssl_faces.common.run_record import git_state

    by = {"ssl-faces": __version__, "torch": torch.__version__}
    state, _ = git_state()
    if state is not None:
        by["commit"] = state["commit"] + (" and changes" if state["dirty"] else "")
    return {
        "name": network.card.get("name") or Path(encoder).resolve().name,
        "input": INPUT.format(size=network.input_size),
        "feature_dims": {space: network.feature_dims[space] for space in spaces},
        **{key: network.card[key] for key in KEPT if key in network.card},
        "exported_by": by,
    }
