"""Tables from records: one row an encoder's feature space or baseline, grouped by task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from linear_probe.record import RECORDS_FILE, Record, read_records
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
    for record in records:
        groups.setdefault((record.task, record.data_set, record.split), []).append(record)
    # Whatever order runs came in; tasks not known here go last.
    order = [*_ORDER, *dict.fromkeys(key[0] for key in groups)]
    keys = sorted(groups, key=lambda key: order.index(key[0]))
    return "\n\n".join(_task_table(*key, groups[key], markdown, validation) for key in keys)


def _task_table(
    task: str, data_set: str, split: str, records: list[Record], markdown: bool, validation: bool
) -> str:
    if validation:
        return _validation_table(task, data_set, records, markdown)
    metrics = list(dict.fromkeys(record.metric for record in records))
    units = {record.metric: record.unit for record in records}
    several_seeds = len({record.seed for record in records}) > 1
    rows: dict[tuple[str, str, int], dict[str, Record]] = {}
    for record in records:
        row = rows.setdefault((record.encoder, record.feature_space, record.seed), {})
        row[record.metric] = record
    header = ["encoder", "features", *(_headed(metric, units[metric]) for metric in metrics), "n"]
    body = []
    for (encoder, space, seed), row in rows.items():
        cells = [encoder + (f", seed {seed}" if several_seeds else ""), space or "-"]
        cells += [_cell(row[metric]) if metric in row else "-" for metric in metrics]
        body.append([*cells, f"{next(iter(row.values())).n:,}"])
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
    lines += _markdown(header, body) if markdown else _aligned(header, body)
    notes = [_EDGE] if any(record.at_grid_edge for record in records) else []
    notes += _distinct(record.protocol for record in records)
    notes += _distinct(record.note for record in records)
    notes.append(_made(records))
    notes += [f"† by another protocol, for reference: {p.protocol}" for p in published]
    bullet = "- " if markdown else "  "
    lines += ["", *(bullet + note for note in notes)]
    return "\n".join(lines)


def _validation_table(task: str, data_set: str, records: list[Record], markdown: bool) -> str:
    rows = {
        (r.encoder, r.feature_space, str(r.seed)): r.hyperparameters["validation"]
        for r in records
        if "validation" in r.hyperparameters
    }
    title = f"{task}: {data_set}, validation split of the training part"
    lines = [f"### {title}" if markdown else title, ""]
    if not rows:
        return "\n".join([*lines, "nothing is chosen on a validation split here"])
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    body = [
        [*key, *(f"{row[metric]:.2f}" if metric in row else "-" for metric in metrics)]
        for key, row in rows.items()
    ]
    header = ["encoder", "features", "seed", *metrics]
    return "\n".join([*lines, *(_markdown if markdown else _aligned)(header, body)])


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


def _made(records: Sequence[Record]) -> str:
    """Seeds and hardware, in words."""
    seeds = sorted({record.seed for record in records})
    seed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return "; ".join([seed, *_distinct(record.hardware for record in records)])


def _headed(metric: str, unit: str) -> str:
    return f"{metric} {unit}".strip()


def _cell(record: Record) -> str:
    mark = "*" if record.at_grid_edge else ""
    return f"{record.value:.2f}{mark} [{record.low:.2f}, {record.high:.2f}]"


def _aligned(header: list[str], body: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]

    def line(cells: list[str]) -> str:
        return "  " + "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()

    return [line(header), line(["-" * width for width in widths]), *map(line, body)]


def _markdown(header: list[str], body: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(header), line(["---"] * len(header)), *map(line, body)]
