"""Arguments that the verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssl_faces.common.arguments import SEED, Parser, number

ENCODER = "hybrid"
METHOD = "facecycle"


def parser(verb: str, about: str) -> Parser:
    """A parser for `ssl-faces VERB`."""
    return Parser(
        prog=f"ssl-faces {verb}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_detection(of: argparse.ArgumentParser) -> None:
    of.add_argument(
        "--detect",
        choices=("auto", "always", "never"),
        default="auto",
        help="always: find faces and crop them as `prepare` does; never: the pictures are face "
        "crops; auto: they are where they have at most 128 pixels a side (default)",
    )
    of.add_argument(
        "--detector", default="mtcnn", help="mtcnn, or yunet:FILE.onnx (default: mtcnn)"
    )


def add_sources(of: argparse.ArgumentParser, what: str = "pictures, or folders of them") -> None:
    of.add_argument("sources", nargs="+", type=Path, metavar="SRC", help=what)


def add_encoder(of: argparse.ArgumentParser) -> None:
    of.add_argument(
        "--encoder",
        default=ENCODER,
        metavar="NAME",
        help=f"a released name, or a run's folder (default: {ENCODER})",
    )


def add_method(of: argparse.ArgumentParser) -> None:
    of.add_argument(
        "--with",
        dest="method",
        default=METHOD,
        metavar="RUN",
        help="run of FaceCycle or the hybrid that learnt it: its folder, a checkpoint, or a "
        f"released name (default: {METHOD})",
    )
    of.add_argument("--seed", type=SEED, default=0, help="of rendering noise (default: 0)")


def add_frames(of: argparse.ArgumentParser) -> None:
    of.add_argument(
        "--fps",
        type=number(0, 1000),
        default=1.0,
        help="frames a second of videos to look at; 0 skips videos (default: 1)",
    )


def writable(key: str) -> str:
    """A key as text that any file can hold, where the name is no UTF-8."""
    return key.encode("utf-8", "backslashreplace").decode()
