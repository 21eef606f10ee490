"""`ssl-faces export`: write an encoder as an ONNX file or a torch program, checked on faces."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.common.arguments import Parser, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.outputs import add_overwrite, check_output
from ssl_faces.encoders.onnx_files import CALIBRATED, OPSET, OPSETS

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
    add("encoder", metavar="ENCODER", help="a released name, or folder of a run")
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
    _check(options)
    for line in _export(options):
        print(line)


def _check(options: argparse.Namespace) -> None:
    out: Path = options.out
    if out.suffix not in (".onnx", ".pt2"):
        raise InputError(f"--out {out}: its ending sets the format; give FILE.onnx or FILE.pt2")
    if out.suffix != ".onnx":
        for option in ("opset", "int8", "pipeline"):
            if getattr(options, option):
                raise InputError(
                    f"--{option} is only valid for .onnx output: leave it out, or give "
                    "--out FILE.onnx"
                )
    for path in (out, *(_beside(out) if options.int8 else ())):
        check_output(path, options.overwrite, [options.encoder])


def _beside(out: Path) -> list[Path]:
    return [out.with_name(f"{out.name}{ending}") for ending in BESIDE]


def _export(options: argparse.Namespace) -> list[str]:
    """Write the encoder; returns the report, line by line."""
    # Imported late, so that `--help` needs no torch.
    from ssl_faces.apps.export.faces import RENDERED, data_named, some_faces
    from ssl_faces.apps.export.formats import (
        Program,
        as_onnx,
        onnx_features,
        pt2_features,
        with_card,
    )
    from ssl_faces.apps.export.loss import in_words
    from ssl_faces.apps.export.parity import check_parity
    from ssl_faces.apps.export.pipeline import Pipeline, as_crops, changes, probes_of
    from ssl_faces.encoders.encoder import load_encoder
    from ssl_faces.encoders.onnx_files import need_onnx

    out, name = options.out, options.encoder
    opset = options.opset or OPSET
    root = data_named(options.data)
    if options.int8 and root == RENDERED:
        raise InputError(
            "--int8: 8 bits are calibrated on real faces, and rendered ones differ too much; give "
            "a folder of face crops by --data DIR, or leave out --int8"
        )
    is_onnx = out.suffix == ".onnx"
    if is_onnx:
        need_onnx(f"--out {out}")
    encoder = load_encoder(name)
    spaces = _spaces(name, encoder.feature_dims, options.spaces)
    faces = some_faces(root, "test", encoder.input_size, options.faces)
    card = card_of(name, encoder, spaces)
    dims = card["feature_dims"]
    pipeline = None
    if options.pipeline:
        pipeline = Pipeline(encoder, spaces, probes_of(name))
        card |= pipeline.about()
        dims = card["outputs"]
        spaces = pipeline.needed
    if is_onnx:
        content = as_onnx(encoder, name, spaces, opset)
        card["opset"] = opset
    else:
        program = Program(encoder, name, spaces)
    if pipeline is not None:
        crops = as_crops(faces.images)
        features = onnx_features(pipeline.wrapped(content), pipeline.outputs)
        card["parity"] = check_parity(
            pipeline, pipeline.outputs, features, crops, faces.of, pipeline.probabilities
        )
    else:
        features = onnx_features(content, spaces) if is_onnx else pt2_features(program.data(card))
        network = partial(encoder, spaces=spaces)
        card["parity"] = check_parity(network, spaces, features, *faces)
    lines = _parity_in_words(card["parity"], "in 32 bits, " if options.int8 else "")
    beside: dict[Path, str] = {}
    if options.int8:
        small, about = _in_eight_bits(
            content, spaces, faces, root, encoder.input_size, options.max_train
        )
        if pipeline is not None:
            rounded = onnx_features(pipeline.wrapped(small), pipeline.outputs)
            about["loss"]["probabilities"] = changes(
                features(crops), rounded(crops), pipeline.probes
            )
        content, card["eight_bits"] = small, about
        page = in_words(about["loss"], out.name)
        texts = (page, json.dumps(about, indent=2) + "\n")
        beside = dict(zip(_beside(out), texts, strict=True))
        lines.append(page.partition("\n\n")[2])
    if pipeline is not None:
        content = pipeline.wrapped(content)
    content = with_card(content, card) if is_onnx else program.data(card)
    for path, text in beside.items():
        replace_file(path, text.encode())
    replace_file(out, content)
    outputs = ", ".join(f"{output} [B, {length}]" for output, length in dims.items())
    kind = f"ONNX, opset {opset}" if is_onnx else "torch.export"
    lines.append(f"{out}: {len(content) / 1e6:.2f} MB, {kind}; {card['input']} -> {outputs}")
    if is_onnx and pipeline is None:
        lines.append(f"score it with linear-probe run --encoder {out}")
    return lines


def _in_eight_bits(
    content: bytes, spaces: Sequence[str], faces: Faces, root: str, size: int, max_train: int
) -> tuple[bytes, dict[str, Any]]:
    """An ONNX file in 8 bits, and for its card how it was made and what it lost.

    Raises:
        InputError: too few faces to calibrate on.
    """
    from ssl_faces.apps.export.faces import some_faces
    from ssl_faces.apps.export.loss import measured_loss
    from ssl_faces.encoders.onnx_files import quantised

    train = some_faces(root, "train", size, CALIBRATED)
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

    from ssl_faces.common.run_record import git_state

    try:
        own = version("ssl-faces")
    except PackageNotFoundError:
        own = "not installed"
    by = {"ssl-faces": own, "torch": torch.__version__}
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


def _parity_in_words(parity: dict[str, Any], what: str) -> list[str]:
    batches = ", ".join(map(str, parity["batches"]))
    return [
        f"parity with torch, {what}{parity['of']}, in batches of {batches} "
        f"({parity['measure']}; {parity['tolerance']:g} allowed):",
        *(
            f"  {space}: {error['absolute']:.2e}, {error['relative']:.2e}"
            for space, error in parity["spaces"].items()
        ),
    ]
