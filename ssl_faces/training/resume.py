"""Settings that may or may not change when a run is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from ssl_faces.callbacks.last_checkpoint import CHANGES_KEY, CONFIG_KEY
from ssl_faces.common.checkpoints import read_checkpoint
from ssl_faces.common.errors import InputError
from ssl_faces.methods.method import Method, check_method

_LENGTH = ("trainer.max_steps", "trainer.max_epochs", "trainer.max_time")
"""Settings of the run's length, which may change; the schedule follows."""

_TRAINER = (
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
    "sync_batchnorm",
)
"""Trainer settings that change the result of a step."""

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
"""Data settings that don't change batches, or whose images the data module compares."""


_ADDED = {
    "data.candidates": 1,
    "data.epoch_of": "images",
    "data.augmentation.mirror_augmented": False,
    "data.identity_labels": True,
    "ema_decay": 0.0,
}
"""Settings that older checkpoints lack, and what these were trained with."""


@dataclass(frozen=True)
class Change:
    """A setting that differs from the checkpoint's."""

    setting: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"--{self.setting} {_shown(self.now)} (was {_shown(self.before)})"


@dataclass
class Resumed:
    """A checkpoint that a run resumes from."""

    path: Path  # the file
    step: int  # of the checkpoint
    epochs: int  # number of finished epochs
    settings: dict[str, Any]  # of the run, as plain values
    # Changes of settings so far: entries `step`, `setting`, `before`, `now`
    changes: list[dict[str, Any]]
    # Changed paths of files whose weights must be equal
    by_content: list[Change] = field(default_factory=list)

    def of(self, section: str, name: str) -> Any:
        """The run's value of a setting; None if unknown."""
        return (self.settings.get(section) or {}).get(name)

    def check(self, settings: dict[str, Any], method: type[Method]) -> str | None:
        """Compare settings with the checkpoint's; fills in `changes` and `by_content`.

        Returns:
            A line about the changes to apply; None if there are none.

        Raises:
            InputError: a change that would be ignored, or would give another result than an
                uninterrupted run; the message has both values.
        """
        trainer = settings["trainer"]
        self._check_length(trainer)
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
        if self._is_over(trainer) and any(change.setting not in _LENGTH for change in applied):
            raise InputError(
                f"{self.path}: no steps are left at step {self.step}, so "
                f"{', '.join(map(str, applied))} would change nothing; give more "
                "--trainer.max_steps too, or the old values"
            )
        self.changes += [
            {"step": self.step, "setting": c.setting, "before": c.before, "now": c.now}
            for c in applied
        ]
        return (
            f"resumed at step {self.step} with {', '.join(map(str, applied))}: the learning rate "
            "follows the schedule of these settings from here"
        )

    def _check_length(self, trainer: dict[str, Any]) -> None:
        for name, done in (("max_steps", self.step), ("max_epochs", self.epochs)):
            length = trainer[name]
            if length is not None and 0 < length < done:
                raise InputError(
                    f"--trainer.{name} {length}: {self.path} has trained {done} already; give that "
                    "or more"
                )

    def _is_over(self, trainer: dict[str, Any]) -> bool:
        return self.step == trainer["max_steps"] or self.epochs == trainer["max_epochs"]

    def check_weights(self, method: Method) -> None:
        """Compare the weights of files whose path has changed. Raises InputError: they differ from
        the checkpoint's."""
        if not self.by_content:
            return
        saved = read_checkpoint(self.path)["state_dict"]
        state = method.state_dict()
        for change in self.by_content:
            prefix = method.by_content[change.setting.rpartition(".")[2]]
            names = [name for name in state if name.startswith(prefix)]
            if not all(n in saved and torch.equal(state[n].cpu(), saved[n]) for n in names):
                raise InputError(
                    f"{self.path}: can't resume with {change}: it holds other weights than the "
                    "run began with; give the old file, or start a new run with another --out"
                )


def read_resumed(path: Path, method: type[Method]) -> Resumed:
    """Read the checkpoint to resume from. Raises InputError: it can't be read, is of another
    method, or has no settings of a run."""
    checkpoint = read_checkpoint(path)
    check_method(path, checkpoint, method.name)
    if CONFIG_KEY not in checkpoint:
        raise InputError(
            f"checkpoint {path}: has no settings of a run; give a run's checkpoints/last.ckpt"
        )
    data = checkpoint.get("FaceData", {})
    return Resumed(
        path,
        int(checkpoint.get("global_step", 0)),
        int(data.get("epoch", checkpoint.get("epoch", 0))),
        yaml.safe_load(checkpoint[CONFIG_KEY]),
        list(checkpoint.get(CHANGES_KEY, [])),
    )


def _changes(before: Any, now: Any, name: str = "") -> Iterator[Change]:
    """Differences by dotted name; mappings with numbers as keys (rates by epoch) are values."""
    if _is_section(before) and _is_section(now):
        for key in {**before, **now}:
            setting = f"{name}.{key}" if name else key
            yield from _changes(before.get(key, _ADDED.get(setting)), now.get(key), setting)
    # False (unseeded) is not the seed 0.
    elif before != now or isinstance(before, bool) != isinstance(now, bool):
        yield Change(name, before, now)


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and not any(str(key).isdigit() for key in value)


def _applies(change: Change, method: type[Method]) -> bool:
    """Whether a change takes effect from the next step, such as learning rates."""
    name = change.setting.removeprefix("model.init_args.")
    adjustable = any(name == a or name.startswith(f"{a}.") for a in method.adjustable)
    # None stands for another kind of schedule or other parameter groups.
    return adjustable and change.before is not None and change.now is not None


def _decides(setting: str) -> bool:
    """Whether the result depends on a setting in a way that a resumed run can't reproduce."""
    section, _, rest = setting.partition(".")
    name = rest.partition(".")[0]
    if section == "data":
        return name not in _DATA_ANYWHERE
    whole = section in ("model", "seed_everything", "ema_decay")
    return whole or (section == "trainer" and name in _TRAINER)


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:80]} …"
