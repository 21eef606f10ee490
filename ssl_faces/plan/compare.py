"""`ssl-faces compare`: trains what is not trained yet, scores all encoders, writes the table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ssl_faces.common.errors import InputError, bad_input
from ssl_faces.common.executors import add_jobs, where
from ssl_faces.common.files import replace_file
from ssl_faces.plan.command import plan_parser, run_plan
from ssl_faces.plan.comparison import EXAMPLE, TUNING, Comparison, read
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.stages import PROBE, finished_card, fit_step, fit_words
from ssl_faces.plan.steps import Step, say

COMPARISON_FILE = "comparison.json"
"""What `linear-probe comparison` makes the table from, beside the scores."""


def run(argv: Sequence[str]) -> int:
    """Run `ssl-faces compare`; the exit code is 1 if a run failed. Raises InputError."""
    parser = plan_parser(
        "ssl-faces compare",
        "Train methods on the same faces with the same arithmetic, score their encoders by linear "
        "probes, and write one table. Stopped, the same command resumes.",
        EXAMPLE,
    )
    add_jobs(parser)
    arguments = parser.parse_args(argv)
    source, out = arguments.config, arguments.out
    comparison = read(source)
    tuning = comparison.tuning

    def work(engine: Engine) -> int:
        engine.begin()
        if tuning is None:
            return _compare(comparison, source, out, engine)
        short = comparison.with_arguments(
            {run: (name, own) for name in comparison.methods for run, own in tuning.runs(name)},
            budget_pflop=comparison.budget_pflop * tuning.share,
            seeds=comparison.seeds[:1],
            probe=tuning.probe,
            spaces={},
        )
        names = ("scores of the tuning", TUNING, "tuning")
        methods = _train_and_score(short, source, out / TUNING, engine, names)
        if not any(method.summary()["runs"] for method in methods):
            (out / TUNING / f"{TUNING}.json").unlink(missing_ok=True)  # of an earlier call
        chosen = tuning.chosen(out / TUNING, comparison.methods)
        tuned = comparison.with_arguments({name: (name, own) for name, own in chosen.items()})
        return _compare(tuned, source, out, engine, tuning.about(chosen))

    # Each run counts on all GPUs.
    command = ["ssl-faces", "compare", *argv]
    settings = {"jobs": arguments.jobs, "resources": comparison.resources, **where(arguments)}
    return run_plan(command, out, work, share_gpus=False, **settings)


@dataclass(frozen=True)
class Counted:
    """What a stage of a method gets, for every seed."""

    steps: int  # of training
    flop_a_step: int  # on all devices together
    pairs_a_step: int  # likewise

    @property
    def flop(self) -> int:
        return self.steps * self.flop_a_step


class Method:
    """A method of a comparison in its folder; stages are counted from 0.

    Attributes:
        counted: of each stage, once `count` has run.
        error: the first of its runs.
    """

    def __init__(self, comparison: Comparison, out: Path, name: str) -> None:
        self.comparison, self.folder, self.name = comparison, out / name, name
        self.stages = comparison.methods[name]
        self.counted: list[Counted] = []
        self.error: str | None = None

    def failed(self, message: str) -> None:
        line = " ".join(message.split())
        if self.error in (None, line):
            self.error = line
            say(f"failed: {self.name}: {line}")

    def share(self, stage: int) -> float:
        """The share of a stage in the budget."""
        return self.stages[stage].share or 1 / len(self.stages)

    def _decides(self, stage: int) -> dict[str, Any]:
        """All that decides a run except its seed."""
        budget = {"budget_pflop": self.comparison.budget_pflop, "share": self.share(stage)}
        return self.comparison.decides(self.stages[stage], **budget)

    def _words(self, stage: int, seed: int, previous: Path) -> list[str]:
        configs = self.comparison.configs_of(self.stages[stage])
        return fit_words(configs, self.comparison.arguments_of(self.stages[stage]), seed, previous)

    def _run_folder(self, seed: int, stage: int) -> Path:
        return self.folder / f"seed{seed}" / f"stage{stage + 1}"

    def _read_count(self, stage: int) -> dict[str, Any] | None:
        """Settings and the count that was made with them; None if it can't be read."""
        try:
            content = json.loads((self.folder / f"stage{stage + 1}.json").read_bytes())
            Counted(**content["counted"])
            return content if isinstance(content["settings"], dict) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def check_unchanged(self, source: Path) -> None:
        """Raises InputError if a run was begun with other settings."""
        for i, stage in enumerate(self.stages):
            before = (self._read_count(i) or {}).get("settings")
            for folder in sorted(self.folder.glob(f"seed*/stage{i + 1}")):
                step = Step(folder.name, [], folder, folder, decides=self._decides(i))
                self.comparison.check_unchanged(source, step, stage, before, str(self.folder))

    def count(self) -> None:
        """Set the steps of each stage from the budget and the counted cost of a step.

        Counts of earlier calls with the same settings are read.

        Raises:
            InputError: settings that `fit` refuses, or a budget below the cost of one step.
        """
        stages = range(len(self.stages))
        settings = [self._decides(stage) for stage in stages]
        earlier = [self._read_count(stage) for stage in stages]
        if [count and count["settings"] for count in earlier] == settings:
            self.counted = [Counted(**count["counted"]) for count in earlier if count is not None]
            return
        # Late: it imports torch and Lightning.
        from ssl_faces.training.cost import count

        counts = []
        with TemporaryDirectory() as temporary:
            for stage in stages:
                folder, previous = (Path(temporary) / str(number) for number in (stage, stage - 1))
                words = self._words(stage, self.comparison.seeds[0], previous)
                cost = count(words, keep=None if stage == stages[-1] else folder)
                flop = cost.flop * cost.devices
                budget = self.comparison.budget_pflop * 1e15 * self.share(stage)
                if flop == 0:
                    raise InputError(f"{self.name}: a step of its stage {stage + 1} trains nothing")
                if budget < flop:
                    raise InputError(
                        f"budget_pflop: {amount(budget)} for stage {stage + 1} of {self.name} are "
                        f"less than the {amount(flop)} that one of its steps takes; raise the "
                        "budget"
                    )
                counts.append(Counted(int(budget // flop), flop, cost.pairs * cost.devices))
                a_step = f"{amount(flop)} a step of {counts[-1].pairs_a_step} pairs"
                name = f"{self.name}, stage {stage + 1}" if len(stages) > 1 else self.name
                say(f"{name}: {a_step}, {counts[-1].steps:,} steps")
        for stage, counted in enumerate(counts):
            content = {"settings": settings[stage], "counted": asdict(counted)}
            text = json.dumps(content, indent=2) + "\n"
            replace_file(self.folder / f"stage{stage + 1}.json", text.encode())
        self.counted = counts

    def steps(self, seed: int) -> list[Step]:
        """Its counted stages by one seed."""
        steps: list[Step] = []
        for stage, counted in enumerate(self.counted):
            folder = self._run_folder(seed, stage)
            title = f", stage {stage + 1} of {len(self.stages)}" if len(self.stages) > 1 else ""
            words = self._words(stage, seed, self._run_folder(seed, stage - 1))
            words += ["--trainer.max_steps", str(counted.steps), "--trainer.max_epochs", "-1"]
            step = fit_step(
                f"{self.name}, seed {seed}{title}",
                words,
                folder,
                steps,
                decides=self._decides(stage),
                is_whole=partial(finished_card, folder, counted.steps),
                detail=f"{counted.steps:,} steps, {amount(counted.flop)}",
                cost=counted.flop,
            )
            steps.append(step)
        return steps

    def summary(self) -> dict[str, Any]:
        """Its runs, for the table."""
        runs = []
        for seed in self.comparison.seeds:
            folders = [self._run_folder(seed, stage) for stage in range(len(self.counted))]
            counted = zip(folders, self.counted, strict=True)
            cards = [card for f, n in counted if (card := finished_card(f, n.steps))]
            if not cards or len(cards) < len(folders):
                continue
            runs.append(
                {
                    "seed": seed,
                    "encoder": str(folders[-1]),
                    "steps": [count.steps for count in self.counted],
                    "pairs": sum(int(card["pairs_seen"]) for card in cards),
                    "two_image_share": _two_image_share(cards),
                    "pflop": sum(count.flop for count in self.counted) / 1e15,
                    "seconds": sum(float(card["training_seconds"]) for card in cards),
                    "uses_identity_labels": any(c["uses_identity_labels"] for c in cards),
                    "hardware": cards[-1]["hardware"],
                }
            )
        spaces = self.comparison.spaces.get(self.name, {})
        return {"name": self.name, "runs": runs, "error": self.error, "spaces": spaces}


def _train_and_score(
    comparison: Comparison,
    source: Path,
    out: Path,
    engine: Engine,
    names: tuple[str, str, str],
    about: Mapping[str, Any] | None = None,
) -> list[Method]:
    """Train what is not trained yet, write `comparison.json`, score the encoders and make a page.

    Args:
        names: of the steps of scores and page, and the page's command of `linear-probe`.
        about: what was tuned, for the table.

    Raises:
        InputError: a run was begun with other settings, or the encoders can't be scored.
    """
    methods = [Method(comparison, out, name) for name in comparison.methods]
    for method in methods:
        method.check_unchanged(source)
    for method in methods:
        try:
            method.count()
        except Exception as error:
            # Whatever is wrong with one method, the others are trained.
            method.failed(bad_input(error) or f"{type(error).__name__}: {error}")
    # All methods by one seed before the next, so that there is a table early.
    runs = [
        (method, seed, step)
        for seed in comparison.seeds
        for method in methods
        for step in method.steps(seed)
    ]
    engine.run([step for _, _, step in runs])
    for method, seed, step in runs:
        if step.name in engine.failures:
            method.failed(f"seed {seed}: {engine.failures[step.name]}")
    summaries = [method.summary() for method in methods]
    summary = {
        "budget_pflop": comparison.budget_pflop,
        "folder": str(out),
        "scores": PROBE,
        "methods": summaries,
        **({"tuning": about} if about else {}),
    }
    replace_file(out / COMPARISON_FILE, (json.dumps(summary, indent=2) + "\n").encode())
    encoders = [Path(run["encoder"]) for summary in summaries for run in summary["runs"]]
    if encoders:
        scores, page, command = names
        log = out / "linear-probe.log"
        page_step = (page, [command, str(out)])
        failed = comparison.probe.score(engine, encoders, out, log, page_step, scores)
        if failed is not None:
            raise InputError(
                f"{out}: the runs are done, but not their scores: {failed}"
            ) from failed
    return methods


def _compare(
    comparison: Comparison,
    source: Path,
    out: Path,
    engine: Engine,
    about: Mapping[str, Any] | None = None,
) -> int:
    """Train, score and print the table; 1 if a run failed."""
    names = (PROBE, "table", "comparison")
    methods = _train_and_score(comparison, source, out, engine, names, about)
    if any(method.summary()["runs"] for method in methods):
        say(f"\n{(out / 'comparison.md').read_text()}")
        say(f"table: {out / 'comparison.md'}, {out / 'comparison.csv'}")
    errors = {method.name: method.error for method in methods if method.error is not None}
    for name, message in errors.items():
        say(f"failed: {name}: {message}")
    return 1 if errors else 0


def _two_image_share(cards: Sequence[Mapping[str, Any]]) -> float | None:
    """Share of all pairs, 0 to 1, that are two images of one person; None if a card lacks it."""
    shares: list[Any] = [card.get("share_of_pairs_of_two_pictures") for card in cards]
    pairs = [int(card["pairs_seen"]) for card in cards]
    if None in shares:
        return None
    two = sum(float(share) * n for share, n in zip(shares, pairs, strict=True))
    return two / sum(pairs)


def amount(flop: float) -> str:
    """Arithmetic as text, such as `71.3 GFLOP`."""
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if flop >= 0.1 * size:
            return f"{flop / size:.3g} {unit}"
    return f"{flop / 1e6:.3g} MFLOP"
