"""Tables as spreadsheets and colleagues write them: read, or refused by what is wrong."""

import codecs

import pytest

from ssl_faces.data.tables import file_in, has_columns, number_in, read_lines, read_table
from tests.support.refusals import message_of

ROWS = [["Müller 1.png", "0.5", "a"], ["b/2.png", "-1", ""]]


def save(path, separator, encoding, header="image,yaw,Note"):
    lines = [header.split(","), *ROWS]
    text = "".join(
        separator.join(f'"{c}"' if " " in c else c for c in row) + "\r\n" for row in lines
    )
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_separators_and_encodings_are_recognised(separator, encoding, tmp_path):
    path = save(tmp_path / "t.csv", separator, encoding)
    assert list(read_table(path, ["image", "yaw"])) == [
        (f"{path}, line {i}", {"image": image, "yaw": yaw})
        for i, (image, yaw, _) in enumerate(ROWS, 2)
    ]
    assert len(read_lines(path)) == 3


@pytest.mark.parametrize("header", ["IMAGE,Yaw,x", " Image , YAW,x", "image,yaw,,,"])
def test_columns_are_found_in_any_case_and_beside_empty_ones(header, tmp_path):
    path = tmp_path / "t.csv"
    spare = header.count(",") - 1
    path.write_text(
        f"{header}\na.png,1{',' * spare}\n{',' * (spare + 1)}\n\nb.png,2{',' * spare}\n"
    )
    assert [(where[-1], row["yaw"]) for where, row in read_table(path, ["image", "yaw"])] == [
        ("2", "1"),
        ("5", "2"),
    ]
    assert has_columns(path, "Image", "yaw")
    assert not has_columns(path, "pitch")


def test_a_line_that_states_the_separator_is_no_header(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sep=;\nimage;a,b,c;yaw\na.png;;1,5\n")
    [(where, row)] = read_table(path, ["image", "yaw"])
    assert where == f"{path}, line 3"
    assert number_in(row["yaw"], "yaw", where, -90, 90) == 1.5


def test_thousands_are_no_decimals():
    for text in ("1,000,000", "1.000,5", ",5x"):
        assert "is not a number" in message_of(number_in, text, "age", "t.csv, line 2").replace(
            f"'{text}', ", "is "
        )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("image,yaw\nMüller.png,1\n".encode("cp1252"), "byte 0xfc is not UTF-8, and may be of Win"),
        (b"PK\3\4" + bytes(600), "an Excel workbook"),
        (bytes(range(256)), "is not a text file"),
        (codecs.BOM_UTF16_LE + "image,yaw\n".encode("utf-16-le") + b"\0", "is not a text file"),
        (b"image yaw\na.png 1\n", "is one column, 'image yaw'; separate columns by commas"),
        (
            b"image,Gaze\na.png,1\n",
            "column yaw is missing; the first line must name image, yaw, and",
        ),
        (b"image,yaw,YAW\na.png,1,2\n", "column yaw comes twice"),
        (b"image;yaw\na;b.png;1\n", "line 2: 3 columns instead of 2"),
        (b"", "is one column, ''"),
    ],
)
def test_what_is_wrong_is_named(data, message, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    text = message_of(lambda: list(read_table(path, ["image", "yaw"])))
    assert message in text
    assert str(path) in text


def test_windows_paths(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").touch()
    (tmp_path / "a\\2.png").touch()
    assert file_in("a\\1.png", tmp_path / "no", tmp_path) == ("a/1.png", tmp_path / "a/1.png")
    assert file_in("a\\2.png", tmp_path) == ("a\\2.png", tmp_path / "a\\2.png")
    assert file_in("x" * 300, tmp_path) == ("x" * 300, None)
