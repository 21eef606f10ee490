"""What a dashboard shows of runs, read from their folders: curves, settings, images, probes."""

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
"""Depth below a named folder to which runs are searched."""

GROUPS = ("Losses", "Online probe", "Collapse", "Other")
"""Of logged figures."""

_NOT_RUNS = ("csv", "wandb", "checkpoints", "panels", "encoder", "features")
_NO_SETTINGS = re.compile(
    r"^(out|ckpt_path|config|trainer\.(logger|callbacks|default_root_dir)|data\.cache)(\.|$)"
)
_OF_MODEL = re.compile(r"^model\.(init_args\.)?")
_RECORD_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("task", "data_set", "encoder", "feature_space", "metric", "unit"), str),
    **dict.fromkeys(("value", "low", "high", "n"), (int, float)),
}


@dataclass
class Run:
    """One training run.

    Attributes:
        name: its folder's, from the named folder on.
        folder: where it is.
        method: its name.
        settings: by dotted key, of `fit`'s config.
        curves: logged figures by name.
        panels: its images by step.
        trial: of a sweep, its note: `state`, `value`, `settings`; else empty.
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
        return [
            name
            for name, setting in self.about["parameters"].items()
            if "value" not in setting and len(setting.get("values", "ab")) > 1
        ]


@dataclass
class Gathered:
    """All runs and what belongs to them.

    Attributes:
        probes: records of `linear-probe run`, as their files have them; those of a run have its
            name as `run`.
        problems: what could not be read.
    """

    runs: list[Run]
    sweeps: list[SweepOf]
    probes: list[dict[str, Any]]
    problems: list[str]

    @property
    def objective(self) -> str:
        """The figure that runs are compared by first; empty if they log nothing."""
        if self.sweeps:
            return self.sweeps[0].metric
        first = ("online/expression_linear/", "online/expression_knn/", "online/yaw", "loss", "")
        named = (name for start in first for name in self.figures if name.startswith(start))
        return next(named, "")

    @property
    def figures(self) -> list[str]:
        """Names of all logged figures."""
        return sorted({name for run in self.runs for name in run.curves})


def gather(folders: Sequence[Path]) -> Gathered:
    """The runs in these folders: runs themselves, or folders of a comparison or of a sweep.

    Raises:
        InputError: a folder without any run.
    """
    runs: dict[Path, Run] = {}
    sweeps: list[SweepOf] = []
    problems: list[str] = []
    record_files: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give a run's, a comparison's or a sweep's")
        inside = list(_walk(folder))
        sweep = _sweep(folder, problems)
        sweeps += [sweep] if sweep else []
        notes = {note["folder"]: note for note in sweep.notes} if sweep else {}
        run_folders = [path for path in inside if is_run(path)]
        if not run_folders and not notes:
            raise InputError(
                f"{folder}: no run in it; give the --out of `ssl-faces fit`, `compare` or `sweep`"
            )
        for path in run_folders:
            if path.resolve() not in runs:
                trial = notes.get(path.name, {}) if path.parent.name == TRIALS else {}
                runs[path.resolve()] = _run(path, folder, trial, problems)
        files = (path / "records.jsonl" for path in inside)
        record_files |= dict.fromkeys(path for path in files if path.is_file())
    _name_uniquely(list(runs.values()))
    probes = list(_probes(record_files, runs, problems))
    return Gathered(list(runs.values()), sweeps, probes, problems)


def is_run(folder: Path) -> bool:
    """Whether `ssl-faces fit` has trained there."""
    return next(folder.glob("csv/version_*/metrics.csv"), None) is not None


def varied(runs: Sequence[Run], most: int = 12) -> list[str]:
    """Settings that all runs have, with different values, in their order."""
    names = [name for name in runs[0].settings if all(name in run.settings for run in runs[1:])]
    return [
        name
        for name in names
        if len({json.dumps(run.settings[name], default=str) for run in runs}) > 1
        and not _NO_SETTINGS.match(name)
    ][:most]


def short(setting: str) -> str:
    """A setting's name in W&B's config and in the sheets: without `model.`."""
    return _OF_MODEL.sub("", setting)


def group_of(name: str) -> str:
    """The group of a logged figure, one of `GROUPS`."""
    first, _, rest = name.partition("/")
    if first == "online":
        return "Collapse" if rest.startswith(("rank/", "std/", "lidar/")) else "Online probe"
    return "Losses" if first == "loss" else "Other"


def _walk(folder: Path) -> Iterator[Path]:
    # A run holds no runs, but perhaps the folder of its probes.
    for place, folders, _ in os.walk(folder, followlinks=True):
        is_deep = len(Path(place).relative_to(folder).parts) >= DEEPEST
        folders[:] = [] if is_deep else sorted({*folders} - {*_NOT_RUNS})
        yield Path(place)


def _sweep(folder: Path, problems: list[str]) -> SweepOf | None:
    path = folder / SWEEP_FILE
    if not path.is_file():
        return None
    try:
        sweep = SweepOf(folder, json.loads(regular(path).read_bytes()), read_notes(folder))
        _ = sweep.metric, sweep.parameters
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        problems.append(f"{path} can't be read: of the sweep there are only its runs")
        return None
    return sweep


def _run(folder: Path, root: Path, trial: dict[str, Any], problems: list[str]) -> Run:
    name = str(folder.relative_to(root)) if folder != root else folder.resolve().name
    settings = _settings(folder, problems) | trial.get("settings", {})
    class_path = str(settings.get("model.class_path") or settings.get("model") or "unknown")
    # A comparison names its methods by folder.
    compared = re.fullmatch(r"(.+)/seed\d+/stage\d+", name)
    method = compared[1] if compared else class_path.rpartition(".")[2]
    numbers = ((re.fullmatch(r"step_(\d+)", p.stem), p) for p in folder.glob("panels/step_*.png"))
    panels = dict(sorted((int(number[1]), path) for number, path in numbers if number))
    return Run(name, folder, method, settings, read_logged(folder), panels, trial)


def _settings(folder: Path, problems: list[str]) -> dict[str, Any]:
    path = folder / "config.yaml"
    try:
        settings = yaml.safe_load(regular(path).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError):
        problems.append(f"{path} can't be read: the run is shown without its settings")
        return {}
    return dict(_flat(settings)) if isinstance(settings, dict) else {}


def _flat(values: dict[Any, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name.replace("model.init_args.", "model."), value


def _name_uniquely(runs: list[Run]) -> None:
    """Prefix names that two runs share with the folders before them."""
    for length in range(1, DEEPEST + 1):
        names = [run.name for run in runs]
        for run in runs:
            if names.count(run.name) > 1:
                parts = run.folder.resolve().parts
                run.name = "/".join(parts[-(len(Path(run.name).parts) + length) :])


def _probes(
    files: Iterable[Path], runs: dict[Path, Run], problems: list[str]
) -> Iterator[dict[str, Any]]:
    for path in files:
        try:
            lines = regular(path).read_text(encoding="utf-8").split("\n")
            records = [json.loads(line) for line in lines if line.strip()]
        except (OSError, ValueError, RecursionError):
            problems.append(f"{path} can't be read: its probes are left out")
            continue
        for record in filter(_is_record, records):
            run = _scored_run(record["encoder"], path, runs)
            yield {**record, "run": run.name if run else None}


def _scored_run(encoder: str, path: Path, runs: dict[Path, Run]) -> Run | None:
    """The run whose encoder a record of the file `path` is of."""
    run = runs.get(Path(encoder).resolve())
    if run is not None or "untrained" in encoder:
        return run
    # A record in a run's folder belongs to that run, whatever path the encoder had.
    run = next((runs[parent] for parent in path.resolve().parents if parent in runs), None)
    return run if run and Path(encoder).name == run.folder.name else None


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and all(
        isinstance(record.get(key), kind) and (kind is str or math.isfinite(record[key]))
        for key, kind in _RECORD_TYPES.items()
    )
