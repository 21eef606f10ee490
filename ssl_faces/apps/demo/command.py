"""`ssl-faces demo`: a page on this machine that compares two faces."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ssl_faces.apps.arguments import (
    METHOD,
    add_detector,
    add_encoder,
    add_server,
    existing_method,
    parser,
)
from ssl_faces.apps.web import LOOPBACK, need_server

ABOUT = """\
A page that takes two faces, by file or webcam, and shows: their similarity, their neutral faces and
mean faces, the flow that makes them neutral, each with the motion of the other, and their
expressions by a linear probe. Needs pip install 'ssl-faces[demo]'. Nothing is sent anywhere, and
pictures stay in memory.
"""


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces demo`; bad input and an unavailable address raise InputError."""
    of = parser("demo", ABOUT)
    add_encoder(of)
    of.add_argument(
        "--with",
        dest="method",
        type=existing_method,
        metavar="RUN",
        help="run of FaceCycle or the hybrid that edits the faces: its folder, a checkpoint, or a "
        f"released name (default: the encoder's own, if it has one, else {METHOD})",
    )
    add_server(of, 7860, "per upload", "per upload")
    add_detector(of)
    options = of.parse_args(arguments)
    need_server("demo")
    # Imported late, since they import torch.
    from ssl_faces.apps.demo.app import build_app
    from ssl_faces.apps.demo.comparison import FaceComparison, edits_pictures
    from ssl_faces.apps.web.running import run_app
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
    limits = Limits(options.max_mb, options.max_pixels)
    app = build_app(comparison, limits, options.host in LOOPBACK)
    run_app(app, options.host, options.port)
