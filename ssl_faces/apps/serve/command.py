"""`ssl-faces serve`: a REST service of an encoder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ssl_faces.apps.arguments import add_detector, add_encoder, add_server, parser
from ssl_faces.apps.search import index_folder
from ssl_faces.apps.web import LOOPBACK, need_server
from ssl_faces.common.arguments import number, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular

ABOUT = """\
A REST service of an encoder: POST /embed, /verify, /expressions and /search (in an index of faces,
--index), with an image or JSON of several; GET /health, /metrics (Prometheus) and /docs, a page of
what it offers. Concurrent requests go through the encoder together. Images are kept in memory
alone, and nothing is sent anywhere. Other machines need a token: --token-file, or SSL_FACES_TOKEN.
Needs pip install 'ssl-faces[serve]'.
"""

TOKEN = "SSL_FACES_TOKEN"
SHORTEST_TOKEN = 16
_MOST_TOKEN = 4096  # bytes of its file
_MAKE = "make one by: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces serve`; bad input and an unavailable address raise InputError."""
    of = parser("serve", ABOUT)
    add_encoder(of)
    add_detector(of)
    add_server(of, 8000, "per request", "of all images of a request")
    add = of.add_argument
    add(
        "--index",
        type=index_folder,
        metavar="DIR",
        help="of `ssl-faces search index`: POST /search",
    )
    add("--token-file", type=Path, metavar="FILE", help=f"the token; default: ${TOKEN}")
    add("--queue", type=whole(1, 10_000), default=64, help="requests at once (default: 64)")
    add("--seconds", type=number(0, 3600, above=True), default=30.0, help="per request (30)")
    add("--max-batch", type=whole(1, 1024), default=32, help="faces per batch (default: 32)")
    readers = "threads that decode images and detect faces (default: 2)"
    add("--threads", type=whole(1, 256), default=2, help=readers)
    options = of.parse_args(arguments)
    token = read_token(options.token_file)
    if options.host not in LOOPBACK:
        if token is None:
            raise InputError(
                f"--host {options.host}: other machines need a token; give --token-file FILE or "
                f"the environment variable {TOKEN}; {_MAKE}"
            )
        print(
            f"warning: --host {options.host}: without encryption; put a proxy with TLS in front",
            file=sys.stderr,
        )
    need_server("serve")
    # Imported late, since they import torch.
    from ssl_faces.apps.serve.app import build_app
    from ssl_faces.apps.serve.service import Service
    from ssl_faces.apps.web.guard import ServiceLimits
    from ssl_faces.apps.web.running import run_app

    limits = ServiceLimits(
        options.max_mb, options.max_pixels, options.queue, options.seconds, options.max_batch
    )
    service = Service(options.encoder, options.detector, options.index)
    app = build_app(service, limits, token, options.threads, loopback=options.host in LOOPBACK)
    # More connections than requests, for `/health` and refusals.
    run_app(app, options.host, options.port, options.queue + 64, grace=5)


def read_token(file: Path | None) -> str | None:
    """The token of a file or of the environment; None if there is neither.

    Raises:
        InputError: it can't be read, is short, or has characters that a header can't have.
    """
    if file is None:
        text, place = os.environ.get(TOKEN), TOKEN
        if not text:
            return None
    else:
        place = f"--token-file {file}"
        try:
            with regular(file).open("rb") as stream:
                text = stream.read(_MOST_TOKEN).decode("ascii", "replace")
        except OSError as error:
            raise InputError(f"{place}: can't be read ({error.strerror or error})") from error
    token = text.strip()
    if len(token) < SHORTEST_TOKEN or not all("!" <= letter <= "~" for letter in token):
        raise InputError(
            f"{place}: give a token of at least {SHORTEST_TOKEN} letters, digits and signs, "
            f"without spaces; {_MAKE}"
        )
    return token
