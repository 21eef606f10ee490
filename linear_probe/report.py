"""Tables from records: one row an encoder's feature space or baseline, grouped by task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from linear_probe.curves import curves
from linear_probe.record import RECORDS_FILE, Record, read_records
from linear_probe.rows import cell, rows, seeds_in_words
from linear_probe.text_tables import aligned_rows, as_text, markdown_rows
from ssl_faces import InputError


class Published(NamedTuple):
    """A figure that others report, and how they got it."""

    name: str
    values: dict[str, float]  # metric to value, in the records' unit
    protocol: str


_FACECYCLE = "FaceCycle (Chang et al., ICCV 2021)"

PUBLISHED: dict[str, list[Published]] = {
    "FER-2013": [
        Published(
            _FACECYCLE,
            {"accuracy": 48.76},
            "trained on VoxCeleb1 and 2; linear layer on frozen features",
        )
    ],
    "YouTube keypoints": [
        Published(
            _FACECYCLE,
            {"MAE yaw": 11.70, "MAE pitch": 12.76, "MAE roll": 12.94},
            "trained on VoxCeleb1 and 2; linear regression on frozen features; other pictures",
        )
    ],
    "LFW": [
        Published(
            _FACECYCLE,
            {"accuracy": 73.72},
            "trained on VoxCeleb1 and 2; frozen features; the authors' choice of pairs and crops",
        )
    ],
}
"""What others report, by data set. Their protocols differ: never the same column as ours."""

_ORDER = ("expression", "pose", "identity", "attributes")
_EDGE = "* the L2 chosen is at the edge of the grid: a better one may lie beyond it"


def read_folders(folders: Sequence[str | Path]) -> list[Record]:
    """The records of folders that `linear-probe run` wrote; figures that are alike come once.

    Where two folders disagree, the later's rows are named with their folder.

    Raises:
        InputError: a folder is missing or without records, or a line is not a record.
    """
    from dataclasses import replace

    found: dict[tuple[str | int, ...], Record] = {}
    for folder in map(Path, folders):
        path = folder / RECORDS_FILE if folder.is_dir() or not folder.exists() else folder
        records = read_records(path)
        if not records:
            raise InputError(f"{path}: holds no record; run `linear-probe run --out {folder}`")
        clashing = {
            (r.task, r.encoder, r.feature_space)
            for r in records
            if r.key in found and (found[r.key].value, found[r.key].n) != (r.value, r.n)
        }
        for record in records:
            if (record.task, record.encoder, record.feature_space) in clashing:
                record = replace(record, encoder=f"{record.encoder} ({folder})")
            found.setdefault(record.key, record)
    return list(found.values())


def table(records: Sequence[Record], markdown: bool = False, validation: bool = False) -> str:
    """The records as text: a table for each task, data set, split and probe.

    Args:
        markdown: as Markdown tables instead of aligned columns.
        validation: show what was chosen by, on the validation split, instead of the test figures.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in (r for r in records if not r.condition):
        groups.setdefault((record.task, record.data_set, record.split), []).append(record)
    # Whatever order runs came in; tasks not known here go last.
    order = [*_ORDER, *dict.fromkeys(key[0] for key in groups)]
    keys = sorted(groups, key=lambda key: order.index(key[0]))
    parts = [_task_table(*key, groups[key], markdown, validation) for key in keys]
    if not validation:
        parts += [as_text(curve, markdown) for curve in curves(records)]
    return "\n\n".join(parts)


def _task_table(
    task: str, data_set: str, split: str, records: list[Record], markdown: bool, validation: bool
) -> str:
    if validation:
        return _validation_table(task, data_set, records, markdown)
    metrics = list(dict.fromkeys(record.metric for record in records))
    units = {record.metric: record.unit for record in records}
    seeds = sorted({record.seed for record in records})
    found = rows(records)
    several_probes = any(row.probe for row in found)
    header = ["encoder", "features", *(["probe"] if several_probes else [])]
    header += [*(_headed(metric, units[metric]) for metric in metrics), "n"]
    body = []
    for row in found:
        # A mean over fewer seeds than its neighbours' must not look like theirs.
        only = "" if row.seeds == seeds else f", {seeds_in_words(row.seeds)} only"
        cells = [row.encoder + only, row.space or "-", *([row.probe or "-"] * several_probes)]
        cells += [cell(row.figures[metric]) if metric in row.figures else "-" for metric in metrics]
        body.append([*cells, row.n])
    # In a column of their own: measured by other rules, on other data.
    published = PUBLISHED.get(data_set, [])
    if published:
        header.append("published †")
        body = [[*cells, ""] for cells in body]
        for one in published:
            values = ", ".join(f"{metric} {value:.2f}" for metric, value in one.values.items())
            body.append([one.name, *[""] * (len(header) - 2), values])

    title = f"{task}: {data_set}, {split}"
    lines = [f"### {title}" if markdown else title, ""]
    lines += markdown_rows(header, body) if markdown else aligned_rows(header, body)
    notes = [_EDGE] if any(record.at_grid_edge for record in records) else []
    notes += _distinct(record.protocol for record in records)
    notes += _distinct(record.note for record in records)
    notes.append(_made(records))
    notes += [f"† by another protocol, for reference: {p.protocol}" for p in published]
    bullet = "- " if markdown else "  "
    lines += ["", *(bullet + note for note in notes)]
    return "\n".join(lines)


def _validation_table(task: str, data_set: str, records: list[Record], markdown: bool) -> str:
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for r in records:
        if "validation" in r.hyperparameters:
            key = (r.encoder, r.feature_space, str(r.seed))
            found.setdefault(key, r.hyperparameters["validation"])
    title = f"{task}: {data_set}, validation split of the training part"
    lines = [f"### {title}" if markdown else title, ""]
    if not found:
        return "\n".join([*lines, "nothing is chosen on a validation split here"])
    metrics = list(dict.fromkeys(metric for row in found.values() for metric in row))
    body = [
        [*key, *(f"{row[metric]:.2f}" if metric in row else "-" for metric in metrics)]
        for key, row in found.items()
    ]
    header = ["encoder", "features", "seed", *metrics]
    return "\n".join([*lines, *(markdown_rows if markdown else aligned_rows)(header, body)])


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


def _made(records: Sequence[Record]) -> str:
    """Seeds and hardware, in words."""
    seeds = sorted({record.seed for record in records})
    seed = seeds_in_words(seeds)
    if len(seeds) > 1:
        seed += ": mean ± standard deviation over them, and the mean of their intervals"
    return "; ".join([seed, *_distinct(record.hardware for record in records)])


def _headed(metric: str, unit: str) -> str:
    return f"{metric} {unit}".strip()
