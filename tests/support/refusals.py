"""Messages about bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ssl_faces import InputError


def message_of(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The text of the InputError of a call; one sentence, on one line."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text


def error_of(main: Callable[..., int], capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The only error line of a program that ends with exit code 2."""
    capsys.readouterr()
    assert main(*arguments) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if ": error: " in x]
    return line
