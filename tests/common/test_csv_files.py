"""CSV files without formulas, read back unchanged."""

import csv
import io

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from linear_probe.tasks.own_table import table_faces
from ssl_faces.common.csv_files import CsvWriter, unescaped
from ssl_faces.data.faces import Skipped, write_skipped
from ssl_faces.data.tables import read_table

FORMULAS = ("=cmd|' C'!A0", "+1+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "''@x")


def written(*rows):
    text = io.StringIO()
    CsvWriter(text).writerows(rows)
    return text.getvalue()


def test_numbers_stay_numbers():
    assert written((-1.5, "-0.25", "+3", "-1e-05", None, True, "'tis")) == (
        "-1.5,-0.25,+3,-1e-05,,True,'tis\n"
    )


@given(st.text())
@example("'-5")
def test_texts_are_read_back_and_formulas_are_escaped(text):
    for value in (text, *FORMULAS):
        (cell,) = next(csv.reader(io.StringIO(written((value,)), newline="")), [""])
        assert unescaped(cell) == value
        assert (cell == f"'{value}") or value not in FORMULAS


def test_lists_of_skipped_pictures_are_escaped(tmp_path):
    path = tmp_path / "skipped.csv"
    write_skipped(path, [("=set", Skipped(name, "@why")) for name in FORMULAS])
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))[1:]
    assert {cell[0] for row in rows for cell in row} == {"'"}
    assert [row["picture"] for _, row in read_table(path, ["picture"])] == list(FORMULAS)


def test_a_table_of_labels_finds_its_pictures(tmp_path):
    names = [f"{name}.png" for name in FORMULAS]
    for name in names:
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / name)
    for part in ("train", "test"):
        text = written(("image", "expression"), *((name, "happy") for name in names))
        (tmp_path / f"{part}.csv").write_bytes(text.encode())
    train, _ = table_faces(tmp_path / "train.csv", tmp_path / "test.csv")
    assert [record.key for record in train.records] == names
