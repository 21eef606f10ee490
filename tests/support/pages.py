"""Pages: their commands, and HTML read by a parser."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


class Page(HTMLParser):
    """Tables by caption as rows of texts, and what a page must not have."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self._rows: list[list[str]] = []
        self._caption: str | None = None
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "line", "circle", "path", "rect"):
            self.open.append(tag)
        if tag == "table":
            self._rows = []
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")
        if tag == "caption":
            self._caption = ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("line", "circle", "path", "rect", "polygon", "polyline") and (
            not self.open or self.open[-1] != tag
        ):
            return
        assert self.open.pop() == tag
        if tag == "caption":
            assert self._caption is not None
            assert self._caption not in self.tables
            self.tables[self._caption] = self._rows
            self._caption = None

    def handle_data(self, data: str) -> None:
        if self._caption is not None:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            self._rows[-1][-1] += data
        if "script" not in self.open and "style" not in self.open:
            self.text += data


ROOT = Path(__file__).parents[2]


README = (ROOT / "README.md").read_text()


def commands(text: str = README) -> list[str]:
    """The lines of the README's shell blocks, continued lines joined."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip() and line[0] != "#"]


def section(page: str, title: str) -> str:
    """A section of a page, by its heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.split(r"^## ", text.split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
