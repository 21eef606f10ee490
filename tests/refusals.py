"""What is said of what can't be."""

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
