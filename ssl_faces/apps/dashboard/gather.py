"""What a dashboard shows of runs, found in their folders: figures, settings, pictures, probes."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular
from ssl_faces.plan.sweep.study import SWEEP_FILE, TRIALS, read_notes
from ssl_faces.training.logged import Curve, read_logged

DEEPEST = 5
"""Folders below a named one in which runs are looked for."""

_NO_SETTINGS = re.compile(
    r"^(out|ckpt_path|config|trainer\.(logger|callbacks|default_root_dir)|data\.cache)(\.|$)"
)
_OF_MODEL = re.compile(r"^model\.(init_args\.)?")


@dataclass
class Run:
    """One training run.

    Attributes:
        name: its folder's, from the named one on.
        folder: where it is.
        method: in words.
        settings: by dotted key, of `fit`'s config.
        curves: figures by name.
        panels: its pictures by step.
        trial: of a sweep, what is noted of it: `state`, `value`, `settings`; else empty.
    """

    name: str
    folder: Path
    method: str
    settings: dict[str, Any]
    curves: dict[str, Curve]
    panels: dict[int, Path]
    trial: dict[str, Any] = field(default_factory=dict)


@dataclass
class SweepOf:
    """A sweep's folder.

    Attributes:
        about: its `sweep.json`.
        notes: of its trials.
    """

    folder: Path
    about: dict[str, Any]
    notes: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return str(self.about.get("name") or self.folder.name)

    @property
    def metric(self) -> str:
        return str(self.about["metric"]["name"])

    @property
    def parameters(self) -> list[str]:
        """Those that vary."""
        of: dict[str, dict[str, Any]] = self.about["parameters"]
        return [
            n for n, one in of.items() if "value" not in one and len(one.get("values", "ab")) > 1
        ]


@dataclass
class Gathered:
    """All that was found.

    Attributes:
        probes: records of `linear-probe run`, as their files have them; those of a run have its
            name as `run`.
        said: what could not be read.
    """

    runs: list[Run]
    sweeps: list[SweepOf]
    probes: list[dict[str, Any]]
    said: list[str]

    @property
    def objective(self) -> str:
        """What runs are compared by first; empty where they log nothing."""
        if self.sweeps:
            return self.sweeps[0].metric
        names = {name for run in self.runs for name in run.curves}
        for start in ("online/expression_linear/", "online/expression_knn/", "online/yaw", "loss"):
            found = sorted(name for name in names if name.startswith(start))
            if found:
                return found[0]
        return min(names, default="")


def gather(folders: Sequence[Path]) -> Gathered:
    """The runs in these folders: runs themselves, or folders of a comparison or of a sweep.

    Raises:
        InputError: a folder without any run.
    """
    runs: dict[Path, Run] = {}
    sweeps: list[SweepOf] = []
    said: list[str] = []
    record_files: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give a run's, a comparison's or a sweep's")
        found = list(_walk(folder))
        sweep = _sweep(folder, said)
        if sweep is not None:
            sweeps.append(sweep)
        notes = {} if sweep is None else {note["folder"]: note for note in sweep.notes}
        of_runs = [one for one in found if is_run(one)]
        if not of_runs and not notes:
            raise InputError(
                f"{folder}: no run in it; give the --out of `ssl-faces fit`, `compare` or `sweep`"
            )
        for one in of_runs:
            if one.resolve() not in runs:
                trial = notes.get(one.name, {}) if one.parent.name == TRIALS else {}
                runs[one.resolve()] = _run(one, folder, trial, said)
        for one in found:
            path = one / "records.jsonl"
            if path.is_file():
                record_files[path] = None
    _tell_apart(list(runs.values()))
    probes = _probes(record_files, runs, said)
    return Gathered(list(runs.values()), sweeps, probes, said)


def is_run(folder: Path) -> bool:
    """Whether `ssl-faces fit` has trained there."""
    return next(folder.glob("csv/version_*/metrics.csv"), None) is not None


def varied(runs: Sequence[Run], most: int = 12) -> list[str]:
    """Settings that all runs have and not all alike, in their order."""
    names = [name for name in runs[0].settings if all(name in run.settings for run in runs[1:])]
    found = []
    for name in names:
        values = {json.dumps(run.settings[name], default=str) for run in runs}
        if len(values) > 1 and not _NO_SETTINGS.match(name):
            found.append(name)
    return found[:most]


def short(setting: str) -> str:
    """A setting's name as W&B's config and the sheets have it: without `model.`."""
    return _OF_MODEL.sub("", setting)


def _walk(folder: Path, depth: int = 0) -> Iterator[Path]:
    yield folder
    # A run holds no runs, but perhaps the folder of its probes.
    if depth == DEEPEST:
        return
    try:
        inside = sorted(Path(one.path) for one in os.scandir(folder) if os.path.isdir(one.path))
    except OSError:
        return
    for one in inside:
        if one.name not in ("csv", "wandb", "checkpoints", "panels", "encoder", "features"):
            yield from _walk(one, depth + 1)


def _sweep(folder: Path, said: list[str]) -> SweepOf | None:
    path = folder / SWEEP_FILE
    if not path.is_file():
        return None
    try:
        about = json.loads(regular(path).read_bytes())
        sweep = SweepOf(folder, about, read_notes(folder))
        _ = sweep.metric, sweep.parameters
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        said.append(f"{path} can't be read: of the sweep there are only its runs")
        return None
    return sweep


def _run(folder: Path, root: Path, trial: dict[str, Any], said: list[str]) -> Run:
    name = str(folder.relative_to(root)) if folder != root else folder.resolve().name
    settings = _settings(folder, said)
    settings |= trial.get("settings", {})
    found = str(settings.get("model.class_path") or settings.get("model") or "unknown")
    # A comparison calls its methods by names of its own.
    compared = re.fullmatch(r"(.+)/seed\d+/stage\d+", name)
    method = compared[1] if compared else found.rpartition(".")[2]
    panels = {}
    for path in sorted(folder.glob("panels/step_*.png")):
        number = re.fullmatch(r"step_(\d+)", path.stem)
        if number:
            panels[int(number[1])] = path
    return Run(name, folder, method, settings, read_logged(folder), panels, trial)


def _settings(folder: Path, said: list[str]) -> dict[str, Any]:
    path = folder / "config.yaml"
    try:
        found = yaml.safe_load(regular(path).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError):
        said.append(f"{path} can't be read: the run is shown without its settings")
        return {}
    return dict(_flat(found)) if isinstance(found, dict) else {}


def _flat(values: dict[Any, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name.replace("model.init_args.", "model."), value


def _tell_apart(runs: list[Run]) -> None:
    """Names that two folders share get the folders before them."""
    for length in range(1, DEEPEST + 1):
        names = [run.name for run in runs]
        for run in runs:
            if names.count(run.name) > 1:
                parts = run.folder.resolve().parts
                run.name = "/".join(parts[-(len(Path(run.name).parts) + length) :])


def _probes(files: Iterable[Path], runs: dict[Path, Run], said: list[str]) -> list[dict[str, Any]]:
    found = []
    for path in files:
        try:
            lines = regular(path).read_text(encoding="utf-8").split("\n")
            records = [json.loads(line) for line in lines if line.strip()]
        except (OSError, ValueError, RecursionError):
            said.append(f"{path} can't be read: its probes are left out")
            continue
        for record in records:
            if not _is_record(record):
                continue
            try:
                run = runs.get(Path(record["encoder"]).resolve())
            except (OSError, ValueError):
                run = None
            # One that lies in a run's folder is of that run whatever it was called.
            if run is None and "untrained" not in record["encoder"]:
                run = next((runs[one] for one in path.resolve().parents if one in runs), None)
                run = run if run and Path(record["encoder"]).name == run.folder.name else None
            found.append({**record, "run": run.name if run else None})
    return found


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    words = ("task", "data_set", "encoder", "feature_space", "metric", "unit")
    numbers = ("value", "low", "high", "n")
    return all(isinstance(record.get(key), str) for key in words) and all(
        isinstance(record.get(key), int | float) and math.isfinite(record[key]) for key in numbers
    )
