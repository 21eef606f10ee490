"""Tables as LaTeX: booktabs, plain ASCII, every text escaped, so that the file compiles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from linear_probe.reports.text_tables import Cell, Table

NEEDS = r"% needs \usepackage{booktabs}"

_LETTERS = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "`": "{}`"},
    **{"±": r"$\pm$", "≈": r"$\approx$", "→": r"$\to$", "°": r"$^\circ$", "×": r"$\times$"},
    **{"≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "²": "$^2$", "³": "$^3$", "−": "$-$"},
    **{"†": r"\dag{}", "‡": r"\ddag{}", "▲": r"$\uparrow$", "▼": r"$\downarrow$", "·": r"$\cdot$"},
    **{"σ": r"$\sigma$", "µ": r"$\mu$", "μ": r"$\mu$", "√": r"$\surd$", "½": r"$\frac12$"},
    **{"–": "--", "—": "---", "…": r"\dots{}", "‘": "{}`", "’": "'", "“": "``", "”": "''"},
    **{"ß": r"\ss{}", "æ": r"\ae{}", "ø": r"\o{}", "œ": r"\oe{}", "ł": r"\l{}", "ı": r"\i{}"},
    **{"\u200b": "{}", "Æ": r"\AE{}", "Ø": r"\O{}", "Œ": r"\OE{}", "Ł": r"\L{}"},
}
_ACCENTS = dict(
    zip(
        map(chr, (0x300, 0x301, 0x302, 0x303, 0x304, 0x306, 0x307, 0x308, 0x30A, 0x30B, 0x30C)),
        "`'^~=u.\"rHv",
        strict=True,
    )
) | {chr(0x327): "c"}


def latex_text(text: str) -> str:
    """A text in one line that LaTeX prints as it is.

    A letter that its standard fonts lack is printed as its code point, such as U+4E2D.
    """
    words = unicodedata.normalize("NFC", " ".join(text.split()))
    # Two hyphens in a row would be printed as a dash, two quotes as one of another kind.
    apart = re.sub("([-'])(?=\\1)", "\\1\u200b", words)
    return "".join(map(_letter, apart))


def _letter(letter: str) -> str:
    if letter in _LETTERS:
        return _LETTERS[letter]
    if " " <= letter <= "~":
        return letter
    base, *accents = list(unicodedata.normalize("NFD", letter))
    if base.isascii() and len(accents) == 1 and accents[0] in _ACCENTS:
        return rf"\{_ACCENTS[accents[0]]}{{{base}}}"
    return f"U+{ord(letter):04X}"


def as_latex(table: Table) -> str:
    """The table; intervals and the notes below are in small print."""

    def line(cells: Iterable[str]) -> str:
        text = " & ".join(cells)
        # After a line break both would be read as its arguments.
        return ("{}" if text.startswith(("[", "*")) else "") + text + r" \\"

    columns = "".join("r" if numeric else "l" for numeric in table.numeric)
    name = re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-")
    return "\n".join(
        [
            NEEDS,
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex_text(table.title)}}}",
            rf"\label{{tab:{name}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            line(map(latex_text, table.header)),
            r"\midrule",
            *(line(map(_cell, row)) for row in table.cells),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\footnotesize {latex_text(note)}" for note in table.notes),
            r"\end{table}",
        ]
    )


def _cell(cell: Cell) -> str:
    figure, interval = map(latex_text, cell.parts)
    figure = rf"\textbf{{{figure}}}" if cell.best else figure
    return rf"{figure} {{\scriptsize {interval}}}" if interval else figure
