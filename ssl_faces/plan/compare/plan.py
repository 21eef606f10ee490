"""The runs of a comparison: how many steps each gets, where it is kept, and whether it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.yaml_settings import PREVIOUS, Arguments, first_change, flags, settled
from ssl_faces.encoders.encoder import read_card
from ssl_faces.plan.compare.settings import Comparison
from ssl_faces.training.run_record import has_checkpoint


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


@dataclass(frozen=True)
class Run:
    """One run of `ssl-faces fit`.

    Attributes:
        stage: counted from 1.
        folder: its `--out`.
        words: the command's, behind `ssl-faces`.
    """

    method: str
    seed: int
    stage: int
    stages: int
    folder: Path
    words: list[str]
    counted: Counted

    @property
    def title(self) -> str:
        stage = f", stage {self.stage} of {self.stages}" if self.stages > 1 else ""
        return f"{self.method}, seed {self.seed}{stage}"

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def card(self) -> dict[str, Any] | None:
        """Of the encoder, if the run is over; None where it is not."""
        try:
            card = read_card(self.folder / "encoder")
        except InputError:
            return None
        return card if card.get("steps") == self.counted.steps else None


def check_unchanged(comparison: Comparison, out: Path, source: Path) -> None:
    """That no run which exists was begun with other settings.

    Raises:
        InputError: one was; says which setting.
    """
    for method, stages in comparison.methods.items():
        for number in range(1, len(stages) + 1):
            # What failed before its first checkpoint binds nothing.
            stages_there = sorted((out / method).glob(f"seed*/stage{number}"))
            begun = [folder for folder in stages_there if has_checkpoint(folder)]
            was = _noted(out, method, number)
            if not begun or was is None:
                continue
            now = _settings(comparison, method, number)
            changed = first_change(was["settings"], now, _configs(comparison, method))
            if changed is not None:
                raise InputError(
                    f"{source}: {begun[0]} was begun with other settings ({changed}); set it "
                    f"back, give another --out, or delete {out / method}"
                )


def count_stages(
    comparison: Comparison, out: Path, method: str, say: Callable[[str], None]
) -> list[Counted]:
    """The steps of each stage of a method, from the budget and the counted cost of a step.

    What was counted before with the same settings is not counted again.

    Raises:
        InputError: settings that `fit` refuses, or a budget below the cost of one step.
    """
    stages = len(comparison.methods[method])
    noted = [_noted(out, method, number) for number in range(1, stages + 1)]
    if all(
        was is not None and was["settings"] == _settings(comparison, method, number)
        for number, was in enumerate(noted, start=1)
    ):
        return [Counted(**was["counted"]) for was in noted if was is not None]
    # Late: it imports torch and Lightning.
    from ssl_faces.bench.cost import count

    found = []
    with TemporaryDirectory() as kept:
        for number in range(1, stages + 1):
            folder = Path(kept) / str(number)
            previous = Path(kept) / str(number - 1)
            words = _words(comparison, method, number, comparison.seeds[0], previous)
            cost = count(words, keep=folder if number < stages else None)
            flop = cost.flop * cost.devices
            budget = comparison.budget_pflop * 1e15 * comparison.share(method, number - 1)
            if flop == 0:
                raise InputError(f"{method}: a step of its stage {number} trains nothing")
            if budget < flop:
                raise InputError(
                    f"budget_pflop: {amount(budget)} for stage {number} of {method} are less than "
                    f"the {amount(flop)} that one of its steps takes; raise the budget"
                )
            found.append(Counted(int(budget // flop), flop, cost.pairs * cost.devices))
            a_step = f"{amount(flop)} a step of {found[-1].pairs_a_step} pairs"
            name = f"{method}, stage {number}" if stages > 1 else method
            say(f"{name}: {a_step}, {found[-1].steps:,} steps")
    for number, counted in enumerate(found, start=1):
        content = {"settings": _settings(comparison, method, number), "counted": asdict(counted)}
        replace_file(_note(out, method, number), (json.dumps(content, indent=2) + "\n").encode())
    return found


def runs_of(
    comparison: Comparison, out: Path, method: str, seed: int, counted: list[Counted]
) -> Iterator[Run]:
    """The runs of a method by one seed, in their order."""
    folder = out / method / f"seed{seed}"
    for number, of_stage in enumerate(counted, start=1):
        here = folder / f"stage{number}"
        words = ["fit", *_words(comparison, method, number, seed, folder / f"stage{number - 1}")]
        words += ["--trainer.max_steps", str(of_stage.steps), "--trainer.max_epochs", "-1"]
        words += ["--out", str(here), "--ckpt_path", "last"]
        yield Run(method, seed, number, len(counted), here, words, of_stage)


def amount(flop: float) -> str:
    """Arithmetic in words, such as `71.3 GFLOP`."""
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if flop >= 0.1 * size:
            return f"{flop / size:.3g} {unit}"
    return f"{flop / 1e6:.3g} MFLOP"


def _words(
    comparison: Comparison, method: str, number: int, seed: int, previous: Path
) -> list[str]:
    """Arguments of `ssl-faces fit`, but for how long and where."""
    words = [word for config in _configs(comparison, method, number) for word in ("-c", config)]
    words += [
        word.replace(PREVIOUS, str(previous))
        for word in flags(_arguments(comparison, method, number))
    ]
    return [*words, "--seed_everything", str(seed), "--data.seed", str(seed)]


def _configs(comparison: Comparison, method: str, number: int | None = None) -> list[str]:
    stages = comparison.methods[method]
    chosen = stages if number is None else stages[number - 1 : number]
    return [*(config for stage in chosen for config in stage.configs), *comparison.configs]


def _arguments(comparison: Comparison, method: str, number: int) -> Arguments:
    return {**comparison.arguments, **comparison.methods[method][number - 1].arguments}


def _settings(comparison: Comparison, method: str, number: int) -> dict[str, Any]:
    """All that decides a run but its seed, as JSON has it; of configs what is in them."""
    decided = {
        "budget_pflop": comparison.budget_pflop,
        "share": comparison.share(method, number - 1),
        **_arguments(comparison, method, number),
    }
    return settled(_configs(comparison, method, number), decided)


def _note(out: Path, method: str, number: int) -> Path:
    return out / method / f"stage{number}.json"


def _noted(out: Path, method: str, number: int) -> dict[str, Any] | None:
    """What was counted with which settings; None where that can't be read."""
    try:
        found = json.loads(_note(out, method, number).read_bytes())
        Counted(**found["counted"])
        return found if isinstance(found["settings"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
