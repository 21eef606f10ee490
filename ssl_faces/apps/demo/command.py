"""`ssl-faces demo`: a page on this machine that compares two faces."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from ssl_faces.apps.arguments import METHOD, add_detector, add_encoder, parser
from ssl_faces.common.arguments import number, whole
from ssl_faces.common.errors import InputError
from ssl_faces.data.pictures import MOST_PIXELS

ABOUT = """\
A page that takes two faces, by file or webcam, and shows: their similarity, their neutral faces and
mean faces, the flow that makes them neutral, each with the motion of the other, and their
expressions by a linear probe. Needs pip install 'ssl-faces[demo]'. Nothing is sent anywhere, and
pictures are removed.
"""


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces demo`; bad input and an unavailable address raise InputError."""
    of = parser("demo", ABOUT)
    add_encoder(of)
    add = of.add_argument
    add(
        "--with",
        dest="method",
        metavar="RUN",
        help="run of FaceCycle or the hybrid that edits the faces: its folder, a checkpoint, or a "
        f"released name (default: the encoder's own, if it has one, else {METHOD})",
    )
    add("--host", default="127.0.0.1", help="address (default: only this machine)")
    add("--port", type=whole(0, 65_535), default=7860, help="0: any free port (default: 7860)")
    add("--max-mb", type=number(0, 1000, above=True), default=10.0, help="per upload (default: 10)")
    pixels = "per upload (default: 25,000,000)"
    add("--max-pixels", type=whole(64, MOST_PIXELS), default=25_000_000, help=pixels)
    add_detector(of)
    options = of.parse_args(arguments)
    if find_spec("gradio") is None:
        raise InputError("the page needs Gradio; pip install 'ssl-faces[demo]'")
    # Imported late, since they import torch.
    from ssl_faces.apps.demo.comparison import FaceComparison, edits_pictures
    from ssl_faces.apps.demo.server import serve
    from ssl_faces.apps.web.requests import LOOPBACK
    from ssl_faces.apps.web.uploads import Limits

    method = options.method
    if method is None and not edits_pictures(options.encoder):
        method = METHOD
    comparison = FaceComparison(options.encoder, method, options.detector)
    for sentence in comparison.lacking:
        print(sentence)
    if options.host not in LOOPBACK:
        print(
            f"warning: --host {options.host}: whoever can reach this machine can use the page, "
            "without a password or encryption",
            file=sys.stderr,
        )
    sys.stdout.flush()
    serve(comparison, Limits(options.max_mb, options.max_pixels), options.host, options.port)
