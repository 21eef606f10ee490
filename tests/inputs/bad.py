"""Bad values for every type of argument, and the outcome of a command with one."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import pickle
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

import linear_probe.cli
import ssl_faces.cli
from linear_probe.cli import parser as linear_probe_parser
from linear_probe.experiments.verbs import VERBS
from ssl_faces.bench.cli import BENCHES
from ssl_faces.common.arguments import Range

SECONDS = 30
"""Time limit of a command."""
MAIN: dict[str, Callable[[Sequence[str]], int]] = {
    "ssl-faces": ssl_faces.cli.main,
    "linear-probe": linear_probe.cli.main,
}


class Works(BaseException):
    """The command has accepted its arguments and starts working."""


class Hung(BaseException):
    """The command has taken too long."""


class Captured(BaseException):
    """Carries the parser of a command."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


class Case(NamedTuple):
    """A command, all its arguments, and which of them is bad.

    Attributes:
        words: of the command line; `{NAME}` stands for a place.
        name: of the bad argument.
        value: its bad value.
        must_be_refused: whatever else is given.
    """

    program: str
    words: tuple[str, ...]
    name: str
    value: str
    must_be_refused: bool

    def __str__(self) -> str:
        return f"{self.program} {' '.join(self.words)}"


# Valid and cheap required arguments of each command.
_ENCODER = ("--encoder", "{encoder}")
_FACES = ("{faces}", "--detect", "never")
_OUT = ("--out", "{out}")
COMMANDS: dict[str, dict[str, tuple[str, ...]]] = {
    "ssl-faces": {
        **{f"bench {name}": () for name in BENCHES},
        **{f"bench {name}": ("-c", "simclr_small") for name in ("cost", "step")},
        "bench plan": ("--pictures-per-second", "9", "-c", "simclr_small"),
        "cluster": (*_FACES, *_ENCODER, "--out", "{out}.csv", "--distance", "1"),
        "search index": (*_FACES, *_ENCODER, *_OUT),
        "search query": ("{none}", "{face}", "--out", "{out}.csv"),
        "compare": ("-c", "{none}", *_OUT),
        "dashboard": ("{run}", "--out", "{out}.html"),
        "demo": _ENCODER,
        "embed": (*_FACES, *_ENCODER, "--out", "{out}.npz"),
        "expressions": (*_FACES, "--out", "{out}.csv"),
        "export": ("{encoder}", "--out", "{out}.onnx", "--data", "rendered"),
        "frontalise": (*_FACES, *_OUT),
        "gallery": (*_FACES, *_ENCODER, "--out", "{out}.html"),
        "job": ("-c", "{none}", *_OUT),
        "methods": (),
        "neutralise": (*_FACES, *_OUT),
        "pack": ("{faces}", *_OUT),
        "prepare": ("{faces}", *_OUT),
        "release": ("{encoder}", "--name", "kept", *_OUT),
        "render": (*_OUT, "--count", "8"),
        "runs": ("{run}",),
        "serve": _ENCODER,
        "swap-identity": (*_FACES, "--person", "{face}", *_OUT),
        "sweep": ("{none}", *_OUT),
        "translate": ("--motion-of", "{faces}", "--person", "{face}", "--detect", "never", *_OUT),
        "verify": ("{face}", "{face}", "--detect", "never", *_ENCODER, "--out", "{out}.csv"),
    },
    "linear-probe": {
        "run": (*_ENCODER, *_OUT, "--data", "rendered:64", "--task", "expression"),
        "claims": ("-c", "{none}", *_OUT),
        "report": ("{records}",),
        "breakdown": ("{records}",),
        "leakage": ("{records}",),
        "compare": ("{records}", "{row}", "{row}"),
        "comparison": ("{none}",),
        "card": ("{encoder}", "{records}"),
        "keep": ("{records}", "--out", "{out}.jsonl.gz"),
        "predict": ("hybrid", "{face}", "--out", "{out}.csv"),
        "export": ("{none}", "--out", "{out}.onnx"),
        "save-probe": (*_ENCODER, *_OUT, "--data", "rendered:64"),
        "threshold": ("{encoder}", "--data", "{faces}"),
        "readme": ("-c", "{none}"),
        "truth": ("--run", "{none}", *_OUT),
        "frontal": ("--run", "{none}", "--recogniser", "HOG", "--data", "{none}", *_OUT),
        "suite": ("-c", "{none}", *_OUT),
    },
}
SETTINGS = {"ssl-faces": ("fit",), "linear-probe": tuple(VERBS)}
"""Commands whose arguments are settings: see `test_bad_settings`."""

# Functions that start the work of a command.
_WORK = (
    "linear_probe.features.frozen.FeatureCache.fill",
    "ssl_faces.plan.processes.Command.__init__",
    "ssl_faces.rendered.cli.write_set",
    "ssl_faces.apps.web.running.run_app",
    "ssl_faces.apps.export.formats.as_onnx",
    "ssl_faces.apps.export.formats.as_program",
    "ssl_faces.prepare.workers.read_all",
    *(f"ssl_faces.bench.{name}.measure" for name in BENCHES),
)


def stop_before_work(patch: pytest.MonkeyPatch) -> None:
    """Make commands raise `Works` when they start working."""

    def works(*_: Any, **__: Any) -> Any:
        raise Works

    for path in _WORK:
        patch.setattr(path, works)


