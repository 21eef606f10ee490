"""Files that would run code when they are unpickled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (self.marker,))
