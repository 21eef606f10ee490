"""Messages of errors: on one line, with a limited length."""

import pytest

from ssl_faces.common.errors import reason_of, shorten

NAME = "/data/holiday/" + 20 * "very_" + "long.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("short", "short"),
        (f"can't read {NAME}", f"can't read {NAME}"),
        (f"can't read {NAME} at all", f"can't read {NAME} …"),
        ("a  file.png\n  is \r\n broken", "a  file.png is broken"),
        ("x" * 1000, "x" * 430 + " …"),
    ],
)
def test_file_names_stay_whole(text, message):
    assert shorten(text, 30) == reason_of(ValueError(text), 30) == message
    assert reason_of(TimeoutError()) == "TimeoutError"
