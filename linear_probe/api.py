"""Probes from Python: encoders and data as objects or names in, records as a frame out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from linear_probe.experiments.probe import run_probes
from linear_probe.features.source import Encoder
from linear_probe.records.collect import find_records
from linear_probe.records.frame import frame
from linear_probe.records.naming import shown_names
from linear_probe.records.record import Record
from linear_probe.records.scores import Run, Scores, folder_of
from linear_probe.sources.by_name import EncoderObject
from linear_probe.stats import paired
from linear_probe.tasks.own_data import joined_sets
from ssl_faces.common.errors import InputError
from ssl_faces.data.sets.dataset import face_set_of

AnyEncoder = str | os.PathLike[str] | Encoder

_FIRST = ["encoder", "task", "metric", "feature_space"]
_LAST = ["unit", "value", "low", "high", "result"]


def probe(
    encoders: AnyEncoder | Sequence[AnyEncoder] | Mapping[str, AnyEncoder],
    data: Any = None,
    *,
    tasks: str | Sequence[str] | None = None,
    out: str | os.PathLike[str] = "runs/probe",
    seed: int | Sequence[int] = 0,
    baselines: bool | Sequence[str] = True,
    **settings: Any,
) -> Scores:
    """Score frozen encoders by probes, as `linear-probe run` does; the records of this run.

    Hyper-parameters are chosen on a validation split of the training part only.

    Args:
        encoders: one or several: names and folders (see `--encoder`), or objects: from
            `load_encoder`, `pretrain`, or `wrap_encoder` for any network. As a mapping: by their
            names in tables.
        data: a folder of face sets; `rendered` or `rendered:COUNT`; a `FaceSet` or a list of them;
            or a pair `(train, test)`, or a mapping with `train` and `test`, of: folders with a
            folder for each class, CSV tables of labels, `FaceSet`s, or `datasets.Dataset`s with a
            column of images and one of classes. None: the default folder, or rendered faces.
        tasks: such as `expression`, `pose`, `identity`; None: all usual ones that the data serve.
        out: folder for records, features and predictions; earlier records there stay.
        seed: one or several, 0 or more, of splits, untrained weights and rendered faces.
        baselines: True: pixels, HOG, LBP and the untrained encoder; False: none; or some of them.
        settings: other fields of `linear_probe.experiments.settings.ProbeSettings`, such as
            `label_shares=[1, 10, 100]`, `max_train=1000`, `spaces=["expression"]`, `epochs`.

    Returns:
        Records in %, degrees or years, each with its 95 % interval. `table` makes a frame of them.

    Raises:
        InputError: an encoder, the data or a setting can't be used, or the same image or person
            is in `train` and `test` (`leaks.csv` in `out` lists them).
    """
    folder = Path(out)
    named = _named(encoders)
    if isinstance(tasks, str):
        tasks = [tasks]
    settings |= {"tasks": None if tasks is None else list(tasks), **_data(data, folder)}
    records = run_probes(named, folder, seed=seed, baselines=baselines, **settings)
    return Scores(records, folder)


def compare(run: Run, row: str, other_row: str) -> list[paired.Difference]:
    """Every figure of one row less that of another, by a paired bootstrap of the same test rows.

    Args:
        run: from `probe`, or its folder.
        row, other_row: of the table, `ENCODER` or `ENCODER=SPACE`.

    Returns:
        Differences with `value`, the 95 % interval `low` and `high` (in points of %, degrees or
        years), the p-value `p`, and a sentence as text: `print(*compare(…), sep="\\n")`.

    Raises:
        InputError: no such row, nothing in common, or not the same test rows.
    """
    return paired.compare(folder_of(run), row, other_row)


def table(records: Iterable[Record] | str | os.PathLike[str]) -> pd.DataFrame:
    """Records as a frame: one row a record, one column a field of `Record`.

    The columns at both ends are those that a narrow screen shows: encoder, task and metric; value,
    interval and `result`, these as text. `factor`, `level` and `level_unit` are the condition of a
    point of a curve: `labels`, 10 and `%` for a probe on 10 % of the labels.

    Encoders have short names, as in all tables: no row is named by a path.

    Args:
        records: from `probe` or `read_records`, or the folder of a run.

    Raises:
        InputError: a folder without records.
    """
    if isinstance(records, str | os.PathLike):
        shown = [each.record for each in find_records([Path(records)])]
    else:
        records = [*records]
        names = shown_names(record.encoder for record in records)
        shown = [replace(record, encoder=names[record.encoder]) for record in records]
    rows = frame(shown).drop(columns=["record", "condition"])
    texts = zip(rows["value"], rows["unit"], rows["low"], rows["high"], strict=True)
    rows["result"] = [
        f"{f'{value:.2f} {unit}'.strip()} [{low:.2f}, {high:.2f}]"
        for value, unit, low, high in texts
    ]
    middle = rows.columns.difference([*_FIRST, *_LAST], sort=False)
    return rows[[*_FIRST, *middle, *_LAST]]


def _named(
    encoders: AnyEncoder | Sequence[AnyEncoder] | Mapping[str, AnyEncoder],
) -> list[str | EncoderObject]:
    if isinstance(encoders, Mapping):
        return [_one(encoder, name) for name, encoder in encoders.items()]
    if isinstance(encoders, list | tuple):
        return [_one(encoder) for encoder in encoders]
    return [_one(encoders)]  # type: ignore[arg-type]


def _one(encoder: AnyEncoder, name: str | None = None) -> str | EncoderObject:
    if isinstance(encoder, str | os.PathLike):
        return os.fspath(encoder) if name is None else f"{name}={os.fspath(encoder)}"
    return EncoderObject.of(encoder, name)


def _data(data: Any, out: Path) -> dict[str, Any]:
    """The settings of `ProbeSettings` that data stand for."""
    if data is None:
        return {}
    if isinstance(data, str | os.PathLike):
        return {"data": os.fspath(data)}
    if isinstance(data, Mapping):
        lacking = {"train", "test"} - data.keys()
        if lacking:
            raise InputError(f"data: no '{min(lacking)}' among {', '.join(map(str, data))}")
        data = data["train"], data["test"]
    if not isinstance(data, tuple):
        return {"own": [face_set_of(each) for each in (data if isinstance(data, list) else [data])]}
    if len(data) != 2:
        raise InputError(f"data: a tuple of {len(data)}; give (train, test)")
    if all(isinstance(side, str | os.PathLike) for side in data):
        train, test = map(os.fspath, data)
        end = "_csv" if train.endswith(".csv") else ""
        return {f"train{end}": train, f"test{end}": test}
    return {"own": [joined_sets(face_set_of(data[0]), face_set_of(data[1]), out)]}
