"""The demo's server: a page, and the comparison of two faces as a piece of HTML."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import fastapi
import numpy as np
from fastapi.responses import HTMLResponse
from PIL import Image

from ssl_faces.apps.arguments import percent
from ssl_faces.apps.demo.comparison import (
    FLOW,
    PANELS,
    TRANSLATION,
    Boxed,
    Compared,
    FaceComparison,
)
from ssl_faces.apps.editing import enlarged
from ssl_faces.apps.web.filter import Refused
from ssl_faces.apps.web.guard import Guard, Metrics, ServiceLimits, add_failures
from ssl_faces.apps.web.uploads import Limits, read_upload
from ssl_faces.common.errors import InputError, out_of_memory
from ssl_faces.common.page_style import base_css, rendered
from ssl_faces.data.pictures import png
from ssl_faces.encoders.saved_probe import SavedProbe

TITLE = "Two faces, compared"
SIDE = 128
"""Pixels of a face on the page."""

QUEUE, SECONDS = 16, 300
"""Comparisons that wait at once, and the longest time of one."""

_PACKAGE = "ssl_faces.apps.demo"
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data:; "
    "media-src blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Browsers fetch nothing from other hosts, and run no script but the page's."""

_log = logging.getLogger(__name__)


def build_app(comparison: FaceComparison, limits: Limits, loopback: bool) -> fastapi.FastAPI:
    """The page as an application. Images stay in memory, and are gone after the answer.

    Args:
        limits: of each image.
        loopback: it listens on this machine alone.
    """
    app = fastapi.FastAPI(title=TITLE, docs_url=None, redoc_url=None, openapi_url=None)
    add_failures(app)
    # Two images in base64, which takes 4 bytes for 3.
    of_both = ServiceLimits(2.7 * limits.most_mb + 0.1, queue=QUEUE, seconds=SECONDS)
    paths = ("/", "/compare")
    app.add_middleware(Guard, of_both, None, Metrics(), paths, loopback)
    thread = ThreadPoolExecutor(1, "comparison")

    @app.get("/")
    async def page() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        headers = {"Content-Security-Policy": _POLICY.format(nonce=nonce)}
        headers |= {"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
        text = rendered(
            _PACKAGE,
            "page.html",
            title=TITLE,
            css=base_css(),
            nonce=nonce,
            comparison=comparison,
            limits=limits,
        )
        return HTMLResponse(text, headers=headers)

    @app.post("/compare")
    async def compare(request: fastapi.Request) -> HTMLResponse:
        """Of JSON with `images`, two files in base64 or null, and `whole`: they are face crops."""
        try:
            body = json.loads(await request.body())
            first, second = (
                None if text is None else base64.b64decode(text, validate=True)
                for text in body["images"]
            )
            call = partial(answer, comparison, limits, first, second, bool(body["whole"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(400, "give JSON with two images in base64, and whole") from error
        return HTMLResponse(await asyncio.get_running_loop().run_in_executor(thread, call))

    return app


def answer(
    comparison: FaceComparison,
    limits: Limits,
    first: bytes | None,
    second: bytes | None,
    whole: bool = False,
) -> str:
    """HTML of the comparison of two files, or of one sentence on what is wrong with them."""
    try:
        named = ((first, "face A"), (second, "face B"))
        images = [read_upload(data, name, limits) for data, name in named]
        return shown(comparison(images[0], images[1], whole=whole), comparison.probe)
    except InputError as error:
        sentence = str(error)
    except Exception as error:
        sentence = "there is not enough memory; give smaller pictures"
        if out_of_memory(error) is None:
            _log.exception("two faces could not be compared")
            sentence = "these pictures could not be compared; see the terminal for the reason"
    return rendered(_PACKAGE, "result.html", alert=sentence[:1].upper() + sentence[1:])


def shown(result: Compared, probe: SavedProbe | None = None) -> str:
    """A comparison as HTML."""
    expressions: list[tuple[str, list[float]]] = []
    if result.probabilities is not None and probe is not None:
        shares = (100 * result.probabilities.T).tolist()
        expressions = list(zip(probe.classes, shares, strict=True))
    return rendered(
        _PACKAGE,
        "result.html",
        alert="",
        result=result,
        pictures=[
            (who, _taken(picture), _as_text(picture.pixels), picture.pixels.shape)
            for who, picture in zip("AB", result.pictures, strict=False)
        ],
        columns=[(who, _rows(result, i)) for i, who in enumerate("AB")],
        expressions=expressions,
        about_probe="" if probe is None else probe_in_words(probe),
        side=SIDE,
    )


def _as_text(pixels: np.ndarray | Image.Image) -> str:
    return base64.b64encode(png(pixels)).decode()


def _taken(picture: Boxed) -> str:
    """Which face of an image was taken, in words."""
    if not picture.faces:
        return "taken whole, as a face crop"
    if picture.faces == 1:
        return "the only face found is in the box"
    return f"the largest of {picture.faces} faces found is in the box"


def probe_in_words(probe: SavedProbe) -> str:
    """The accuracy and calibration of a probe."""
    about = probe.about
    try:
        accuracy = about["accuracy"]
        return (
            f"Often wrong: right in {percent(accuracy)} of {accuracy['n']:,} test pictures of "
            f"{about['data_set']}; its probabilities are off by "
            f"{about['calibration_error']['value']:.1f} points on average (expected calibration "
            f"error). A linear probe of the space '{probe.space}'. A facial expression does not "
            "show what a person feels."
        )
    except (KeyError, TypeError, ValueError):
        return "Often wrong; the accuracy of this probe is not known."


def _rows(result: Compared, i: int) -> list[tuple[str, str, str, str]]:
    """Name, caption, text for screen readers and PNG of each panel of A (0) or B (1)."""
    who, other = "AB"[i], "BA"[i]
    captions = {FLOW: f"flow of {who}", TRANSLATION: f"translation: {other} moved like {who}"}
    texts = {
        FLOW: f"Flow that makes face {who} neutral, as colours",
        TRANSLATION: f"The person of face {other} with the expression and pose of face {who}",
    }
    rows = [("face", f"face {who}", f"The crop of face {who}", result.faces[i])]
    for name in PANELS:
        if name in result.panels:
            caption = captions.get(name, f"{name} of {who}")
            rows.append((name, caption, texts.get(name, caption), result.panels[name][i]))
    return [
        (name, caption, text, _as_text(enlarged(pixels, SIDE)))
        for name, caption, text, pixels in rows
    ]
