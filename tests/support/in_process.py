"""Steps of a plan that run in this process, which saves the start of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from linear_probe.cli import main as linear_probe
from linear_probe.plans.claims.run import NO_DATA
from linear_probe.tasks import MissingData
from ssl_faces.cli import main as ssl_faces
from ssl_faces.common.errors import InputError
from ssl_faces.plan.processes import Failed

MAIN = {"ssl-faces": ssl_faces, "linear-probe": linear_probe}


class Ended:
    """A process that has ended."""

    pid = 0
    about: Mapping[str, Any] = {}

    def __init__(self, code: int, message: str = "") -> None:
        self.code, self.message = code, message or f"code {code}"

    def check(self) -> bool:
        if self.code:
            raise Failed(self.message, self.code)
        return True

    def ask_to_end(self, number: int) -> None: ...

    def kill(self) -> None: ...


class InProcess:
    """An executor that runs commands in this process.

    Attributes:
        calls: the arguments of each command, in order.
        instead: functions that stand for commands, by their names. They get the arguments.
    """

    def __init__(self, **instead: Callable[[list[str]], object]) -> None:
        self.calls: list[list[str]] = []
        self.instead = instead

    def __call__(
        self, argv: Sequence[str], log: Path, lock: int, environment: Mapping[str, str]
    ) -> Ended:
        words = list(argv[1:])
        self.calls.append(words)
        if words[0] in self.instead:
            try:
                self.instead[words[0]](words)
            except InputError as error:
                return Ended(NO_DATA if isinstance(error, MissingData) else 2, str(error))
            return Ended(0)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in environment.items():
                    patch.setenv(name, value)
                return Ended(MAIN[argv[0]](words))
        finally:
            torch.set_num_threads(threads)

    @property
    def verbs(self) -> list[str]:
        return [words[0] for words in self.calls]
