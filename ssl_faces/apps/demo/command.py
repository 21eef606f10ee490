"""`ssl-faces demo`: a page on this machine that compares two faces."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from ssl_faces.apps.arguments import METHOD, add_encoder, parser
from ssl_faces.common.arguments import number, whole
from ssl_faces.common.errors import InputError

ABOUT = """\
A page that takes two faces, by file or webcam, and shows: how alike they are, their neutral faces
and mean faces, the flow that makes them neutral, either one moved like the other, and their
expressions by a linear probe. Needs pip install 'ssl-faces[demo]'. Nothing is sent anywhere, and
pictures are removed.
"""


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces demo` with these arguments.

    Raises:
        InputError: bad input, or an address that can't be had.
    """
    of = parser("demo", ABOUT)
    add_encoder(of)
    of.add_argument(
        "--with",
        dest="method",
        metavar="RUN",
        help="run of FaceCycle or the hybrid that makes the pictures: its folder, a checkpoint, or "
        f"a released name (default: the encoder's own, where it has one, else {METHOD})",
    )
    of.add_argument("--host", default="127.0.0.1", help="address (default: this machine alone)")
    of.add_argument(
        "--port", type=whole(0, 65_535), default=7860, help="0: any that is free (default: 7860)"
    )
    of.add_argument(
        "--max-mb",
        type=number(0, 1000, above=True),
        default=10.0,
        help="of an upload (default: 10)",
    )
    of.add_argument(
        "--max-pixels",
        type=whole(64),
        default=25_000_000,
        help="of an upload (default: 25,000,000)",
    )
    of.add_argument(
        "--detector", default="mtcnn", help="mtcnn, or yunet:FILE.onnx (default: mtcnn)"
    )
    given = of.parse_args(arguments)
    if find_spec("gradio") is None:
        raise InputError("the page needs Gradio; pip install 'ssl-faces[demo]'")
    from ssl_faces.apps.demo.uploads import Limits

    limits = Limits(given.max_mb, given.max_pixels)
    limits.check()
    # Late: it brings torch.
    from ssl_faces.apps.demo.comparison import FaceComparison, edits_pictures
    from ssl_faces.apps.demo.server import LOOPBACK, serve

    method = given.method
    if method is None and not edits_pictures(given.encoder):
        method = METHOD
    comparison = FaceComparison(given.encoder, method, given.detector)
    for sentence in comparison.lacking:
        print(sentence)
    if given.host not in LOOPBACK:
        print(
            f"warning: --host {given.host}: whoever can reach this machine can use the page, "
            "without a password or encryption",
            file=sys.stderr,
        )
    sys.stdout.flush()
    serve(comparison, limits, given.host, given.port)
