"""One loop for all experiments: what they measure becomes records, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.common.plurals import plural
from ssl_faces.common.ranges import check_fields

if TYPE_CHECKING:  # imported late, so that `--help` needs no torch
    from linear_probe.records.measured import Measured
    from linear_probe.records.record import Record
    from linear_probe.records.recorder import RunFolder
    from ssl_faces.data import FaceSet, Skipped

Say = Callable[[str], None]
"""Prints a line for the user."""


def print_line(line: str) -> None:
    """Print at once, also into a pipe: a run takes minutes."""
    print(line, flush=True)


@dataclass(frozen=True)
class Run:
    """The environment of a running experiment.

    Attributes:
        folder: of the output.
        device: `cpu` or `cuda`.
        say: prints a line for the user.
        settings: the experiment's settings as plain JSON values.
        earlier: the records that the folder had before.
    """

    folder: RunFolder
    device: str
    say: Say
    settings: dict[str, Any]
    earlier: Sequence[Record] = ()

    @property
    def out(self) -> Path:
        return self.folder.path

    def skip(self, faces: FaceSet, indices: Iterable[int], skipped: Sequence[Skipped]) -> None:
        """List the skipped images among the records `indices` of a face set in skipped.csv."""
        keys = (faces.records[i].key for i in indices)
        path = self.folder.skip(faces.name, keys, skipped)
        if skipped:
            self.say(f"{plural(len(skipped), 'picture')} skipped: see {path}")


class Experiment:
    """A dataclass: its fields are the settings, documented under `Attributes`.

    `module` names the module with the function `measurements(settings, run)`. It is imported when
    the experiment runs, so that settings need no torch.
    """

    module = ""
    writes = "folder for records.jsonl"

    def __post_init__(self) -> None:
        check_fields(self, "")

    def measurements(self, run: Run) -> Iterator[Measured]:
        """Measure; each measurement is recorded before the next one is computed.

        Raises:
            InputError: a setting, the data or the output folder can't be used.
        """
        found: Iterator[Measured] = import_module(self.module).measurements(self, run)
        return found

    @property
    def computes_on(self) -> str:
        """`cpu`, `cuda` or `auto`."""
        return str(getattr(self, "device", "cpu"))

    @property
    def hardware_note(self) -> str:
        """Added to the records' hardware."""
        return ""

    def summary(self, out: Path, records: list[Record]) -> str | None:
        """What is printed at the end; None: the tables of the records."""
        return None


def device_named(name: str) -> str:
    """`cpu` or `cuda`; `auto` is `cuda` where torch has it.

    Raises:
        InputError: `cuda` without a CUDA device.
    """
    import torch

    from ssl_faces import InputError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no CUDA device here; take --device cpu")
    return name


def run_experiment(
    experiment: Experiment,
    out: str | Path,
    settings: dict[str, Any] | None = None,
    say: Say = print_line,
    brief: bool = False,
) -> list[Record]:
    """Run an experiment and write its figures to `out`/records.jsonl; the new records.

    Earlier records in the folder stay, but for those of the same key, which are replaced. Each
    measurement is written at once, so that an interrupted run keeps what it has.

    Args:
        settings: the experiment's settings as plain JSON values, where they come from a file.
        brief: report the first figure of each measurement only.

    Raises:
        InputError: as of `measurements`; a figure is NaN or infinite; `out` can't be written.
    """
    from linear_probe.records.recorder import RunFolder
    from ssl_faces.common.hardware import hardware

    device = device_named(experiment.computes_on)
    folder = RunFolder(Path(out))
    # Before the work, so that unreadable files are an error now.
    run = Run(folder, device, say, settings or {}, folder.records())
    folder.replicates()
    where = hardware(device) + experiment.hardware_note
    records: list[Record] = []
    for measurement in experiment.measurements(run):
        records += folder.add_measured(measurement, where)
        line = _line(measurement, brief)
        if line:
            say(line)
    return records


def _line(row: Measured, brief: bool) -> str:
    """A measurement in words; empty for rows that only stand in the tables: those that need no
    features, and groups of people."""
    from linear_probe.records.measured import condition_in_words

    if row.condition is not None:
        if isinstance(row.condition["level"], str):
            return ""
        first = row.figures[0]
        return (
            f"  {condition_in_words(row.condition)}: {first.metric} {first.value:.2f} {first.unit}"
        ).rstrip()
    if not row.space:
        return ""
    values = [
        f"{one.metric}{_probe(one.probe, one.metric)} {one.value:.2f} {one.unit}".rstrip()
        for one in (row.figures[:1] if brief else row.figures)
    ]
    return (
        f"{row.task.name}: {row.encoder}, {row.space}{_probe(row.probe, row.encoder)}: "
        f"seed {row.task.seed}: {', '.join(values)} ({row.seconds:.1f} s)"
    )


def _probe(name: str, shown: str) -> str:
    """A probe's name in brackets, where the line does not have it already."""
    return "" if name in shown else f" ({name})"
