"""`ssl-faces compare`: trains what is not trained yet, scores all encoders, writes the table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from ssl_faces.common.errors import InputError, bad_input
from ssl_faces.common.files import replace_file
from ssl_faces.common.ranges import GlobalSeed, PositiveFloat, UnitAbove0
from ssl_faces.common.yaml_settings import (
    PREVIOUS,
    Arguments,
    Name,
    Strict,
    check_configs,
    read_as,
    settled,
)
from ssl_faces.plan import stages as plan_stages
from ssl_faces.plan.command import add_jobs, plan_parser, refuse_changes, run_plan
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.stages import (
    PROBE,
    Probe,
    finished_card,
    fit_step,
    fit_words,
    free_of,
    uses_previous,
)
from ssl_faces.plan.steps import Step, say
from ssl_faces.training.run_record import has_checkpoint

EXAMPLE = "configs/compare/small.yaml"
COMPARISON_FILE = "comparison.json"
"""What `linear-probe comparison` makes the table from, beside the scores."""

_Free = Annotated[Arguments, free_of(plan_stages.OWN_KEYS | plan_stages.LENGTHS, "comparison")]


class Stage(plan_stages.Stage):
    """One run of `ssl-faces fit`.

    Attributes:
        share: of the budget; the shares of several stages sum to 1. Default: equal ones.
    """

    arguments: _Free = Field(default_factory=dict)
    share: UnitAbove0 | None = None


class Comparison(Strict):
    """Methods that get the same budget on the same data.

    Attributes:
        budget_pflop: 10^15 multiplications and additions of training, of each run with all its
            stages.
        seeds: each method is trained with each.
        methods: the stages of each method by its name in the table.
        configs: further files for `-c`, of every stage.
        arguments: `--KEY=VALUE` of every stage; a stage's own come after them.
        probe: how encoders are scored.
        spaces: by method, the feature space of a task, if it is not to be chosen on the validation
            split.
    """

    budget_pflop: PositiveFloat
    seeds: list[GlobalSeed] = Field(min_length=1)
    methods: dict[Name, list[Stage]] = Field(min_length=1)
    configs: list[str] = Field(default_factory=list)
    arguments: _Free = Field(default_factory=dict)
    probe: Probe = Probe()
    spaces: dict[str, dict[str, str]] = Field(default_factory=dict)

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is there twice; name each once")
        return seeds

    @model_validator(mode="after")
    def _consistent(self) -> Comparison:
        for name, stages in self.methods.items():
            if name == PROBE:
                raise ValueError(
                    f"methods: '{PROBE}' is the folder of the scores; choose another name"
                )
            shares = [stage.share for stage in stages if stage.share is not None]
            if not stages:
                raise ValueError(f"methods.{name}: no stage; give at least one with its configs")
            if shares and (len(shares) < len(stages) or abs(sum(shares) - 1) > 1e-6):
                raise ValueError(
                    f"methods.{name}: the shares of its {len(stages)} stages don't sum to 1; give "
                    "each stage its share, or none"
                )
            if uses_previous(stages[0].arguments):
                raise ValueError(
                    f"methods.{name}: {PREVIOUS} in its first stage, which has none before it"
                )
        unknown = sorted(set(self.spaces) - set(self.methods))
        if unknown:
            raise ValueError(f"spaces: no method '{unknown[0]}'; name those of `methods`")
        return self

    def share(self, method: str, stage: int) -> float:
        """The share of a stage in the budget; stages are counted from 0."""
        stages = self.methods[method]
        return stages[stage].share or 1 / len(stages)

    def configs_of(self, method: str, stage: int) -> list[str]:
        return [*self.methods[method][stage].configs, *self.configs]

    def arguments_of(self, method: str, stage: int) -> Arguments:
        return {**self.arguments, **self.methods[method][stage].arguments}

    def decides(self, method: str, stage: int) -> dict[str, Any]:
        """All that decides a run except its seed, as JSON values; configs by their contents."""
        budget = {"budget_pflop": self.budget_pflop, "share": self.share(method, stage)}
        arguments = self.arguments_of(method, stage)
        return settled(self.configs_of(method, stage), {**budget, **arguments})


def read(path: Path) -> Comparison:
    """A comparison from its file.

    Raises:
        InputError: no such file, not YAML, or invalid settings; says which.
    """
    comparison = read_as(Comparison, path, EXAMPLE)
    for stage in (stage for stages in comparison.methods.values() for stage in stages):
        check_configs(path, [*stage.configs, *comparison.configs])
    return comparison


def run(argv: Sequence[str]) -> int:
    """Run `ssl-faces compare` with these arguments.

    Returns:
        0 when all is done, 1 if a run failed, 128 plus the signal's number if it was stopped.

    Raises:
        InputError: bad input.
    """
    parser = plan_parser(
        "ssl-faces compare",
        "Train methods on the same faces with the same arithmetic, score their encoders by linear "
        "probes, and write one table. Stopped, the same command resumes.",
        EXAMPLE,
    )
    add_jobs(parser)
    arguments = parser.parse_args(argv)
    comparison, out = read(arguments.config), arguments.out
    _check_unchanged(comparison, out, arguments.config)

    def work(engine: Engine) -> int:
        engine.begin()
        return _Comparing(comparison, out, engine).run()

    # Each run counts on all GPUs.
    command = ["ssl-faces", "compare", *argv]
    return run_plan(command, out, work, jobs=arguments.jobs, share_gpus=False)


@dataclass(frozen=True)
class Counted:
    """What a stage of a method gets, for every seed.

    Attributes:
        steps: of training.
        flop_a_step: on all devices together.
        pairs_a_step: likewise.
    """

    steps: int
    flop_a_step: int
    pairs_a_step: int

    @property
    def flop(self) -> int:
        return self.steps * self.flop_a_step


class _Comparing:
    def __init__(self, comparison: Comparison, out: Path, engine: Engine) -> None:
        self.comparison, self.out, self.engine = comparison, out, engine
        self.counted: dict[str, list[Counted]] = {}
        self.errors: dict[str, str] = {}  # of methods, the first of each

    def run(self) -> int:
        for method in self.comparison.methods:
            try:
                self.counted[method] = count_stages(self.comparison, self.out, method)
            except Exception as error:
                # Whatever is wrong with one method, the others are trained.
                self._failed(method, bad_input(error) or f"{type(error).__name__}: {error}")
        # All methods by one seed before the next, so that there is a table early.
        runs = {
            (method, seed): self._steps(method, seed)
            for seed in self.comparison.seeds
            for method in self.counted
        }
        self.engine.run([step for steps in runs.values() for step in steps])
        for (method, seed), steps in runs.items():
            for step in steps:
                if step.name in self.engine.failures:
                    self._failed(method, f"seed {seed}: {self.engine.failures[step.name]}")
        methods = [self._summary(method) for method in self.comparison.methods]
        summary = {
            "budget_pflop": self.comparison.budget_pflop,
            "folder": str(self.out),
            "scores": PROBE,
            "methods": methods,
        }
        text = json.dumps(summary, indent=2) + "\n"
        replace_file(self.out / COMPARISON_FILE, text.encode())
        encoders = [Path(run["encoder"]) for method in methods for run in method["runs"]]
        if encoders:
            self._score(encoders)
        for method, message in self.errors.items():
            say(f"failed: {method}: {message}")
        return 1 if self.errors else 0

    def _failed(self, method: str, message: str) -> None:
        line = " ".join(message.split())
        if self.errors.setdefault(method, line) == line:
            say(f"failed: {method}: {line}")

    def _folder(self, method: str, seed: int, stage: int) -> Path:
        return self.out / method / f"seed{seed}" / f"stage{stage + 1}"

    def _steps(self, method: str, seed: int) -> list[Step]:
        """The stages of a method by one seed."""
        steps: list[Step] = []
        stages = self.counted[method]
        for stage, counted in enumerate(stages):
            folder = self._folder(method, seed, stage)
            title = f", stage {stage + 1} of {len(stages)}" if len(stages) > 1 else ""
            words = _fit_words(
                self.comparison, method, stage, seed, self._folder(method, seed, stage - 1)
            )
            words += ["--trainer.max_steps", str(counted.steps), "--trainer.max_epochs", "-1"]
            step = fit_step(
                f"{method}, seed {seed}{title}",
                words,
                folder,
                steps,
                decides=self.comparison.decides(method, stage),
                is_whole=partial(finished_card, folder, counted.steps),
                detail=f"{counted.steps:,} steps, {amount(counted.flop)}",
                cost=counted.flop,
            )
            steps.append(step)
        return steps

    def _summary(self, method: str) -> dict[str, Any]:
        """The runs of a method, for the table."""
        runs = []
        counts = self.counted.get(method, [])
        for seed in self.comparison.seeds:
            folders = [self._folder(method, seed, stage) for stage in range(len(counts))]
            cards = [
                card
                for folder, count in zip(folders, counts, strict=True)
                if (card := finished_card(folder, count.steps))
            ]
            if not cards or len(cards) < len(folders):
                continue
            runs.append(
                {
                    "seed": seed,
                    "encoder": str(folders[-1]),
                    "steps": [count.steps for count in counts],
                    "pairs": sum(int(card["pairs_seen"]) for card in cards),
                    "two_image_share": _two_image_share(cards),
                    "pflop": sum(count.flop for count in counts) / 1e15,
                    "seconds": sum(float(card["training_seconds"]) for card in cards),
                    "uses_identity_labels": any(c["uses_identity_labels"] for c in cards),
                    "hardware": cards[-1]["hardware"],
                }
            )
        spaces = self.comparison.spaces.get(method, {})
        return {"name": method, "runs": runs, "error": self.errors.get(method), "spaces": spaces}

    def _score(self, encoders: list[Path]) -> None:
        log = "linear-probe.log"
        scores = self.comparison.probe.step(encoders, self.out, log)
        table = ["linear-probe", "comparison", str(self.out)]
        page = Step("table", table, self.out / log, self.out, after=[PROBE], always=True)
        self.engine.run([scores, page], quiet=True)
        for name in (PROBE, "table"):
            if name in self.engine.failures:
                error = self.engine.failures[name]
                raise InputError(f"the runs are done, but not their scores: {error}") from error
        say(f"\n{(self.out / 'comparison.md').read_text()}")
        say(f"table: {self.out / 'comparison.md'}, {self.out / 'comparison.csv'}")


def _check_unchanged(comparison: Comparison, out: Path, source: Path) -> None:
    """Raises InputError if a run was begun with other settings."""
    for method, stages in comparison.methods.items():
        for stage in range(len(stages)):
            folders = sorted((out / method).glob(f"seed*/stage{stage + 1}"))
            # A run that failed before its first checkpoint restricts nothing.
            begun = [folder for folder in folders if has_checkpoint(folder)]
            earlier = _read_count(out, method, stage)
            if begun and earlier is not None:
                now = comparison.decides(method, stage)
                configs = comparison.configs_of(method, stage)
                delete = str(out / method)
                refuse_changes(source, begun[0], earlier["settings"], now, configs, delete)


def count_stages(comparison: Comparison, out: Path, method: str) -> list[Counted]:
    """The steps of each stage of a method, from the budget and the counted cost of a step.

    Counts of earlier calls with the same settings are read.

    Raises:
        InputError: settings that `fit` refuses, or a budget below the cost of one step.
    """
    stages = range(len(comparison.methods[method]))
    settings = [comparison.decides(method, stage) for stage in stages]
    earlier = [_read_count(out, method, stage) for stage in stages]
    if [count and count["settings"] for count in earlier] == settings:
        return [Counted(**count["counted"]) for count in earlier if count is not None]
    # Late: it imports torch and Lightning.
    from ssl_faces.bench.cost import count

    counts = []
    with TemporaryDirectory() as temporary:
        for stage in stages:
            folder, previous = (Path(temporary) / str(number) for number in (stage, stage - 1))
            words = _fit_words(comparison, method, stage, comparison.seeds[0], previous)
            cost = count(words, keep=None if stage == stages[-1] else folder)
            flop = cost.flop * cost.devices
            budget = comparison.budget_pflop * 1e15 * comparison.share(method, stage)
            if flop == 0:
                raise InputError(f"{method}: a step of its stage {stage + 1} trains nothing")
            if budget < flop:
                raise InputError(
                    f"budget_pflop: {amount(budget)} for stage {stage + 1} of {method} are less "
                    f"than the {amount(flop)} that one of its steps takes; raise the budget"
                )
            counts.append(Counted(int(budget // flop), flop, cost.pairs * cost.devices))
            a_step = f"{amount(flop)} a step of {counts[-1].pairs_a_step} pairs"
            name = f"{method}, stage {stage + 1}" if len(stages) > 1 else method
            say(f"{name}: {a_step}, {counts[-1].steps:,} steps")
    for stage, counted in enumerate(counts):
        content = {"settings": settings[stage], "counted": asdict(counted)}
        text = json.dumps(content, indent=2) + "\n"
        replace_file(_count_file(out, method, stage), text.encode())
    return counts


def _fit_words(
    comparison: Comparison, method: str, stage: int, seed: int, previous: Path
) -> list[str]:
    configs = comparison.configs_of(method, stage)
    return fit_words(configs, comparison.arguments_of(method, stage), seed, previous)


def _count_file(out: Path, method: str, stage: int) -> Path:
    return out / method / f"stage{stage + 1}.json"


def _read_count(out: Path, method: str, stage: int) -> dict[str, Any] | None:
    """Settings and the count that was made with them; None if it can't be read."""
    try:
        content = json.loads(_count_file(out, method, stage).read_bytes())
        Counted(**content["counted"])
        return content if isinstance(content["settings"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _two_image_share(cards: Sequence[Mapping[str, Any]]) -> float | None:
    """Share of all pairs, 0 to 1, that are two images of one person; None if a card lacks it."""
    pairs = two_images = 0.0
    for card in cards:
        share = card.get("share_of_pairs_of_two_pictures")
        if share is None:
            return None
        pairs += int(card["pairs_seen"])
        two_images += float(share) * int(card["pairs_seen"])
    return two_images / pairs


def amount(flop: float) -> str:
    """Arithmetic as text, such as `71.3 GFLOP`."""
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if flop >= 0.1 * size:
            return f"{flop / size:.3g} {unit}"
    return f"{flop / 1e6:.3g} MFLOP"
