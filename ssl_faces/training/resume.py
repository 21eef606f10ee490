"""What a resumed run may change of its settings, and what it must keep."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from ssl_faces.common.errors import InputError
from ssl_faces.methods.method import Method, check_method, read_checkpoint

CONFIG_KEY, CHANGES_KEY = "config", "changed_on_resume"
"""In a checkpoint: the run's settings as YAML, and those that were changed on the way."""

_LENGTH = ("trainer.max_steps", "trainer.max_epochs", "trainer.max_time")
"""How long to train: free to change, and the schedule follows."""

_TRAINER = (
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
    "sync_batchnorm",
)
"""Trainer settings that decide what a step computes; the others say where and how long."""

_DATA_ANYWHERE = (
    "root",
    "sets",
    "packs",
    "online_root",
    "cache",
    "cache_gb",
    "num_workers",
    "in_memory",
)
"""Data settings that decide nothing about batches, or whose pictures the data module compares."""


@dataclass(frozen=True)
class Change:
    """A setting with another value than in the checkpoint."""

    setting: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"--{self.setting} {_shown(self.now)} (was {_shown(self.before)})"


@dataclass
class Resumed:
    """A checkpoint that a run resumes from.

    Attributes:
        path: the file.
        step: of the checkpoint.
        epochs: that it has finished.
        settings: the run's, as plain values; None in checkpoints of versions that kept none.
        changes: earlier changes of settings: entries `step`, `setting`, `before`, `now`.
        by_content: settings whose value has changed, but whose weights may be the same.
    """

    path: Path
    step: int
    epochs: int
    settings: dict[str, Any] | None
    changes: list[dict[str, Any]]
    by_content: list[Change] = field(default_factory=list)

    def of(self, section: str, name: str) -> Any:
        """What the run has used for a setting; None where that is not known."""
        return ((self.settings or {}).get(section) or {}).get(name)

    def check(self, settings: dict[str, Any], method: type[Method]) -> str | None:
        """Compare a resumed run's settings with the checkpoint's.

        Changes that are applied are added to `changes`; those of files with weights, which
        `check_weights` compares, to `by_content`.

        Returns:
            A line about the changes that are applied; None where there are none.

        Raises:
            InputError: a setting that would be ignored, or would make the result another than an
                uninterrupted run's; names it with both values.
        """
        trainer = settings["trainer"]
        self._check_length(trainer)
        if self.settings is None:
            return (
                f"{self.path}: was written by an earlier version without the run's settings; they "
                "can't be compared, so give those it was trained with"
            )
        applied, refused = [], []
        for change in _changes(self.settings, settings):
            if change.setting in _LENGTH or _applies(change, method):
                applied.append(change)
            elif change.setting.removeprefix("model.init_args.") in method.by_content:
                self.by_content.append(change)
            elif _decides(change.setting):
                refused.append(change)
        if refused:
            more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
            raise InputError(
                f"{self.path}: can't resume with other settings: "
                f"{', '.join(map(str, refused[:3]))}{more}; give the old values, or start a new "
                "run with another --out"
            )
        if not applied:
            return None
        if self._is_over(trainer) and any(one.setting not in _LENGTH for one in applied):
            raise InputError(
                f"{self.path}: no steps are left at step {self.step}, so "
                f"{', '.join(map(str, applied))} would change nothing; give more "
                "--trainer.max_steps too, or the old values"
            )
        self.changes += [
            {"step": self.step, "setting": one.setting, "before": one.before, "now": one.now}
            for one in applied
        ]
        return (
            f"resumed at step {self.step} with {', '.join(map(str, applied))}: the learning rate "
            "follows the schedule of these settings from here"
        )

    def _check_length(self, trainer: dict[str, Any]) -> None:
        for name, done in (("max_steps", self.step), ("max_epochs", self.epochs)):
            most = trainer[name]
            if most is not None and 0 < most < done:
                raise InputError(
                    f"--trainer.{name} {most}: {self.path} has trained {done} already; give that "
                    "or more"
                )

    def _is_over(self, trainer: dict[str, Any]) -> bool:
        return self.step == trainer["max_steps"] or self.epochs == trainer["max_epochs"]

    def check_weights(self, method: Method) -> None:
        """Compare files that the run began with and whose place has changed.

        Args:
            method: built from them.

        Raises:
            InputError: they hold other weights than the checkpoint.
        """
        if not self.by_content:
            return
        kept = read_checkpoint(self.path)["state_dict"]
        given = method.state_dict()
        for change in self.by_content:
            prefix = method.by_content[change.setting.rpartition(".")[2]]
            names = [name for name in given if name.startswith(prefix)]
            if not all(n in kept and torch.equal(given[n].cpu(), kept[n]) for n in names):
                raise InputError(
                    f"{self.path}: can't resume with {change}: it holds other weights than the "
                    "run began with; give the old file, or start a new run with another --out"
                )


def read_resumed(path: Path, method: type[Method]) -> Resumed:
    """What is known of a checkpoint before a run resumes from it.

    Raises:
        InputError: it can't be read, or is not of this method.
    """
    checkpoint = read_checkpoint(path)
    check_method(path, checkpoint, method.name)
    text = checkpoint.get(CONFIG_KEY)
    data = checkpoint.get("FaceDataModule", {})
    return Resumed(
        path,
        int(checkpoint.get("global_step", 0)),
        int(data.get("epoch", checkpoint.get("epoch", 0))),
        None if text is None else yaml.safe_load(text),
        list(checkpoint.get(CHANGES_KEY, [])),
    )


def no_checkpoint(checkpoint: Path, out: Path) -> str:
    """A line about a run that was asked to resume and starts, as `out` holds no checkpoint.

    Args:
        checkpoint: relative to `out`.
    """
    line = f"starts a new run: {out / checkpoint} does not exist"
    try:
        others = [p.name for p in out.absolute().parent.iterdir() if (p / checkpoint).is_file()]
    except OSError:
        return line
    near = difflib.get_close_matches(out.absolute().name, others, n=1, cutoff=0.75)
    if near:
        line += f" ({out.parent / near[0]} has a checkpoint: is it the one that you mean?)"
    return line


def _changes(before: Any, now: Any, name: str = "") -> Iterator[Change]:
    """Values that differ, by their dotted names; mappings by number, such as rates by epoch, are
    values."""
    if _is_section(before) and _is_section(now):
        for key in {**before, **now}:
            yield from _changes(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield Change(name, before, now)


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and not any(str(key).isdigit() for key in value)


def _applies(change: Change, method: type[Method]) -> bool:
    """Whether a change acts from the next step on, as changes of rates do."""
    name = change.setting.removeprefix("model.init_args.")
    known = any(name == one or name.startswith(f"{one}.") for one in method.adjustable)
    # From or to nothing would be another kind of schedule, or other groups of parameters.
    return known and change.before is not None and change.now is not None


def _decides(setting: str) -> bool:
    """Whether the result depends on a setting in ways that a resumed run can't follow."""
    section, _, rest = setting.partition(".")
    name = rest.partition(".")[0]
    if section == "data":
        return name not in _DATA_ANYWHERE
    return section in ("model", "seed_everything") or (section == "trainer" and name in _TRAINER)


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:80]} …"
