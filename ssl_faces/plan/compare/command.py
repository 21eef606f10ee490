"""`ssl-faces compare`: trains what is not trained yet, scores all encoders, writes the table."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_faces.common import children
from ssl_faces.common.arguments import Parser
from ssl_faces.common.children import Failed, Stopped
from ssl_faces.common.errors import InputError, bad_input
from ssl_faces.common.files import replace_file

COMPARISON_FILE = "comparison.json"
"""What `linear-probe comparison` makes the table from, beside the scores."""

PROBE = "probe"


def run(argv: Sequence[str]) -> int:
    """Run `ssl-faces compare` with these arguments.

    Returns:
        0 when all is done, 1 where a run failed, 128 and the signal's number where it was stopped.

    Raises:
        InputError: bad input.
    """
    parser = Parser(
        prog="ssl-faces compare",
        description="Train methods on the same faces with the same arithmetic, score their "
        "encoders by linear probes, and write one table. Stopped, the same command goes on.",
    )
    parser.add_argument(
        "-c", "--config", type=Path, required=True, help="such as configs/compare/small.yaml"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs and the table")
    arguments = parser.parse_args(argv)
    # Late, so that `--help` is quick.
    from ssl_faces.plan.compare.plan import check_unchanged
    from ssl_faces.plan.compare.settings import read

    comparison = read(arguments.config)
    check_unchanged(comparison, arguments.out, arguments.config)
    with children.only_one(arguments.out) as lock, children.stoppable():
        try:
            return _Comparing(comparison, arguments.out, lock).run()
        except Stopped as stopped:
            again = shlex.join(["ssl-faces", "compare", *argv])
            _say(f"stopped; what was done is kept, and the same command goes on: {again}")
            return 128 + stopped.number


def _say(line: str) -> None:
    # At once, also into a pipe: a comparison takes hours.
    print(line, flush=True)


class _Comparing:
    def __init__(self, comparison: Any, out: Path, lock: int) -> None:
        from ssl_faces.plan.compare.plan import Counted, Run

        self.comparison = comparison
        self.out = out
        self.lock = lock
        self.counted: dict[str, list[Counted]] = {}
        self.runs: list[Run] = []
        self.errors: dict[str, str] = {}  # of methods, the first of each
        self.not_done: set[tuple[str, int]] = set()  # methods and seeds without an encoder

    def run(self) -> int:
        self._count()
        self._train()
        summary = self._summary()
        text = json.dumps(summary, indent=2) + "\n"
        replace_file(self.out / COMPARISON_FILE, text.encode())
        encoders = [one["encoder"] for method in summary["methods"] for one in method["runs"]]
        if encoders:
            try:
                self._probe(encoders)
                self._child("linear_probe.cli", "linear-probe", ["comparison", str(self.out)])
            except Failed as error:
                raise InputError(f"the runs are done, but not their scores: {error}") from error
            _say(f"\n{(self.out / 'comparison.md').read_text()}")
            _say(f"table: {self.out / 'comparison.md'}, {self.out / 'comparison.csv'}")
        for method, told in self.errors.items():
            _say(f"failed: {method}: {told}")
        return 1 if self.errors else 0

    def _count(self) -> None:
        """The steps of every method. One that can't be counted can't be trained."""
        from ssl_faces.plan.compare.plan import count_stages, runs_of

        for method in self.comparison.methods:
            try:
                self.counted[method] = count_stages(self.comparison, self.out, method, _say)
            except Exception as error:
                # Whatever a method does wrong, the others go on.
                self._failed(method, bad_input(error) or f"{type(error).__name__}: {error}")
        # All methods by one seed before the next: a table can be had early.
        for seed in self.comparison.seeds:
            for method, counted in self.counted.items():
                self.runs += runs_of(self.comparison, self.out, method, seed, counted)

    def _failed(self, method: str, error: str) -> None:
        line = " ".join(error.split())
        self.errors.setdefault(method, line)
        _say(f"failed: {method}: {line}")

    def _train(self) -> None:
        from ssl_faces.plan.compare.plan import amount

        done = sum(one.card() is not None for one in self.runs)
        if done:
            _say(f"{done} of {len(self.runs)} runs are done already")
        for number, one in enumerate(self.runs, start=1):
            if (one.method, one.seed) in self.not_done or one.card() is not None:
                continue
            counted = one.counted
            size = f"{counted.steps:,} steps, {amount(counted.flop)}"
            _say(f"run {number} of {len(self.runs)}: {one.title}: {size}{self._time_left()}")
            try:
                self._child("ssl_faces.cli", "ssl-faces", one.words, one.log)
                if one.card() is None:
                    raise Failed(f"it ended before its {counted.steps:,} steps; see {one.log}")
            except Failed as error:
                self.not_done.add((one.method, one.seed))
                self._failed(one.method, f"seed {one.seed}: {error}")

    def _child(self, module: str, name: str, words: Sequence[str], log: Path | None = None) -> None:
        log = log or self.out / f"{name}.log"
        _say(f"  $ {shlex.join([name, *words])}\n  log: {log}")
        children.run(module, words, log, self.lock)

    def _time_left(self) -> str:
        """By what the runs that are done took for their arithmetic, of the same stage if any."""
        seconds: dict[tuple[str, int], list[float]] = {}
        for one in self.runs:
            card = one.card()
            if card is not None:
                taken = float(card.get("training_seconds", 0)) / one.counted.flop
                seconds.setdefault((one.method, one.stage), []).append(taken)
        if not seconds:
            return ""
        means = {stage: sum(of) / len(of) for stage, of in seconds.items()}
        usual = sum(means.values()) / len(means)
        left = [one for one in self.runs if one.card() is None]
        left = [one for one in left if (one.method, one.seed) not in self.not_done]
        total = sum(one.counted.flop * means.get((one.method, one.stage), usual) for one in left)
        return f"; about {duration(total)} left for all runs"

    def _summary(self) -> dict[str, Any]:
        """The runs by method, for the table."""
        methods = []
        for method in self.comparison.methods:
            found = []
            for seed in self.comparison.seeds:
                stages = [r for r in self.runs if (r.method, r.seed) == (method, seed)]
                cards = [card for run in stages if (card := run.card()) is not None]
                if not stages or len(cards) < len(stages):
                    continue
                found.append(
                    {
                        "seed": seed,
                        "encoder": str(stages[-1].folder),
                        "steps": [run.counted.steps for run in stages],
                        "pairs": sum(int(card["pairs_seen"]) for card in cards),
                        "pflop": sum(run.counted.flop for run in stages) / 1e15,
                        "seconds": sum(float(card["training_seconds"]) for card in cards),
                        "uses_identity_labels": any(c["uses_identity_labels"] for c in cards),
                        "hardware": cards[-1]["hardware"],
                    }
                )
            methods.append(
                {
                    "name": method,
                    "runs": found,
                    "error": self.errors.get(method),
                    "spaces": self.comparison.spaces.get(method, {}),
                }
            )
        return {
            "budget_pflop": self.comparison.budget_pflop,
            "folder": str(self.out),
            "scores": PROBE,
            "methods": methods,
        }

    def _probe(self, encoders: list[str]) -> None:
        """Score all encoders in one run, unless that was done to the very same."""
        folder = self.out / PROBE
        words = ["run", *(word for name in encoders for word in ("--encoder", name))]
        words += ["--out", str(folder), *self.comparison.probe.words()]
        weights = [Path(name) / "encoder" / "encoder.safetensors" for name in encoders]
        asked = {"words": words, "weights": [_sha256(path) for path in weights]}
        note = self.out / "probe.json"
        if note.is_file() and note.read_text() == json.dumps(asked, indent=2):
            return
        _say(f"scoring {len(encoders)} encoders")
        self._child("linear_probe.cli", "linear-probe", words)
        replace_file(note, json.dumps(asked, indent=2).encode())


def duration(seconds: float) -> str:
    """Such as `2 h 05 min`; at least a minute."""
    minutes = max(1, round(seconds / 60))
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours else f"{minutes} min"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
