"""Arguments that the commands on the user's own images share."""

from __future__ import annotations

import argparse

from ssl_faces.common.arguments import SEED, Parser, existing, number

ENCODER = "hybrid"
METHOD = "facecycle"


def parser(command: str, about: str) -> Parser:
    """A parser for `ssl-faces COMMAND`; line breaks of `about` are kept."""
    return Parser(
        prog=f"ssl-faces {command}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_detector(of: argparse.ArgumentParser) -> None:
    of.add_argument(
        "--detector", default="mtcnn", help="mtcnn, or yunet:FILE.onnx (default: mtcnn)"
    )


def add_detection(of: argparse.ArgumentParser) -> None:
    of.add_argument(
        "--detect",
        choices=("auto", "always", "never"),
        default="auto",
        help="always: detect faces and crop them like `prepare`; never: images are face crops; "
        "auto: images of at most 128 pixels a side are face crops (default)",
    )
    add_detector(of)


def add_sources(of: argparse.ArgumentParser, what: str = "pictures, or folders of them") -> None:
    of.add_argument("sources", nargs="+", type=existing, metavar="SRC", help=what)


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
        help="run of FaceCycle or the hybrid: its folder, a checkpoint, or a released name "
        f"(default: {METHOD})",
    )
    of.add_argument("--seed", type=SEED, default=0, help="of rendering noise (default: 0)")


def add_reader(of: argparse.ArgumentParser) -> None:
    """The arguments of `open_reader`: pictures and videos, an encoder, detection."""
    add_sources(of, "pictures, videos, or folders of them")
    add_encoder(of)
    of.add_argument(
        "--fps",
        type=number(0, 1000),
        default=1.0,
        help="frames per second of videos to read; 0 skips videos (default: 1)",
    )
    add_detection(of)


def writable(key: str) -> str:
    """A key as UTF-8 text; bytes of the file name that are not UTF-8 are escaped."""
    return key.encode("utf-8", "backslashreplace").decode()
