"""The plots of a report as files for a paper, SVG or PDF, each with its title and legend."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from linear_probe.records.collect import find_records
from linear_probe.reports.page import MOST_MAPS, sections
from linear_probe.reports.parts import Plot
from linear_probe.reports.plots import WIDTH, Key, short
from ssl_faces import InputError
from ssl_faces.common.files import replace_file

_STYLE = (
    "text{font:11px Helvetica,Arial,sans-serif;fill:#1d2329}text.tick{fill:#59636e}"
    "text.strong,text.title{font-weight:600}.grid{stroke:#e3e7eb}.axis{stroke:#8a939c}"
    ".frame{fill:none;stroke:#d4d9de}"
)
"""The colours of the page (`page.css`), without its variables, which few viewers of SVG know."""

_TITLE, _LINE = 22, 16  # heights


def write_figures(
    folders: Sequence[str | Path], out: str | Path, pdf: bool = False, most_maps: int | None = None
) -> list[Path]:
    """Write each plot of the report of these runs to the folder `out`; the files.

    Args:
        pdf: as PDF instead of SVG.
        most_maps: 2-D maps to draw; None is the usual number.

    Raises:
        InputError: a folder without records, no plot, or `out` can't be written; PDF can't be made
            here.
    """
    out, found = Path(out), find_records(folders)
    convert = _to_pdf() if pdf else _to_bytes
    written: list[Path] = []
    for section in sections(found, None, MOST_MAPS if most_maps is None else most_maps):
        for part in section.parts:
            for plot in part.plots:
                where = f"{section.title} {section.split} {plot.title}"
                where += f" {part.summary}" if part.summary else ""
                name = re.sub(r"[^a-z0-9]+", "-", where.lower()).strip("-")[:120]
                path = out / f"{name}.{'pdf' if pdf else 'svg'}"
                if path in written:
                    path = path.with_stem(f"{name}-{len(written)}")
                replace_file(path, convert(standalone(plot, plot.keys or part.keys)))
                written.append(path)
    if not written:
        raise InputError(f"{folders[0]}: its records have no interval or curve to plot")
    return written


def standalone(plot: Plot, keys: Sequence[Key] = ()) -> str:
    """A plot as an SVG file: its title above it, and its legend below it."""
    match = re.match(r'<svg viewBox="0 0 [\d.]+ ([\d.]+)"', plot.svg)
    assert match is not None
    height = float(match[1])
    title = ", ".join(filter(None, (plot.title, plot.small)))
    legend = []
    for i, key in enumerate(keys):
        y = _TITLE + height + _LINE * i + 8
        dash = f' stroke-dasharray="{key.dash}"' if key.dash else ""
        legend.append(
            f'<line x1="12" y1="{y - 4:.0f}" x2="34" y2="{y - 4:.0f}" stroke="{key.colour}" '
            f'stroke-width="3"{dash}/><text x="40" y="{y:.0f}">{escape(short(key.name))}</text>'
        )
    whole = _TITLE + height + _LINE * len(keys) + 4
    inner = plot.svg.removeprefix("<svg ")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{whole:.0f}" '
        f'viewBox="0 0 {WIDTH} {whole:.0f}"><style>{_STYLE}</style>'
        f'<text x="4" y="14" class="title">{escape(short(title))}</text>'
        f'<svg y="{_TITLE}" width="{WIDTH}" height="{height:.0f}" {inner}{"".join(legend)}</svg>'
    )


def _to_bytes(svg: str) -> bytes:
    return svg.encode(errors="backslashreplace")


def _to_pdf() -> Callable[[str], bytes]:
    """What makes a PDF of an SVG."""
    try:
        from cairosvg import svg2pdf
    except ImportError as error:
        raise InputError(
            "--pdf needs cairosvg: pip install 'ssl-faces[figures]'; or leave it out, for SVG"
        ) from error
    except OSError as error:
        raise InputError(
            f"--pdf needs the system's library cairo ({error}); install it (Debian: libcairo2), or "
            "leave out --pdf, for SVG"
        ) from error
    return lambda svg: svg2pdf(bytestring=_to_bytes(svg))
