"""Tables in LaTeX and figures for a paper."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from linear_probe.cli import main
from linear_probe.records.record import RECORDS_FILE, write_records
from linear_probe.records.replicates import REPLICATES_FILE, write_replicates
from linear_probe.reports.latex import as_latex, latex_text
from linear_probe.reports.text_tables import Cell, Table
from tests.support.records import ONE

PRINTED = {
    **{f"\\{letter}": letter for letter in "&%$#_{}"},
    **{r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^"},
    **{r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", "''": '"'},
    **{r"$\pm$": "±", r"$\approx$": "≈", "{}": ""},
    **{"---": "—", "--": "–", "``": "“"},
}
"""What LaTeX prints of commands and ligatures, as far as `ASCII` and house texts need it."""

ASCII = "".join(map(chr, range(33, 127)))
EVIL = [
    ASCII,
    "runs/a_b--c---d & 50 % ?` !` ''x'' ~/^$#{}\\input{/etc/passwd}",
    "44.12 ± 1.00 ≈ [42.50, 45.75]",
    "[z] *star* % comment",
]


def printed(latex):
    """An oracle: reads LaTeX from left to right as TeX does, the longest token first."""
    text = ""
    tokens = sorted(PRINTED, key=len, reverse=True)
    while latex:
        token = next((t for t in tokens if latex.startswith(t)), latex[0])
        assert token in PRINTED or token not in "\\{}$&#%_^~", (
            f"{token!r} is not escaped: {latex!r}"
        )
        assert not latex.startswith(("?`", "!`")), "a ligature"
        text += PRINTED.get(token, token)
        latex = latex[len(token) :]
    return text


@pytest.mark.parametrize("text", EVIL)
def test_latex_prints_a_text_as_it_is(text):
    assert printed(latex_text(text)) == text


def test_latex_is_ascii_in_one_line():
    text = latex_text("é ő Å ø 中\n\n\udc80 e\u0301 1–2 “a” 3 ≤ σ²")
    assert text == (r"\'{e} \H{o} \r{A} \o{} U+4E2D U+DC80 \'{e} 1--2 ``a'' 3 $\leq$ $\sigma$$^2$")


TABLE = Table(
    "a_b & 5 %",
    ["[encoder", "accuracy %"],
    [
        ["x|y", Cell("44.12* ± 1.00 [42.50, 45.75]", 44.12, best=True)],
        ["*z", Cell("43.00 [42.00, 44.00] ≈", 43.0)],
        ["[w]", "-"],
    ],
    ["a note"],
)


def test_a_table_with_numbers_on_the_right_and_small_intervals():
    lines = as_latex(TABLE).splitlines()
    assert r"\caption{a\_b \& 5 \%}" in lines
    assert r"\label{tab:a-b-5}" in lines
    assert r"\begin{tabular}{lr}" in lines
    bold = r"\textbf{44.12* $\pm$ 1.00} {\scriptsize [42.50, 45.75]}"
    assert rf"x\textbar{{}}y & {bold} \\" in lines
    # A row that begins with one of these would be read as an argument of the line break before it.
    assert r"{}*z & 43.00 {\scriptsize [42.00, 44.00] $\approx$} \\" in lines
    assert r"{}[w] & - \\" in lines
    assert lines[lines.index(r"\toprule") + 1] == r"{}[encoder & accuracy \% \\"
    assert [line for line in lines if "rule" in line] == [r"\toprule", r"\midrule", r"\bottomrule"]


def test_reports_as_latex(tmp_path, capsys):
    write_records(tmp_path / RECORDS_FILE, [ONE])
    assert main(["report", str(tmp_path), "--latex"]) == 0
    output = capsys.readouterr().out
    row = r"a & expression\\_map & 44\.12 \{\\scriptsize \[42\.50, 45\.75\]\} & 3,589 &"
    assert re.search(row, output)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r.tex")]) == 0
    assert (tmp_path / "r.tex").read_text() == output
    assert main(["report", str(tmp_path), "--latex", "--markdown"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_a_papers_table_marks_the_best_and_what_is_tied(tmp_path, capsys):
    draws = np.random.default_rng(0).normal(size=500).astype(np.float32)
    a = replace(ONE, sample="s", encoder="a")
    close = replace(a, encoder="close", value=43.9)
    far = replace(a, encoder="far", value=30.0)
    write_records(tmp_path / RECORDS_FILE, [far, close, a])
    of = {a.name: 44.12 + draws, close.name: 43.9 + draws[::-1], far.name: 30 + draws}
    write_replicates(tmp_path / REPLICATES_FILE, of)
    assert main(["report", str(tmp_path), "--latex"]) == 0
    lines = {line.split(" & ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert r"\textbf{44.12}" in lines["a"]
    assert r"$\approx$" in lines["close"]
    assert r"\textbf" not in lines["far"] + lines["close"]
    assert r"$\approx$" not in lines["far"] + lines["a"]


def test_figures_are_files_of_their_own(tmp_path, capsys):
    blur = [
        replace(ONE, encoder=name, condition={"factor": "blur", "level": level, "unit": "px"})
        for name in ("<b> & c", "d" * 80)
        for level in (1, 2)
    ]
    write_records(tmp_path / "run" / RECORDS_FILE, [ONE, *blur])
    out = tmp_path / "figures"
    assert main(["report", str(tmp_path / "run"), "--figures", str(out)]) == 0
    assert capsys.readouterr().out == f"2 figures: {out}\n"
    names = [
        "expression-fer-2013-training-publictest-accuracy-by-blur.svg",
        "expression-fer-2013-training-publictest-accuracy.svg",
    ]
    assert sorted(path.name for path in out.iterdir()) == names
    for name in names:
        root = ElementTree.parse(out / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
        assert texts[0] == (
            "accuracy by blur" if "blur" in name else "accuracy, %, higher is better"
        )
        assert ("<b> & c · expression_map" in texts) == ("blur" in name)  # the legend
    again = ["report", str(tmp_path / "run"), "--figures", str(tmp_path / "pdf"), "--pdf"]
    pytest.importorskip("cairosvg")
    assert main(again) == 0
    for path in (tmp_path / "pdf").iterdir():
        assert path.suffix == ".pdf"
        assert path.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pdf"], "--pdf is for figures: add --figures FOLDER"),
        (["--maps", "1"], "--maps is for an .html report or figures"),
    ],
)
def test_arguments_of_figures(words, message, tmp_path, capsys):
    write_records(tmp_path / RECORDS_FILE, [ONE])
    assert main(["report", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