def parser_of(program: str, command: str) -> argparse.ArgumentParser:
    """The parser of a command."""
    if program == "linear-probe" and command != "suite":
        subparsers = next(
            one
            for one in linear_probe_parser()._actions
            if isinstance(one, argparse._SubParsersAction)
        )
        result: argparse.ArgumentParser = subparsers.choices[command]
        return result

    def capture(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> Any:
        raise Captured(parser)

    # After the checks of our own parser.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", capture)
        try:
            MAIN[program](command.split())
        except Captured as caught:
            parser = caught.parser
    bench = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
    return parser if bench is None else bench.choices[command.split()[1]]


_CONTENTS = {
    "empty": b"",
    "latin1": "model: été\n".encode("latin-1"),
    "zeros": b"\x00" * 64,
    "pickle": pickle.dumps(["never loaded"]),
    "list": b"- 1\n- 2\n",
    "deep": b"[" * 5000,
    "text": b"no settings, no picture, no weights",
}
BAD_FILES = (*_CONTENTS, "loop", "folder", "missing", "x" * 300)
"""Names of unusable files, see `write_bad_files`."""


def write_bad_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, content in _CONTENTS.items():
        (folder / name).write_bytes(content)
    (folder / "loop").symlink_to("loop")
    (folder / "folder").mkdir()


def bad_numbers(allowed: Range) -> list[str]:
    """Texts that are not numbers of a range."""
    result = ["nan", "inf", "-inf", "ten", "[1]", "true", "1e999", "", " ", "0x1"]
    if not math.isinf(allowed.low):
        result += [str(allowed.kind(allowed.low) - 1), "-" + "9" * 30]
        result += [str(allowed.low)] if allowed.above else []
    if not math.isinf(allowed.high):
        result += [str(allowed.kind(allowed.high) + 1), "9" * 30]
        result += [str(allowed.high)] if allowed.below else []
    return result


def range_in(kind: Any) -> Range | None:
    """The range of an argument's type: one number, or comma-separated numbers."""
    if isinstance(kind, Range):
        return kind
    inside = [cell.cell_contents for cell in getattr(kind, "__closure__", None) or ()]
    return next((one for one in inside if isinstance(one, Range)), None)


def cases(program: str, command: str) -> Iterator[Case]:
    """The cases of all arguments of a command."""
    good = COMMANDS[program][command]
    parser = parser_of(program, command)
    positional = [a for a in parser._actions if not a.option_strings]
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        name = action.option_strings[-1] if action.option_strings else ""
        allowed = range_in(action.type)
        if action.nargs == 0:
            values = ["yes", ""]
        elif action.choices is not None:
            values = ["bogus", "", "-1", "null"]
        elif allowed is not None:
            values = bad_numbers(allowed)
        else:
            values = ["", "a\0b", *(f"{{{name}}}" for name in BAD_FILES)]
        for value in values:
            words = list(good)
            if name:
                for option in set(action.option_strings) & {*words}:
                    at = words.index(option)
                    del words[at : at + 2]
                words.append(f"{name}={value}")
            else:
                # Positional arguments stand first, in their order.
                at = positional.index(action)
                words[at : at + 1] = [value]
            refused = allowed is not None or action.choices is not None or value in ("", "a\0b")
            words = [*command.split(), *words]
            yield Case(program, tuple(words), name or action.dest, value, refused)


def outcome(case: Case, places: dict[str, str], folder: Path) -> str | None:
    """Run a command in an empty folder; its one-sentence error, or None.

    Args:
        places: values of `{NAME}` in its words, besides `{out}`.

    Raises:
        AssertionError: it took too long, printed more than a sentence, or left files.
    """
    known = {**places, "out": str(folder / "out")}
    words = [re.sub(r"\{(\w+)\}", lambda result: known[result[1]], word) for word in case.words]

    def hung(number: int, frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    here = Path.cwd()
    message = io.StringIO()
    try:
        os.chdir(folder)
        with contextlib.redirect_stderr(message), contextlib.redirect_stdout(io.StringIO()):
            code = MAIN[case.program](words)
    except Works:
        return None
    except SystemExit as ended:
        raise AssertionError(f"{case}: exit {ended.code!r}: {message.getvalue()}") from ended
    except Hung as error:
        raise AssertionError(f"{case}: hangs") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.chdir(here)
    if code in (0, 1):
        return None
    assert code == 2, f"{case}: exit {code}"
    lines = [line for line in message.getvalue().splitlines() if ": error: " in line]
    assert len(lines) == 1, f"{case}: {message.getvalue()}"
    assert "usage:" not in message.getvalue(), f"{case}: {message.getvalue()}"
    sentence = lines[0].partition(": error: ")[2]
    left = sorted(folder.iterdir())
    assert not left, f"{case}: refused ({sentence}), and left {left}"
    return sentence


def names_it(case: Case, sentence: str) -> bool:
    """Whether an error names the argument or its value."""
    message = sentence.replace("_", "-").lower()
    names = (
        case.name.lstrip("-"),
        case.value.strip("{}"),
        "an argument" if case.value in ("", "a\0b") else "",
    )
    return any(name and name.replace("_", "-").lower() in message for name in names)
