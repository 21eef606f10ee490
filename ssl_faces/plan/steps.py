"""Steps of a plan, and where an engine takes them from."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_faces.plan.cluster.resources import Resources
from ssl_faces.plan.processes import Failed


def say(line: str) -> None:
    """Print a line at once, also into a pipe: a plan takes hours."""
    print(line, flush=True)


@dataclass
class Step:
    """One command of a plan."""

    name: str  # unique in its plan
    argv: Sequence[str]  # the command, its program first
    log: Path  # all its output is appended there
    out: Path  # its output folder. Steps with the same folder never run at once
    # All that its result depends on, as JSON values
    decides: dict[str, Any] = field(default_factory=dict)
    after: Sequence[str] = ()  # names of the steps that it needs
    # File that keeps `decides` once it is done; None if the output itself shows it
    note: Path | None = None
    is_whole: Callable[[], object] = lambda: True  # whether its output is complete
    always: bool = False  # run it even if it is done
    detail: str = ""  # to print behind its name when it starts
    cost: float = 1.0  # how long it takes, in any unit, beside the other steps
    prepare: Callable[[], object] = str  # called before it starts
    # Variables beside those of this process
    environment: Mapping[str, str] = field(default_factory=dict)
    lock: int | None = None  # that it inherits, if not the plan's
    resources: Resources = field(default_factory=Resources)  # what it needs of a cluster
    here: bool = False  # run it on this machine, whatever the executor: it is short

    @property
    def key(self) -> str:
        """Hash of all that its result depends on."""
        content = json.dumps([list(self.argv), self.decides], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def is_done(self) -> bool:
        """Whether its output is complete, and was made by this very step."""
        if self.always:
            return False
        if self.note is not None:
            try:
                if json.loads(self.note.read_bytes()) != self.decides:
                    return False
            except (OSError, ValueError):
                return False
        return bool(self.is_whole())


class Source(ABC):
    """Where an engine takes steps from."""

    def progress(self) -> str:
        """To print behind a step that starts."""
        return ""

    @abstractmethod
    def next(self, busy: Sequence[Step]) -> Step | None:
        """The next step; None if there is none yet, or no more. `busy` are running."""

    @abstractmethod
    def is_over(self) -> bool:
        """Whether no step is left once those that run have ended."""

    def watch(self, step: Step) -> bool:
        """Called while a step runs; False ends it."""
        return True

    @abstractmethod
    def ended(self, step: Step, error: Failed | None) -> None:
        """A step has ended, or could not be started."""

    def stopped(self, step: Step) -> None:  # noqa: B027
        """A step was ended because the whole plan stops."""
