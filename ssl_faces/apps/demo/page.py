"""The Gradio page: two images in, one block of HTML out."""

from __future__ import annotations

import base64
import logging
from asyncio import Queue
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.utils import LRUCache
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
from ssl_faces.apps.web.uploads import Limits, read_upload
from ssl_faces.common.errors import InputError, out_of_memory
from ssl_faces.common.page_style import rendered
from ssl_faces.data.pictures import png
from ssl_faces.encoders.saved_probe import SavedProbe

TITLE = "Two faces, compared"
SIDE = 128
"""Pixels of a face on the page."""

MOST_SESSIONS = 32
"""Sessions at once; a new one replaces the one that was idle the longest."""

KEPT_SECONDS = 600
"""Uploads are removed after this time, or earlier when the page is closed."""

_NAME_GROUPS = """() => {
  for (const who of ["A", "B"]) {
    const group = document.getElementById(`face-${who.toLowerCase()}`);
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `Face ${who}`);
  }
}"""
"""Labels both groups of equally named buttons for screen readers."""

_log = logging.getLogger(__name__)

CSS = """
.gradio-container { max-width: 62rem !important; margin: auto; }
.result h2 { font-size: 1.1rem; margin: 1rem 0 .3rem; }
.result .note { color: #555; font-size: .9rem; }
.result .row { display: flex; flex-wrap: wrap; gap: .8rem; margin-bottom: .6rem; }
.result figure { margin: 0; width: 128px; }
.result figure.whole { width: auto; max-width: 300px; }
.result figcaption { font-size: .85rem; line-height: 1.2; }
.result img { image-rendering: auto; display: block; border-radius: 2px; }
.result table.plain, .result table.plain tr { border: 0 !important; }
.result table.plain { border-collapse: collapse; width: auto; }
.result table.plain :is(th, td) {
  text-align: left; padding: .1rem 1.4rem .1rem 0; border: 0; font-weight: normal;
}
.result table.plain thead th { font-weight: 600; }
.result table.plain td { font-variant-numeric: tabular-nums; white-space: nowrap; }
.result meter { width: 6rem; }
.result [role=status] { position: absolute; left: -9999px; }
.result [role=alert] { border-left: 4px solid #b00020; padding: .4rem .8rem; }
"""


class _Messages(LRUCache[str, Queue[Any]]):
    """Messages of the latest sessions. Those to a replaced session are dropped.

    Gradio's own cache would print a traceback for each of them.
    """

    def __missing__(self, session: str) -> Queue[Any]:
        return Queue()


def upload(who: str) -> gr.Image:
    """An image by file or webcam, passed on as the path of the upload, unopened.

    Gradio would decode it, show errors of its decoder, and fetch addresses in a request. This takes
    only uploads. (Not a subclass, since Gradio writes a file beside the source of each.)
    """
    image = gr.Image(
        label=f"Face {who}: a photograph, by file or webcam",
        sources=["upload", "webcam"],
        type="filepath",
        buttons=[],
        height=260,
        elem_id=f"face-{who.lower()}",
        alt_text=f"The picture given as face {who}",
    )
    folder = Path(image.GRADIO_CACHE).resolve()

    async def leave(place: Any) -> str | None:
        return None if place is None else str(place)

    def path_of(payload: Any) -> Path | None:
        if payload is None or not payload.path:
            return None
        path = Path(payload.path).resolve()
        # Other files were never uploaded, or are gone: `read_upload` refuses both.
        return path if path.is_relative_to(folder) else folder / "none"

    # Override two methods of this instance.
    vars(image).update(async_move_resource_to_block_cache=leave, preprocess=path_of)
    return image


def build_page(comparison: FaceComparison, limits: Limits) -> gr.Blocks:
    """The page of a comparison; uploads go to Gradio's temporary folder."""

    def compare(first: Path | None, second: Path | None, whole: bool) -> str:
        return answer(comparison, limits, first, second, whole)

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as page:
        gr.HTML(_head(comparison, limits), elem_id="about")
        with gr.Row():
            pictures = [upload("A"), upload("B")]
        whole = gr.Checkbox(
            label="These are face crops already: take them whole, don't look for faces",
            elem_id="whole",
        )
        button = gr.Button("Compare", variant="primary", elem_id="compare")
        result = gr.HTML(elem_id="result", label="Result", padding=False)
        button.click(
            compare,
            [*pictures, whole],
            result,
            api_visibility="private",
            concurrency_limit=1,
            show_progress="minimal",
        )
        page.load(None, js=_NAME_GROUPS)
    page.queue(max_size=16)
    # Gradio keeps results until they are fetched, and states of sessions.
    page.state_session_capacity = MOST_SESSIONS
    page._queue.pending_messages_per_session = _Messages(MOST_SESSIONS)
    return page


def answer(
    comparison: FaceComparison,
    limits: Limits,
    first: Path | None,
    second: Path | None,
    whole: bool = False,
) -> str:
    """HTML of the comparison of two uploads, or of one sentence on what is wrong with them."""
    try:
        named = ((first, "face A"), (second, "face B"))
        images = [read_upload(path, name, limits) for path, name in named]
        return shown(comparison(images[0], images[1], whole=whole), comparison.probe)
    except InputError as error:
        return _alert(str(error))
    except Exception as error:
        if out_of_memory(error) is not None:
            return _alert("there is not enough memory; give smaller pictures")
        _log.exception("two faces could not be compared")
        return _alert("these pictures could not be compared; see the terminal for the reason")


def shown(result: Compared, probe: SavedProbe | None = None) -> str:
    """A comparison as HTML."""
    expressions: list[tuple[str, list[float]]] = []
    if result.probabilities is not None and probe is not None:
        shares = (100 * result.probabilities.T).tolist()
        expressions = list(zip(probe.classes, shares, strict=True))
    return rendered(
        "ssl_faces.apps.demo",
        "result.html",
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
    captions = {
        FLOW: f"flow of {who}",
        TRANSLATION: f"translation: {other} moved like {who}",
    }
    texts = {
        FLOW: f"Flow that makes face {who} neutral, as colours",
        TRANSLATION: f"The person of face {other} with the expression and pose of face {who}",
    }
    rows = [("face", f"face {who}", f"The crop of face {who}", result.faces[i])]
    for name in PANELS:
        if name in result.panels:
            caption = captions.get(name, f"{name} of {who}")
            rows.append((name, caption, texts.get(name, caption), result.panels[name][i]))
    return [(*words, _as_text(enlarged(pixels, SIDE))) for *words, pixels in rows]


def _alert(sentence: str) -> str:
    text = escape(sentence[:1].upper() + sentence[1:])
    return f'<div class="result"><p role="alert">{text}.</p></div>'


def _head(comparison: FaceComparison, limits: Limits) -> str:
    models = f"encoder {comparison.encoder_name}"
    if comparison.method is not None:
        models += f", pictures by {comparison.method.name}"
    lacking = "".join(f"<li>{escape(sentence)}</li>" for sentence in comparison.lacking)
    return (
        f"<h1>{TITLE}</h1><p>Two faces, compared by an encoder and a linear probe "
        f"({escape(models)}). Research on small sets of pictures: often wrong, and not for "
        "deciding about people. Pictures stay on the machine that serves this page. It removes "
        f"them after {KEPT_SECONDS // 60} minutes, or when it ends. At most {limits.most_mb:g} MB "
        f"and {limits.most_pixels / 1e6:g} megapixels each.</p>"
        + (f'<ul id="lacking">{lacking}</ul>' if lacking else "")
    )
