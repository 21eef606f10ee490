"""Arguments that the commands on the user's own images share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssl_faces.common.arguments import SEED, Parser, existing, existing_place, number, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import MOST_PIXELS, existing_folder
from ssl_faces.common.outputs import add_overwrite, check_output
from ssl_faces.encoders.places import RELEASED, saved_encoder

ENCODER = "hybrid"
METHOD = "facecycle"
RENDERED = "rendered"


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


def add_places(of: argparse.ArgumentParser) -> None:
    """As `add_sources`; also addresses of object stores."""
    what = "pictures, videos, or folders of them; also in an object store, such as s3://bucket/a"
    of.add_argument("sources", nargs="+", type=existing_place, metavar="SRC", help=what)


def add_out(of: argparse.ArgumentParser, *endings: str) -> None:
    """`--out FILE` with one of these endings, see `check_out`, and `--overwrite`."""
    of.add_argument("--out", required=True, type=Path, metavar="FILE", help=either(endings))
    add_overwrite(of)
    of.set_defaults(endings=endings)


def check_out(options: argparse.Namespace) -> None:
    """Check `--out` of `add_out`, and the list of skipped files beside it.

    Raises:
        InputError: it has another ending, a package is missing for it, or it would replace an input
            or, without `--overwrite`, any file.
    """
    out: Path = options.out
    check_ending("--out", out, options.endings)
    for path in (out, skipped_beside(out)):
        check_output(path, options.overwrite, options.sources)


def check_ending(option: str, path: Path, endings: Sequence[str]) -> None:
    """Raise InputError for a file of another format, or one that needs a missing package."""
    if path.suffix not in endings:
        raise InputError(f"{option} {path}: give a name that ends in {either(endings)}")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise InputError(
            f"{option} {path}: Parquet needs pyarrow; pip install pyarrow, or give {endings[0]}"
        )


def either(endings: Sequence[str]) -> str:
    *rest, last = endings
    return f"{', '.join(rest)} or {last}" if rest else last


def skipped_beside(table: Path) -> Path:
    """The list of skipped files beside a command's table."""
    return table.with_name(f"{table.name}.skipped.csv")


def add_encoder(of: argparse.ArgumentParser) -> None:
    of.add_argument(
        "--encoder",
        type=saved_encoder,
        default=ENCODER,
        metavar="NAME",
        help=f"a released name, or a run's folder (default: {ENCODER})",
    )


def existing_method(text: str) -> str:
    """An argument's type: a path, or the name of a release, checked before slow imports."""
    if not (Path(text).exists() or (RELEASED / text).exists()):
        raise InputError(
            f"--with {text}: no such file or folder; give a run's folder or checkpoint, or a "
            f"released name ({METHOD}, {ENCODER})"
        )
    return text


def face_folder(text: str) -> str:
    """An argument's type: `rendered`, or an existing folder, checked before slow imports."""
    if text != RENDERED:
        existing_folder(text, "data")
    return text


def add_method(of: argparse.ArgumentParser) -> None:
    of.add_argument(
        "--with",
        dest="method",
        type=existing_method,
        default=METHOD,
        metavar="RUN",
        help="run of FaceCycle or the hybrid: its folder, a checkpoint, or a released name "
        f"(default: {METHOD})",
    )
    of.add_argument("--seed", type=SEED, default=0, help="of rendering noise (default: 0)")


def add_reader(of: argparse.ArgumentParser) -> None:
    """The arguments of `open_reader`: pictures and videos, an encoder, detection."""
    add_places(of)
    add_encoder(of)
    of.add_argument(
        "--fps",
        type=number(0, 1000),
        default=1.0,
        help="frames per second of videos to read; 0 skips videos (default: 1)",
    )
    add_detection(of)


def add_server(of: argparse.ArgumentParser, port: int, limited: str, pixels: str) -> None:
    """The arguments of a server: address and limits, of what `limited` and `pixels` say."""
    add = of.add_argument
    add("--host", default="127.0.0.1", help="address (default: only this machine)")
    add("--port", type=whole(0, 65_535), default=port, help=f"0: any free port (default: {port})")
    add("--max-mb", type=number(0, 1000, above=True), default=10.0, help=f"{limited} (default: 10)")
    pixels = f"{pixels} (default: 25,000,000)"
    add("--max-pixels", type=whole(64, MOST_PIXELS), default=25_000_000, help=pixels)


def percent(figure: Mapping[str, Any]) -> str:
    """A figure of a card, `value`, `low` and `high` in percent: `48.1 % [46.0, 50.0]`."""
    return "{value:.1f} % [{low:.1f}, {high:.1f}]".format(**figure)


def writable(key: str) -> str:
    """A key as UTF-8 text; bytes of the file name that are not UTF-8 are escaped."""
    return key.encode("utf-8", "backslashreplace").decode()
